"""Peeks: looks at the stacks of who is silent after its last step, so that it need not be waited for too long."""

from pathlib import Path

from overnight import failures
from overnight.core import limits
from overnight.model.campaign import Campaign
from overnight.model.codec import replace
from overnight.model.run import Run
from overnight.ports import AttemptRef, ExamineOrder, Probe, RunRef
from overnight.supervisor.ledger import Ledger
from overnight.supervisor.orders import Orders
from overnight.supervisor.teardown import proof
from overnight.supervisor.watches import Watch, Watches
from overnight.supervisor.workers import Done, Workers


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
        self._workers.submit(("peek", ref, run.live_attempt.n), lambda: self._look(target, examine))

    def _look(self, target: AttemptRef, order: ExamineOrder) -> bool:
        self._probe.save_evidence(target)
        return proof(Path(order.attempt_dir, "output.log"), order, failures.load_rules()) is not None

    def seen(self, ref: RunRef, n: int, done: Done) -> None:
        """What the stacks have shown; of a run that has moved since, nothing."""
        watch = self._watches.by_run.get(ref)
        if done.value and watch is not None and watch.attempt.n == n and watch.peeked:
            watch.vitals = replace(watch.vitals, leaving=True)
            watch.dirty = True
