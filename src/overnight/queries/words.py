"""Small phrases for people."""

import time

from overnight.model.time import Moment


def iso(moment: Moment | None) -> str | None:
    """UTC, to the second: 2026-01-31T23:59:59Z."""
    return None if moment is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment.wall))


def count(number: int, what: str, plural: str | None = None) -> str:
    """`1 run`, `3 runs`."""
    return f"{number} {what}" if number == 1 else f"{number} {plural or what + 's'}"


def times(number: int) -> str:
    """`once`, `3 times`."""
    return "once" if number == 1 else f"{number} times"


def duration(seconds: float | None) -> str:
    """`45 s`, `15 min`, `1 h 30 min`, `2 d 4 h`; None is "none": unbounded."""
    if seconds is None:
        return "none"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds else "0 s"
    if seconds < 90:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def sentence(words: str) -> str:
    """With a capital letter."""
    return words[:1].upper() + words[1:]
