"""`[limits] deadline`: a time of day, a duration from now, or the end of the scheduler's job."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

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


def deadline_seconds(text: str | None, env: Mapping[str, str], now: datetime) -> float | None:
    """Seconds from `now` (with its time zone) to the deadline; None: there is none.

    `text` is checked. None: $SLURM_JOB_END_TIME of `env`, where that is a time to come.
    """
    if text is None:
        return _job_end(env, now)
    if text == "none":
        return None
    found = _TIME.fullmatch(text)
    if found is None:
        return parse_duration(text)
    at = now.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0)
    if at <= now:
        at += timedelta(days=1)
    return (at - now).total_seconds()


def _job_end(env: Mapping[str, str], now: datetime) -> float | None:
    word = env.get(JOB_END, "")
    if not word.isdecimal():
        return None
    left = int(word) - now.timestamp()
    return left if left > 0 else None
