"""Overnight: runs a campaign of ML experiments unattended, and tells the truth about it in the morning."""

__version__ = "0.1.0"
__all__ = ["Campaign", "NotFound", "OvernightError", "Refused", "Unreachable", "__version__", "launch", "open"]

TYPE_CHECKING = False  # type checkers take it for true; `typing` itself would cost half of `--version`
if TYPE_CHECKING:
    from overnight.api import Campaign, NotFound, OvernightError, Refused, Unreachable, launch, open


def __getattr__(name: str) -> object:
    """The public face loads on first use, so that `overnight --version` costs what Python costs."""
    if name in __all__:
        from overnight import api

        return getattr(api, name)
    raise AttributeError(f"module 'overnight' has no attribute {name!r}")
