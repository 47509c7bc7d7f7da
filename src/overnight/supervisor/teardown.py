"""Whether a silent attempt is done, and only cannot end: `teardown.hung`."""

import os
from pathlib import Path

from overnight import failures
from overnight.artifacts import missing_artifacts
from overnight.core import limits
from overnight.model.campaign import Campaign
from overnight.model.classes import Classification, Evidence
from overnight.model.codec import replace
from overnight.model.run import Run
from overnight.ports import AttemptRef, ExamineOrder, Probe, RunRef
from overnight.supervisor.ledger import Ledger
from overnight.supervisor.orders import Orders
from overnight.supervisor.watches import Watch, Watches
from overnight.supervisor.workers import Done, Workers

PEEK, EVIDENCE = "peek", "evidence"
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
    found = _proof(log, order, rules)
    if found is None:
        return None
    who = "its process" if found.pid is None else f"process {found.pid}"
    words = f"done, but {who} would not end: {found.call}"
    file = f"attempts/{attempt.n}/" + (found.file if found.file == log.name else f"{EVIDENCE}/{found.file}")
    return Classification("teardown.hung", "supervisor-teardown", words, Evidence(file=file, text=found.call))


class Peeks:
    """Who is silent after its last step has four times the usual heartbeat; who is proven to be done by its stacks
    meanwhile is ended at the usual one. The look is a job: it takes up to ten seconds."""

    def __init__(self, workers: Workers, probe: Probe, orders: Orders, ledger: Ledger, watches: Watches) -> None:
        self._workers, self._probe, self._orders = workers, probe, orders
        self._ledger, self._watches = ledger, watches

    def consider(self, ref: RunRef, run: Run, campaign: Campaign, watch: Watch) -> None:
        """Look at its stacks, if it is time."""
        vitals = watch.vitals
        if vitals.leaving or not limits.done(vitals) or run.live_attempt is None or watch.quiet_looks < 2:
            return
        peek, silent = limits.in_force(run, campaign, vitals).peek, vitals.seconds - vitals.last_life
        if peek is None or silent < watch.peeked + peek:
            return
        watch.peeked = silent
        examine = self._orders.examine(run, campaign, self._ledger.spec(ref))
        target = self._orders.target(run, run.live_attempt)
        self._workers.submit((PEEK, ref, run.live_attempt.n), lambda: self._look(target, examine))

    def _look(self, target: AttemptRef, order: ExamineOrder) -> bool:
        self._probe.save_evidence(target)
        return _proof(Path(order.attempt_dir, "output.log"), order, failures.load_rules()) is not None

    def seen(self, ref: RunRef, n: int, done: Done) -> None:
        """What the stacks have shown; of a run that has moved since, nothing."""
        watch = self._watches.by_run.get(ref)
        if done.value and watch is not None and watch.attempt.n == n and watch.peeked:
            watch.vitals = replace(watch.vitals, leaving=True)
            watch.dirty = True


def _proof(log: Path, order: ExamineOrder, rules: failures.RuleSet) -> failures.Leaving | None:
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
