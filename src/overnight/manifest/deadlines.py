"""`[limits] deadline`: a time of day, a duration from now, or the end of the scheduler's job."""

import re
import time
from collections.abc import Mapping

from overnight.manifest.durations import DurationFault, parse_duration

JOB_END = "SLURM_JOB_END_TIME"  # Unix time, in the environment of a Slurm job (sbatch(1), output environment)
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_ALLOWED = 'a time of day ("08:00"), a duration from launch ("8h"), or "none"'


def check_deadline(text: str) -> None:
    """Raises `DurationFault` unless it is a time of day, a duration or "none"."""
    word = text.strip()
    if word == "none" or _TIME.fullmatch(word):
        return
    if ":" in word:
        raise DurationFault(f'"{text}" is no time of day', _ALLOWED)
    try:
        parse_duration(word, none_allowed=True)
    except DurationFault as fault:
        raise DurationFault(str(fault), _ALLOWED) from None


def next_time_of_day(text: str, now: float) -> float | None:
    """When the clock on the wall here next says `08:00` (Unix seconds, as `now`); None: it is no time of day. In a
    night in which clocks are changed, the one that they show afterwards."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None
    day = time.localtime(now)
    at = [
        time.mktime((day.tm_year, day.tm_mon, day.tm_mday + days, int(found[1]), int(found[2]), 0, 0, 0, -1))
        for days in (0, 1)
    ]
    return at[0] if at[0] > now else at[1]


def deadline_seconds(text: str | None, env: Mapping[str, str], now: float) -> float | None:
    """Seconds from `now` (Unix) to the deadline; None: there is none.

    `text` is checked. None: $SLURM_JOB_END_TIME of `env`, where that is a time to come.
    """
    if text is None:
        return _job_end(env, now)
    if text == "none":
        return None
    at = next_time_of_day(text, now)
    return parse_duration(text) if at is None else at - now


def _job_end(env: Mapping[str, str], now: float) -> float | None:
    word = env.get(JOB_END, "")
    if not word.isdecimal():
        return None
    left = int(word) - now
    return left if left > 0 else None
