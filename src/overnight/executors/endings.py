"""How an attempt on this host is ended: asked through its shim, and by ourselves where the shim cannot.

Every step is a call that returns at once; what comes later is a timer. Signals go to processes whose start
time has been checked behind an open pidfd.
"""

import contextlib
import os
import signal
from collections.abc import Callable
from typing import Protocol

from overnight.executors.records import Bound, attempt_id, read_bound, write_bound
from overnight.executors.trees import Member, alive, members
from overnight.executors.watched import Phase, Watched
from overnight.model.events import AttemptEnded, AttemptNeverBegan
from overnight.model.run import ExitRecord, Process
from overnight.model.time import Moment
from overnight.shim.shim import process_start_ticks, process_stat

AFTER_GRACE_SECONDS = 1.0 + 10.0  # what a shim has after the grace: a second for stacks, and time to sweep
KEEPER_SECONDS = 2.0  # the keeper says what fell to it within this time, or is not going to
TREE_GRACE_SECONDS = 5.0  # from TERM to KILL where there is no shim to keep the run's own grace
FOLLOW_SECONDS = 0.25
LEISURE_SECONDS = 10.0  # between two tries at what cannot be killed (state D)
STUBBORN_SECONDS = 3.0  # after the first KILL: from then on it is said that it will not end
GAP_SECONDS = 5.0


class Desk(Protocol):
    """What the executor does for us."""

    @property
    def keeper_lost(self) -> bool: ...

    def moment(self) -> Moment: ...

    def after(self, seconds: float, watched: Watched, action: Callable[[Watched], None]) -> None: ...

    def report_lost(self, watched: Watched, words: str) -> None: ...

    def finish(self, watched: Watched, event: AttemptEnded | AttemptNeverBegan) -> None: ...


