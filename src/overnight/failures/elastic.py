"""torchelastic's error files: JSON with a worker's first exception, as torch.distributed.elastic writes it."""

import json
from collections.abc import Iterable

from overnight.failures.outcome import ElasticError


def stacks(errors: Iterable[ElasticError]) -> list[tuple[str, bytes]]:
    """(file, traceback) of each that can be read, the earliest by their own time stamps first; one exception once."""
    told = sorted((entry for entry in map(_read, errors) if entry), key=lambda entry: entry[0])
    found: dict[bytes, str] = {}  # the launcher's file is a copy of a worker's
    for _, words, file in told:
        found.setdefault(words.encode(), file)
    return [(file, words) for words, file in found.items()]


def _read(error: ElasticError) -> tuple[float, str, str] | None:
    """(time stamp, traceback, file) of one file; a torn or foreign one is None."""
    try:
        message = json.loads(error.text)["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if isinstance(message, str):
        return (float("inf"), f"{message}\n", error.file)
    if not isinstance(message, dict):
        return None
    extra = message.get("extraInfo")
    extra = extra if isinstance(extra, dict) else {}
    try:
        stamp = float(extra.get("timestamp", "inf"))
    except (TypeError, ValueError):
        stamp = float("inf")
    stack = extra.get("py_callstack")
    words = (
        stack
        if isinstance(stack, str) and stack
        else f"Traceback (most recent call last):\n{message.get('message', '')}\n"
    )
    return (stamp, words, error.file)
