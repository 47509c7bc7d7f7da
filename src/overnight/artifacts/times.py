"""Times as people and tools read them."""

import functools
import time

from overnight.model.time import Moment

_YEAR_1, _YEAR_9999 = -62_135_596_800.0, 253_402_300_799.0


def utc(seconds: float) -> str:
    """Unix time as ISO 8601 in UTC with milliseconds: `2026-03-01T02:15:09.250Z`."""
    thousandths = round(min(max(seconds, _YEAR_1), _YEAR_9999) * 1000)  # a file's time can be any number
    whole, rest = divmod(thousandths, 1000)
    return f"{_second(whole)}.{rest:03d}Z"


@functools.lru_cache(maxsize=256)  # what ends together names the same few seconds many times
def _second(whole: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))


def when(moment: Moment | None) -> str | None:
    """A moment's wall time, or None."""
    return None if moment is None else utc(moment.wall)
