"""Dispatch: owed effects become jobs off the loop, and what comes of a job becomes an event."""

import logging
import random
from collections.abc import Callable, Mapping
from typing import Any

from overnight.model.effects import (
    Effect,
    FinishRun,
    QuarantineSlot,
    SetAside,
    SetBound,
    StartAttempt,
    StopAttempt,
    VerifyAttempt,
)
from overnight.model.events import (
    AttemptEnded,
    AttemptVerified,
    BoundSet,
    Event,
    RunFaulted,
    RunFinished,
    SetAsideDone,
    SlotQuarantined,
)
from overnight.model.run import ExitRecord, Run
from overnight.model.states import RunState
from overnight.model.time import Moment
from overnight.ports import AttemptRef, Examined, ExamineOrder, Examiner, Executor, Files, Probe, RunRef, StartOrder
from overnight.supervisor.ledger import Ledger
from overnight.supervisor.orders import Orders
from overnight.supervisor.workers import Done, Workers

log = logging.getLogger(__name__)

AGAIN_SECONDS = 5.0  # until what a full or broken disk did not allow is tried again, and a stop that failed


class Dispatch:
    """Performs effects. Every effect may be performed twice; `model.effects` says why that is harmless."""

    def __init__(
        self, ledger: Ledger, workers: Workers, orders: Orders, executors: Mapping[str, Executor], probe: Probe,
        examiner: Examiner, files: Files, roll: Callable[[], float] = random.random,
    ) -> None:  # fmt: skip
        self._ledger = ledger
        self._workers = workers
        self._orders = orders
        self._executors = executors
        self._probe = probe
        self._examiner = examiner
        self._files = files
        self._roll = roll
        self._again: list[tuple[float, RunRef, Effect]] = []
        self._begun: dict[RunRef, int] = {}  # starts that may have been performed before: run and attempt

    def executor(self, campaign: str) -> Executor:
        """The executor of a campaign."""
        return self._executors[self._ledger.campaigns[campaign].policy.executor]

    def perform(self, ref: RunRef, effect: Effect, now: Moment) -> None:
        """Hand one owed effect to the workers. What cannot even be handed over is that run's fault alone."""
        try:
            run = self._ledger.get(ref)
            if run is None or effect not in run.owed:
                return  # its result came in the same turn
            job = self._job(run, effect)
            if isinstance(effect, StartAttempt):
                self._begun[ref] = effect.n
            elif isinstance(effect, FinishRun):
                self._begun.pop(ref, None)
        except Exception as problem:
            event = self._problem(ref, effect, problem, now)
            if event is not None:
                self._ledger.apply(*event)
            return
        self._workers.submit((ref, effect), job, ref)

    def recovered(self, ref: RunRef, run: Run) -> None:
        """An earlier supervisor may have performed what this run owes."""
        if run.attempts:
            self._begun[ref] = run.attempts[-1].n

    def adopt(self, ref: RunRef, run: Run) -> None:
        """Ask the executor what became of the run's live attempt."""
        target, executor = self._target(run), self.executor(ref.campaign)
        self._workers.submit((ref, None), lambda: executor.adopt(target), ref)

    def _job(self, run: Run, effect: Effect) -> Callable[[], Any]:
        ledger, orders, files = self._ledger, self._orders, self._files
        ref = RunRef(run.campaign, run.run_id)
        campaign = ledger.campaigns[run.campaign]
        executor = self.executor(run.campaign)
        match effect:
            case StartAttempt():
                order = orders.start(run, campaign, ledger.spec(ref))
                target = self._target(run)
                first = self._begun.get(ref) != order.n
                return lambda: self._start(executor, order, target, first)
            case StopAttempt(_, grace, evidence):
                target = self._target(run)
                return lambda: self._stop(executor, target, grace, evidence)
            case SetBound(_, seconds, grace):
                target = self._target(run)
                return lambda: executor.set_bound(target, seconds, grace)
            case VerifyAttempt():
                examine = orders.examine(run, campaign, ledger.spec(ref))
                target = orders.target(run, run.attempts[-1])
                return lambda: self._examine(examine, target)
            case FinishRun():
                finish = orders.finish(run, campaign, ledger.spec(ref))
                return lambda: files.finish(finish)
            case QuarantineSlot(slot, why):
                return lambda: executor.quarantine(slot, why)
            case SetAside(epoch, scratch):
                run_dir = orders.run_dir(ref)
                return lambda: files.set_aside(run_dir, epoch, scratch)

    def _examine(self, order: ExamineOrder, target: AttemptRef) -> Examined:
        found = self._examiner.examine(order)
        try:
            self._files.publish(target)
        except OSError as problem:
            log.warning("cannot copy %s to the root yet: %s", target.attempt_dir, problem)
        return found

    def _target(self, run: Run) -> AttemptRef:
        ref = RunRef(run.campaign, run.run_id)
        return self._orders.to_end(run, self._ledger.campaigns[run.campaign], lambda: self._ledger.spec(ref))

    def _start(self, executor: Executor, order: StartOrder, target: AttemptRef, first: bool) -> None:
        try:
            fresh = self._files.prepare(order)
        except OSError:
            executor.release(order.slot)
            if first:
                raise
            fresh = False  # it may have begun all the same: only its claim file can say
        if fresh:
            executor.start(order)
        else:  # somebody has been here: what came of it is in the directory
            executor.adopt(target)

    def _stop(self, executor: Executor, target: AttemptRef, grace: float, evidence: bool) -> None:
        if evidence:
            self._probe.save_evidence(target)
        executor.stop(target, grace)

    def done(self, done: Done, now: Moment) -> tuple[RunRef, Event] | None:
        """The event that a finished job is, if it is one by itself (starts and stops report by the executor)."""
        tag = done.tag
        assert isinstance(tag, tuple)
        ref, effect = tag
        if done.problem is not None:
            return self._problem(ref, effect, done.problem, now)
        match effect:
            case SetBound(n):
                return ref, BoundSet(now, n)
            case VerifyAttempt(n):
                found: Examined = done.value
                return ref, AttemptVerified(now, n, found.classification, found.vitals, found.checkpoints, self._roll())
            case FinishRun(epoch):
                return ref, RunFinished(now, epoch)
            case SetAside(epoch):
                return ref, SetAsideDone(now, epoch)
            case QuarantineSlot(slot):
                return ref, SlotQuarantined(now, slot)
        return None

    def _problem(
        self, ref: RunRef, effect: Effect | None, problem: BaseException, now: Moment
    ) -> tuple[RunRef, Event] | None:
        words = f"{type(problem).__name__}: {problem}"
        bad_ground = isinstance(problem, OSError)
        trace = None if bad_ground else problem
        log.warning("%s of %s/%s: %s", type(effect).__name__, ref.campaign, ref.run_id, words, exc_info=trace)
        if isinstance(problem, OSError) and isinstance(effect, StartAttempt):
            record = ExitRecord(error=words, error_kind="prepare", errno=problem.errno)
            return ref, AttemptEnded(now, effect.n, record)
        run = self._ledger.get(ref)
        if isinstance(effect, StopAttempt) or (bad_ground and effect is not None):
            # The ground is bad, not the run: what is owed stays owed. So does a stop, whatever keeps us from it.
            self._again.append((now.mono + AGAIN_SECONDS, ref, effect))
            if bad_ground or (run is not None and run.state == RunState.HELD):
                return None
        if isinstance(effect, StartAttempt) and run is not None and run.live_attempt is not None:
            self._let_go(ref, run)
        return ref, RunFaulted(now, words)

    def _let_go(self, ref: RunRef, run: Run) -> None:
        """Of a start that failed most likely nothing began: then its slot is free for the others."""
        try:
            self.executor(ref.campaign).release(run.attempts[-1].slot)
            self.adopt(ref, run)
        except Exception:
            log.exception("cannot let go of the slot of %s/%s", ref.campaign, ref.run_id)

    def again(self, now: Moment) -> None:
        """Perform once more what failed."""
        ready = [item for item in self._again if item[0] <= now.mono]
        if ready:
            self._again = [item for item in self._again if item[0] > now.mono]
            for _, ref, effect in ready:
                self.perform(ref, effect, now)

    def next_again(self) -> float | None:
        """When that is due (monotonic seconds)."""
        return min((item[0] for item in self._again), default=None)
