"""Moments: durations come from the monotonic clock of one boot, wall time is for people."""

from overnight.model.codec import Struct


class Moment(Struct, frozen=True):
    """A point in time as one host saw it. `mono`: CLOCK_MONOTONIC seconds of `boot`; `wall`: Unix time."""

    mono: float
    wall: float
    boot: str = ""


def elapsed(earlier: Moment, later: Moment) -> float:
    """Seconds from `earlier` to `later`, never negative. Within one boot the wall clock has no say; across
    boots it is the only witness there is."""
    if earlier.boot == later.boot:
        return max(0.0, later.mono - earlier.mono)
    return max(0.0, later.wall - earlier.wall)


def after(moment: Moment, seconds: float) -> Moment:
    """The moment `seconds` later on the same host and boot."""
    return Moment(moment.mono + seconds, moment.wall + seconds, moment.boot)
