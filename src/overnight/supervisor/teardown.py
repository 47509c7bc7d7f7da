"""Whether a silent attempt is done, and only cannot end: `teardown.hung`."""

import os
from pathlib import Path

from overnight import failures
from overnight.artifacts import missing_artifacts
from overnight.core import limits
from overnight.model.classes import Classification, Evidence
from overnight.ports import ExamineOrder

EVIDENCE = "evidence"
MOST_FILES, MOST_BYTES = 80, 1 << 20
TAIL_BYTES = 256 << 10
_SAYS_NOTHING = frozenset({"none", "unknown"})


def hung_teardown(order: ExamineOrder, log: Path, rules: failures.RuleSet) -> Classification | None:
    """The whole proof: ended for want of life, the last step of a known total seen, every declared artifact there,
    nothing in the log after which it would have failed, and stacks, taken before it was ended, that show only leaving
    code. None: it is the stall that it seems. Raises OSError where `out_dir` does not answer."""
    attempt = order.attempt
    if attempt.stop_class != "stall.output" or not limits.done(attempt.vitals):
        return None
    found = proof(log, order, rules)
    if found is None:
        return None
    who = "its process" if found.pid is None else f"process {found.pid}"
    words = f"done, but {who} would not end: {found.call}"
    file = f"attempts/{attempt.n}/" + (found.file if found.file == log.name else f"{EVIDENCE}/{found.file}")
    return Classification("teardown.hung", "supervisor-teardown", words, Evidence(file=file, text=found.call))


def proof(log: Path, order: ExamineOrder, rules: failures.RuleSet) -> failures.Leaving | None:
    """Everything declared is there, nothing in the log's end is a failure, and the stacks prove it."""
    files = _read(log.parent / EVIDENCE)
    tail = files.get("tail.txt")
    if tail is None or missing_artifacts(order.out_dir, order.required):
        return None
    if failures.classify(tail.encode(), failures.Outcome(exit_code=1), rules).name not in _SAYS_NOTHING:
        return None
    return failures.proof(files, _end_of(log))


def _read(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        names = sorted(os.listdir(folder))[:MOST_FILES]
    except FileNotFoundError:
        return found
    for name in names:
        if name.endswith((".txt", ".json")):
            with (folder / name).open("rb") as file:
                found[name] = file.read(MOST_BYTES).decode("utf-8", "replace")
    return found


def _end_of(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            return file.read(TAIL_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
