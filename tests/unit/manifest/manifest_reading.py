"""The types of the fixtures here."""

from collections.abc import Callable

from overnight.model.manifest import Fault, Frozen

Launch = Callable[..., Frozen]
Faults = Callable[..., tuple[Fault, ...]]
