"""Sizes as people write them: whole or broken numbers that carry a unit."""

import re

_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
          "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}  # fmt: skip
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?b)", re.IGNORECASE)
EXAMPLES = '"500MB", "20GB", "1.5TiB"'


class SizeFault(ValueError):
    """Not a size. The message says what was found; `hint` what is allowed."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.hint = f'a size with its unit: {EXAMPLES}, or "none"'


def parse_size(text: str) -> int:
    """Bytes, always above zero. Raises `SizeFault`."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or found[2].lower() not in _UNITS:
        unitless = re.fullmatch(r"\d+(?:\.\d+)?", text.strip())
        raise SizeFault(f'"{text}" has no unit' if unitless else f'"{text}" is no size')
    size = int(float(found[1]) * _UNITS[found[2].lower()])
    if size == 0:
        raise SizeFault(f'"{text}" is no room at all')
    return size


def spell_size(size: float) -> str:
    """A size for people: `1.5 GB`."""
    for unit in ("TB", "GB", "MB", "kB"):
        whole = _UNITS[unit.lower()]
        if size >= whole:
            return f"{size / whole:.3g} {unit}"
    return f"{size:.0f} B"
