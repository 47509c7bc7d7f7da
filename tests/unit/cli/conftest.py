"""Lets tests here use the api's stand-in supervisor and its world."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "api"))

from client_world import overnight, own_world, root, standin

__all__ = ["overnight", "own_world", "root", "standin"]
