"""The course of one attempt on this host: from the order to its one terminal event."""

import contextlib
import os
from collections.abc import Callable
from typing import Protocol

from overnight.executors import endings, recovery
from overnight.executors.records import DamagedRecord, read_claim
from overnight.executors.stop_commands import Carried, When, carried
from overnight.executors.watched import Phase, Watched
from overnight.model.codec import replace
from overnight.model.events import (
    AttemptEnded,
    AttemptFound,
    AttemptLost,
    AttemptNeverBegan,
    AttemptStarted,
    AttemptStarting,
    Event,
)
from overnight.ports import RunRef
from overnight.shim.shim import claim, process_start_ticks

_LOOKS_AT_CLAIM = (0.02, 0.1, 0.5, 1.0)  # seconds after the fork, after the look before; the last one repeats
STOP_FAILED = "stop.failed"  # flag: its [stop] command did not do its work
RECHECK_SECONDS = 30.0  # of an attempt whose fate nobody here can tell


class Desk(endings.Desk, Protocol):
    """What the executor does for us."""

    def emit(self, ref: RunRef, event: Event) -> None: ...

    def watch_pidfd(self, watched: Watched, pidfd: int | None) -> None: ...

    def drop_pidfd(self, watched: Watched) -> None: ...

    def carry_out(self, watched: Watched, when: When, then: Callable[[Watched, bool], None]) -> None:
        """Run its stop command; then, in poll, `then(watched, failed)`."""


