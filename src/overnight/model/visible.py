"""Text that others wrote (a run's output, a file's name), made fit for a terminal and a lock screen."""

import re

# What a terminal obeys instead of showing it: C0 and C1 controls, and what turns the direction of reading.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """`text` with each such character as its escape; ends of line and tabs stay."""
    return text if text.isprintable() else _OBEYED.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
