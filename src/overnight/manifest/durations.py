"""Durations as people write them: numbers that carry a unit."""

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_WHOLE = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)

LONGEST_SECONDS = 3650 * 86_400.0  # ten years: beyond it a number is a slip of the keyboard
EXAMPLES = '"30s", "45m", "24h", "2d", "1h30m"'


class DurationFault(ValueError):
    """Not a duration. The message says what was found; `hint` what is allowed."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def parse_duration(text: str, *, none_allowed: bool = False) -> float:
    """Seconds, always above zero. `text` is one or more numbers with units: `ms s m h d`.

    Raises `DurationFault`. `none_allowed` only changes the words of the hint: a zero is answered with the way
    to say "unbounded", where there is one.
    """
    word = text.strip()
    allowed = f"a duration with its unit: {EXAMPLES}" + (', or "none" for unbounded' if none_allowed else "")
    if word.startswith("-") and _WHOLE.fullmatch(word[1:]):
        raise DurationFault(f'"{text}" is negative', allowed)
    if _NUMBER.fullmatch(word):
        if float(word) == 0:
            raise DurationFault(*_zero(text, none_allowed))
        raise DurationFault(f'"{text}" has no unit', f'write "{word}s" if seconds are meant; {allowed}')
    if not _WHOLE.fullmatch(word):
        raise DurationFault(f'"{text}" is no duration', allowed)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(word))
    if seconds == 0:
        raise DurationFault(*_zero(text, none_allowed))
    if seconds > LONGEST_SECONDS:
        raise DurationFault(f'"{text}" is longer than ten years', allowed)
    return seconds


def _zero(text: str, none_allowed: bool) -> tuple[str, str]:
    if none_allowed:
        return (
            f'"{text}" would end the run at once; to run without this limit write "none"',
            f'a duration above zero ({EXAMPLES}), or "none"',
        )
    return f'"{text}" is no time at all, and "none" is not allowed here', f"a duration above zero: {EXAMPLES}"


def spell_duration(seconds: float) -> str:
    """A duration as people write it in a campaign file: `24h`, `1h30m`, `500ms`; to the millisecond."""
    left = round(seconds * 1000)
    parts: list[str] = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