class Course:
    """Moves attempts from phase to phase as looks and reports come in. Called under the executor's lock."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.endings = endings.Endings(desk, self._over)

    # --- beginning -----------------------------------------------------------------------------------------

    def forked(self, watched: Watched, pid: int, start_ticks: object, pidfd: int | None) -> None:
        """The keeper has forked its shim. `pidfd`: of the shim; None if none could be sent."""
        watched.phase, watched.pid, watched.submitting = Phase.FORKED, pid, False
        if isinstance(start_ticks, int):  # in case the command takes its claim file away before we have seen it
            watched.process = recovery.process_here(pid, start_ticks)
        if pidfd is None and isinstance(start_ticks, int):
            with contextlib.suppress(OSError):
                pidfd = recovery.open_process(pid, start_ticks)
        self._desk.watch_pidfd(watched, pidfd)
        # Not a word yet: it has begun, and may well have ended, before anybody could use one.
        self._desk.after(_LOOKS_AT_CLAIM[0], watched, self._look_for_claim)

    def look(self, watched: Watched, dead_pid: int = 0) -> recovery.Verdict:
        """What its files and its shim say. Nothing is changed, but that an unclaimed one is claimed."""
        return recovery.look(
            watched.directory, known=watched.process, dead_pid=dead_pid, submitting=watched.submitting,
            asked_in=watched.asked_in,
        )  # fmt: skip

    def give_up(self, watched: Watched, why: str) -> None:
        """It cannot be started any more, unless it has begun already: its claim file decides."""
        self.settle(watched, self.look(watched), why)

    def recheck(self, watched: Watched) -> None:
        """Look again at one whose fate was unknown."""
        if watched.phase in (Phase.UNKNOWN, Phase.ORDERED):
            self.settle(watched, self.look(watched))

    def _look_for_claim(self, watched: Watched) -> None:
        """Its shim claims it within milliseconds; a slow disk or a frozen shim may take any time."""
        if watched.phase != Phase.FORKED:
            return
        found = None
        with contextlib.suppress(OSError, DamagedRecord):
            found = read_claim(watched.directory)
        if found is not None and found.by == "shim":
            watched.phase, watched.process, watched.started = Phase.RUNNING, found.process, found.moment
            event = AttemptStarted(self._desk.moment(), watched.n, found.process, found.moment)
            self._desk.emit(watched.ref, event)
            self._watch_without_pidfd(watched)
        elif watched.pidfd is None and process_start_ticks(watched.pid) is None:
            self.shim_ended(watched)
        else:
            if watched.tries == 0:
                self._desk.emit(watched.ref, AttemptStarting(self._desk.moment(), watched.n))
            watched.tries += 1
            wait = _LOOKS_AT_CLAIM[min(watched.tries, len(_LOOKS_AT_CLAIM) - 1)]
            self._desk.after(wait, watched, self._look_for_claim)

    def _runs(self, watched: Watched, verdict: recovery.Alive) -> None:
        if watched.pidfd is None:
            self._desk.watch_pidfd(watched, verdict.pidfd)
        elif verdict.pidfd is not None:
            os.close(verdict.pidfd)
        watched.phase, watched.pid = Phase.RUNNING, verdict.process.pid
        watched.process, watched.started = verdict.process, verdict.started or watched.started
        if watched.lost:
            watched.lost = ""
            self._desk.emit(watched.ref, AttemptFound(self._desk.moment(), watched.n))
        self.repeat(watched)
        self._watch_without_pidfd(watched)

    def repeat(self, watched: Watched) -> None:
        """Report once more how far it has come."""
        at = self._desk.moment()
        if watched.phase == Phase.RUNNING and watched.started is not None:
            self._desk.emit(watched.ref, AttemptStarted(at, watched.n, watched.process, watched.started))
        elif watched.phase == Phase.FORKED:
            self._desk.emit(watched.ref, AttemptStarting(at, watched.n))
        elif watched.lost:
            self._desk.emit(watched.ref, AttemptLost(at, watched.n, watched.lost))

    # --- ending --------------------------------------------------------------------------------------------

    def shim_ended(self, watched: Watched) -> None:
        """Its shim is gone: the record tells, or its absence."""
        self._desk.drop_pidfd(watched)
        self.settle(watched, self.look(watched, watched.pid), "its shim ended before it had claimed it")

    def settle(self, watched: Watched, verdict: recovery.Verdict, why: str = "") -> None:
        """Act on what a look has shown. `why`: the words if it never began."""
        at, n = self._desk.moment(), watched.n
        match verdict:
            case recovery.Unclaimed():
                self._desk.finish(watched, AttemptNeverBegan(at, n, why or verdict.why))
            case recovery.Over():
                words = verdict.words or watched.note
                event = AttemptEnded(at, n, verdict.exit, verdict.process, verdict.started, verdict.cause, words)
                self._over(watched, event)
            case recovery.Alive():
                self._runs(watched, verdict)
            case recovery.ShimDied():
                watched.process, watched.started = verdict.process, verdict.started
                self.endings.shim_died(watched)
            case recovery.Unknown():
                watched.phase = Phase.UNKNOWN
                self._desk.report_lost(watched, verdict.words)
                self._desk.after(RECHECK_SECONDS, watched, self.recheck)

    def _watch_without_pidfd(self, watched: Watched) -> None:
        """Out of descriptors: slower, but never blind."""
        if watched.pidfd is not None or watched.process is None or watched.phase != Phase.RUNNING:
            return
        process = watched.process
        if process_start_ticks(process.pid) != process.start_ticks:
            self.shim_ended(watched)
        else:
            self._desk.after(1.0, watched, self._watch_without_pidfd)

    def stop(self, watched: Watched, grace: float) -> None:
        """End it, or keep it from beginning."""
        if watched.phase in (Phase.ORDERED, Phase.FORKED):
            try:
                claim(watched.directory, "supervisor")  # its shim, if there is one, ends without a word
            except OSError:  # a full disk: nobody can claim it now; ask its shim, or ask again
                if watched.pidfd is None:
                    self._desk.after(1.0, watched, lambda again: self.stop(again, grace))
                    return
            else:
                self.give_up(watched, "it was ended before it had begun")
        if watched.phase == Phase.UNKNOWN:
            # Its files may come back and tell how it ended; who wants its end need not wait for them.
            if watched.process is not None and recovery.gone(watched.process):
                self.endings.shim_died(watched)
            else:
                self.repeat(watched)
        if watched.phase in (Phase.RUNNING, Phase.FORKED):
            self._ask(watched, grace)

    def _ask(self, watched: Watched, grace: float) -> None:
        """What lives elsewhere is ended first: its end may be all that the command here waits for."""
        if watched.stop is None or watched.stop_command == "ran":
            self.endings.request(watched, grace)
        elif watched.stop_command == "runs":
            watched.grace = min(watched.grace, grace)
        else:
            watched.stop_command, watched.grace = "runs", grace
            self._desk.carry_out(watched, "before", self._asked)

    def _asked(self, watched: Watched, failed: bool) -> None:
        watched.stop_command = "ran"
        if failed:
            watched.flags = (STOP_FAILED,)
        if watched.phase in (Phase.RUNNING, Phase.FORKED):
            self.endings.request(watched, watched.grace)

    def _over(self, watched: Watched, event: AttemptEnded) -> None:
        """Its tree is gone. What lives elsewhere is ended too before anybody gets its slot."""
        if watched.stop is None or event.exit.error is not None:
            self._desk.finish(watched, event)
            return
        watched.phase = Phase.CLEARING
        before = carried(watched.directory, "before")
        if before is not None and event.exit.recorded and event.exit.stopped is None and _ended_after(event, before):
            # The command here ended by itself, because the stop command had ended what it waited for.
            event = replace(event, exit=replace(event.exit, stopped="request"))

        def cleared(watched: Watched, failed: bool) -> None:
            flags = (STOP_FAILED,) if failed else watched.flags
            self._desk.finish(watched, replace(event, flags=flags))

        self._desk.carry_out(watched, "after", cleared)


def _ended_after(event: AttemptEnded, before: Carried) -> bool:
    started, ended = event.started, event.exit.ended_mono
    return started is not None and started.boot == before.boot and ended is not None and ended >= before.mono
