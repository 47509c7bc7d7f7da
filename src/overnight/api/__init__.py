"""The public face: what the command line, notebooks and scripts call.

    import overnight

    campaign = overnight.launch("bat.toml")
    campaign.wait()
    for row in campaign.results():
        ...

Nothing here needs an event loop, so it works in a notebook. Every call may raise one of `Refused` (exit code
2), `NotFound` (3) or `Unreachable` (4); all are `OvernightError`s with a `message` and a `hint`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from overnight.api.campaign import Campaign, open
    from overnight.api.errors import NotFound, OvernightError, Refused, Unreachable
    from overnight.api.launching import launch

__all__ = ["Campaign", "NotFound", "OvernightError", "Refused", "Unreachable", "launch", "open"]

_HOME = {
    "Campaign": "campaign",
    "NotFound": "errors",
    "OvernightError": "errors",
    "Refused": "errors",
    "Unreachable": "errors",
    "launch": "launching",
    "open": "campaign",
}


def __getattr__(name: str) -> Any:
    """Loads on first use: `status` needs nothing of what `launch` needs, and is typed far more often."""
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(f"overnight.api.{_HOME[name]}"), name)
    raise AttributeError(f"module 'overnight.api' has no attribute {name!r}")
