"""Looks at live attempts: output, markers, files that grow; and the evidence saved before one is ended."""

from overnight.probes.checkpoints import whole
from overnight.probes.look import FileProbe
from overnight.probes.markers import Scanner, scanner

__all__ = ["FileProbe", "Scanner", "scanner", "whole"]
