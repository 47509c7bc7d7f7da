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


def duration(seconds: float) -> str:
    """Two units at most: `45 s`, `3 min`, `2 h 5 min`, `3 d 4 h`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86_400:
        rest = whole % 3600 // 60
        return f"{whole // 3600} h" + (f" {rest} min" if rest else "")
    rest = whole % 86_400 // 3600
    return f"{whole // 86_400} d" + (f" {rest} h" if rest else "")


def sentence(words: str) -> str:
    """With a capital letter."""
    return words[:1].upper() + words[1:]
