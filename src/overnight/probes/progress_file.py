"""The progress file: what a run says of itself. Written by its program, so everything in it may be wrong.

One JSON object, replaced by rename: `{"step", "total", "phase", "quiet", "metrics"}`, none of them needed. What cannot
be understood is as if it were not there.
"""

import math
import os
import re
from typing import Any

from overnight.model.codec import from_json
from overnight.ports import Mark, Said

NAME = "progress.json"
MOST_BYTES = 64 << 10
MOST_METRICS = 64
PHASE_CHARACTERS = 60

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s{0,4}(ms|[smhd])[a-z]{0,9}\s{0,4}")
_DURATION = re.compile(rf"\s{{0,4}}(?:{_PART.pattern}){{1,5}}")


def signature(status: os.stat_result) -> int:
    """Differs once the file was replaced or written; never 0."""
    return hash((status.st_ino, status.st_size, status.st_mtime_ns)) or 1


def read(path: str) -> Said | None:
    """What the file says; None if that is no JSON object, or too much. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        data = os.read(fd, MOST_BYTES + 1)
    finally:
        os.close(fd)
    if len(data) > MOST_BYTES:
        return None
    try:
        found = from_json(data, dict[str, Any])
    except (ValueError, RecursionError):
        return None
    step, total = _number(found.get("step")), _number(found.get("total"))
    metrics = _metrics(found.get("metrics"))
    mark = None if step is None else Mark(step, total if total is not None and total > 0 else None, metrics)
    phase = _phase(found.get("phase"))
    return Said(mark, metrics, phase, None if phase is None else seconds(found.get("quiet")))


def seconds(value: object) -> float | None:
    """A duration as a number of seconds, `2h`, `1h30m`, `90 minutes`; None if it is none."""
    if isinstance(value, str):
        word = value.lower()
        if _DURATION.fullmatch(word) is None:
            return None
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(word)) or None
    found = _number(value)
    return found if found is not None and found > 0 else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def _metrics(value: object) -> dict[str, float]:
    if not isinstance(value, dict):
        return {}
    numbers = ((str(name)[:100], _number(each)) for name, each in list(value.items())[:MOST_METRICS])
    return {name: each for name, each in numbers if each is not None}


def _phase(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    words = "".join(c if c.isprintable() else " " for c in value[:PHASE_CHARACTERS]).strip()
    return words or None