class Endings:
    """Stop requests, shims that do not answer them, and trees whose shim has died."""

    def __init__(self, desk: Desk, over: Callable[[Watched, AttemptEnded], None]) -> None:
        """`over`: a tree is gone."""
        self._desk = desk
        self._over = over

    # --- through the shim ----------------------------------------------------------------------------------

    def request(self, watched: Watched, grace: float) -> None:
        """Ask the shim of a running attempt. Asked again, the shorter grace counts."""
        old = read_bound(watched.directory)
        if old is not None:
            with contextlib.suppress(OSError):  # a full disk: the grace of before will do
                write_bound(watched.directory, Bound(old.seconds, grace, old.margin))
        self._terminate(watched)
        deadline = self._desk.moment().mono + grace + AFTER_GRACE_SECONDS
        if watched.deadline is None or deadline < watched.deadline:
            watched.deadline = deadline
            self._desk.after(grace + AFTER_GRACE_SECONDS, watched, self._overdue)

    def _terminate(self, watched: Watched) -> None:
        process = watched.process
        with contextlib.suppress(ProcessLookupError):  # its end is on its way to us
            if watched.pidfd is not None:
                signal.pidfd_send_signal(watched.pidfd, signal.SIGTERM)
            elif process is not None and process_start_ticks(process.pid) == process.start_ticks:
                os.kill(process.pid, signal.SIGTERM)

    def _overdue(self, watched: Watched) -> None:
        """The shim has had its time: frozen, or with something that it cannot kill."""
        now = self._desk.moment().mono
        if watched.overdue_since is not None or watched.deadline is None:
            return
        if now - watched.deadline > GAP_SECONDS:  # nobody ran for a while, the shim neither
            watched.deadline = now + AFTER_GRACE_SECONDS
            self._desk.after(AFTER_GRACE_SECONDS, watched, self._overdue)
            return
        watched.overdue_since = now
        self._kill_below(watched)

    def _kill_below(self, watched: Watched) -> None:
        if watched.phase not in (Phase.RUNNING, Phase.FORKED) or watched.overdue_since is None:
            return
        late = self._desk.moment().mono - watched.overdue_since
        left = members(below=watched.pid)
        for member in left:
            member.signal(signal.SIGKILL)
        if not left and late >= 1.0:
            # Last, and only with nothing below it: while it lives its locks keep the slot from others.
            watched.note = "its shim did not end when asked, and was killed"
            if watched.pidfd is not None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(watched.pidfd, signal.SIGKILL)
        stubborn = bool(left) and late >= STUBBORN_SECONDS
        if stubborn:
            self._desk.report_lost(watched, _stubborn(left))
        self._desk.after(LEISURE_SECONDS if stubborn else FOLLOW_SECONDS, watched, self._kill_below)

    # --- without the shim ----------------------------------------------------------------------------------

    def hear(self, watched: Watched, orphans: list[object]) -> None:
        """The keeper says which processes of a dead shim fell to it. It ends them itself: we follow."""
        started = [(pid, process_start_ticks(pid)) for pid in orphans if isinstance(pid, int)]
        watched.orphans = [(pid, ticks) for pid, ticks in started if ticks is not None]
        watched.word_of_keeper = True

    def shim_died(self, watched: Watched) -> None:
        """Without a record. What is left of its tree is ended, and followed until it is gone."""
        if watched.phase != Phase.DYING:
            watched.phase, watched.died_at, watched.asked_at = Phase.DYING, self._desk.moment().mono, None
            if watched.attempt_id is None:  # of a supervisor before us: what left the session is known by it alone
                watched.attempt_id = attempt_id(watched.directory)
        self._follow(watched)

    def _follow(self, watched: Watched) -> None:
        if watched.phase != Phase.DYING:
            return
        now = self._desk.moment().mono
        waited = now - watched.died_at
        left = members(session=_session(watched.process), attempt_id=watched.attempt_id)
        fallen = alive(watched.orphans)
        keeper_spoke = watched.word_of_keeper or self._desk.keeper_lost or waited >= KEEPER_SECONDS
        if not left and not fallen:
            if keeper_spoke:
                self._gone(watched)
            else:
                self._desk.after(FOLLOW_SECONDS, watched, self._follow)
            return
        if not watched.lost:
            self._desk.report_lost(watched, "the shim died; its tree is being ended")
        if keeper_spoke:
            self._end(watched, left, fallen, now)
        stubborn = watched.asked_at is not None and (now - watched.asked_at >= TREE_GRACE_SECONDS + STUBBORN_SECONDS)
        if stubborn:
            self._desk.report_lost(watched, _stubborn([*left, *fallen]))
        self._desk.after(LEISURE_SECONDS if stubborn else FOLLOW_SECONDS, watched, self._follow)

    def _end(self, watched: Watched, left: list[Member], fallen: list[Member], now: float) -> None:
        """TERM to the tops alone: a trainer whose data workers are ended first loses the checkpoint it saves.
        What fell to a living keeper has had that from it."""
        if watched.asked_at is None:
            watched.asked_at = now
            if not watched.word_of_keeper or self._desk.keeper_lost:
                within = {member.pid for member in left}
                for member in left:
                    if member.parent not in within:
                        member.signal(signal.SIGTERM)
                        member.signal(signal.SIGCONT)
        elif now - watched.asked_at >= TREE_GRACE_SECONDS:
            for member in [*left, *fallen] if self._desk.keeper_lost else left:
                member.signal(signal.SIGKILL)

    def _gone(self, watched: Watched) -> None:
        words = watched.note or "the shim died without a record"
        exit_record = ExitRecord(recorded=False)
        event = AttemptEnded(self._desk.moment(), watched.n, exit_record, watched.process, watched.started, None, words)
        self._over(watched, event)


def _session(shim: Process | None) -> int | None:
    """The session that a dead shim led; None where its number belongs to another process by now, whose session that
    may be."""
    stat = None if shim is None else process_stat(shim.pid)
    return None if shim is None or (stat is not None and stat.start_ticks != shim.start_ticks) else shim.pid


def _stubborn(left: list[Member]) -> str:
    more = f" and {len(left) - 3} more" if len(left) > 3 else ""
    return f"a process of its tree will not end: {', '.join(each.words for each in left[:3])}{more}"
