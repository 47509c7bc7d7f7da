"""Classifying a log that no campaign knows of."""

import signal as signals
from pathlib import Path
from typing import TYPE_CHECKING

from overnight.api.errors import NotFound, Refused

if TYPE_CHECKING:
    from overnight.failures import Outcome
    from overnight.model.classes import Classification


def classify(
    log: str | Path | bytes,
    *,
    exit_code: int | None = None,
    signal: str | int | None = None,
    scheduler_state: str | None = None,
    rules: str | Path | None = None,
) -> "Classification":
    """The failure class of a log (a path, or its bytes) with what else is known of the end.

    `exit_code`: 0 to 255; below zero it is a signal, as in Python's `subprocess`. `rules`: a file of rules to try
    before ours. Raises `NotFound` for a log or rules that cannot be read, `Refused` for a signal or an exit code that
    is none, or with the faults of the rules.
    """
    from overnight.api.ruling import rules_from
    from overnight.failures import classify as classify_log

    outcome, known = outcome_of(exit_code, signal, scheduler_state), rules_from(rules)
    if isinstance(log, bytes):
        return classify_log(log, outcome, known)
    try:
        return classify_log(Path(log), outcome, known)
    except OSError as problem:
        raise NotFound(f"{log} cannot be read: {problem.strerror}", "name a file, or - for stdin") from problem


def document(found: "Classification") -> dict[str, object]:
    """The JSON contract of `classify`."""
    evidence = found.evidence
    return {
        "class": found.name,
        "transient": found.transient,
        "rule": found.rule,
        "message": found.message,
        "evidence": None if evidence is None else {"line": evidence.line, "text": evidence.text},
        "consequences": list(found.consequences),
    }


def outcome_of(exit_code: int | None, signal: str | int | None, scheduler_state: str | None) -> "Outcome":
    """What is known of an end beside its log. Raises `Refused` for a signal or an exit code that is none."""
    from overnight.failures import Outcome

    if exit_code is not None and exit_code < 0:
        signal = -exit_code if signal is None else signal
        exit_code = None
    elif exit_code is not None and exit_code > 255:
        raise Refused(f"no program exits with {exit_code}", "0 to 255, or the signal that ended it")
    return Outcome(exit_code=exit_code, signal=_signal_name(signal), scheduler_state=scheduler_state)


def _signal_name(signal: str | int | None) -> str | None:
    """`SIGKILL` for 9, `9`, `KILL` and `sigkill`."""
    if signal is None:
        return None
    text = str(signal).strip().upper()
    try:
        if text.isdigit():
            return signals.Signals(int(text)).name
        return signals.Signals[text if text.startswith("SIG") else f"SIG{text}"].name
    except (ValueError, KeyError):
        raise Refused(f"no signal {signal!r}", "a name such as SIGKILL, or its number") from None
