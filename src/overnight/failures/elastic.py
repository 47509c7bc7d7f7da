"""torchelastic's error files: JSON with a worker's first exception, as torch.distributed.elastic writes it."""

import json
from collections.abc import Iterable

from overnight.failures.rules import RuleSet
from overnight.failures.source import Source
from overnight.failures.story import gather
from overnight.model.classes import Classification, Evidence


def first_root(documents: Iterable[str], rules: RuleSet) -> Classification | None:
    """The earliest root that the files tell, by their own timestamps; None when they tell none."""
    told = sorted((entry for entry in map(_read, documents) if entry), key=lambda entry: entry[0])
    for _, words in told:
        with Source(words.encode()) as source:
            for event in gather(source, rules):
                if event.rule.role == "root":
                    return Classification(
                        name=event.rule.cls,
                        rule=event.rule.name,
                        message=event.message,
                        evidence=Evidence(file="torchelastic error file", text=event.text.strip()[:500]),
                    )
    return None


def _read(document: str) -> tuple[float, str] | None:
    """(timestamp, traceback) of one file; a torn or foreign one is None."""
    try:
        message = json.loads(document)["message"]
    except (ValueError, KeyError, TypeError):
        return None
    if isinstance(message, str):
        return (float("inf"), message)
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
    return (stamp, words)
