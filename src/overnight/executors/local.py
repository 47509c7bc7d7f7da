"""Attempts on this host: shims forked by the keeper, watched by pidfd, spoken to by files and signals."""

import contextlib
import os
import resource
import select
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from overnight.executors import course
from overnight.executors.gpus import MemoryWatch
from overnight.executors.records import Bound, attempt_id, read_bound, write_bound
from overnight.executors.slots import SlotBook
from overnight.executors.stop_commands import StopCommands, When
from overnight.executors.timers import Action, Timers
from overnight.executors.watched import Phase, Watched
from overnight.executors.wire import KeeperGone, KeeperWire
from overnight.model.events import (
    AttemptEnded,
    AttemptLost,
    AttemptNeverBegan,
    Event,
    RunFaulted,
)
from overnight.model.run import Slot
from overnight.model.states import AttemptState
from overnight.model.time import Moment
from overnight.ports import AttemptRef, Busy, Clock, Condemned, Placement, RunRef, SlotRequest, StartOrder

_ENDED_KEPT = 4096


class LocalExecutor:
    """Where attempts run: here.

    Orders may come from any thread; `poll` is the loop's. A live attempt costs one descriptor and, once its
    start has been seen, no timer: any number of them costs nothing while nothing happens.
    """

    name = "local"

    def __init__(
        self,
        clock: Clock,
        keeper_socket: socket.socket | None,
        slots_dir: str | os.PathLike[str],
        *,
        memory: MemoryWatch | None = None,
    ) -> None:
        """`keeper_socket`: our end of the keeper's SEQPACKET pair; None: nothing can be started."""
        _allow_descriptors()
        self._clock = clock
        self._lock = threading.RLock()
        self._watched: dict[str, Watched] = {}  # by attempt directory
        self._by_pidfd: dict[int, Watched] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()  # reported; an order for one of them is late
        self._timers = Timers()
        self._out: list[tuple[RunRef, Event]] = []
        self._polling = False
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll = select.epoll()
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._slots = SlotBook(slots_dir, memory if memory is not None else MemoryWatch(self._memory_told))
        self._freed = False
        self._slots.check_all()
        self._course = course.Course(self)
        self._commands = StopCommands()
        self._keeper_lost = False
        self._awaits_room = False
        self._keeper: KeeperWire | None = None
        if keeper_socket is not None:
            self._keeper = KeeperWire(keeper_socket)
            self._epoll.register(self._keeper.fileno(), select.EPOLLIN)

    @property
    def keeper_lost(self) -> bool:
        """The keeper has gone: attempts go on, but nothing can be started until there is a new one."""
        return self._keeper_lost

    # --- slots ---------------------------------------------------------------------------------------------

    def acquire(self, request: SlotRequest) -> Placement | Busy:
        """Take a free slot and a free port. Never blocks."""
        with self._lock:
            if self._keeper is None:
                return Busy("there is no keeper, and only it starts attempts")
            return self._slots.acquire(request)

    def release(self, slot: Slot) -> None:
        """Give up a slot that was acquired and not passed on; harmless for any other."""
        with self._lock:
            self._slots.release(slot)

    def quarantine(self, slot: Slot, why: str) -> None:
        """Give it to nobody of this host any more, until a person releases it. Raises OSError."""
        with self._lock:
            self._slots.quarantine(slot, why)

    def freed(self) -> bool:
        """Whether a slot may have come free since the last call, without an event that tells."""
        with self._lock:
            freed, self._freed = self._freed, False
            return freed

    def condemned(self) -> Sequence[Condemned]:
        """Slots whose release could not be proven, right before they are quarantined."""
        with self._lock:
            return self._slots.checks.take_condemned()

    def _memory_told(self) -> None:
        """What waits for a look at a GPU's memory can go on."""
        self._freed = True
        self._wake()

    # --- orders --------------------------------------------------------------------------------------------

    def start(self, order: StartOrder) -> None:
        """Have the keeper fork a shim for the prepared directory. Twice: the second one changes nothing."""
        with self._lock:
            if order.attempt_dir in self._watched or order.attempt_dir in self._ended:
                self._slots.release(order.slot)  # if it had been acquired anew for it
                return
            watched = Watched(order.ref, order.n, order.attempt_dir, order.slot, order.attempt_id)
            watched.stop = order.stop
            self._watched[order.attempt_dir] = watched
            try:
                locks = self._slots.take(order.slot, order.ref, order.n, order.attempt_id)
            except OSError as error:
                locks = f"its lock file cannot be used: {error.strerror}"
            if isinstance(locks, str):
                self._slots.passed(order.slot)
                self._course.give_up(watched, f"slot {order.slot.name} is not free: {locks}")
            elif self._keeper is None:
                for fd in locks:
                    os.close(fd)
                self._course.give_up(watched, "there is no keeper to start it")
            else:
                self._tell_keeper(self._keeper, order.attempt_dir, locks)

    def adopt(self, target: AttemptRef) -> None:
        """Look what became of the attempt, and watch it. One that is watched already is reported again."""
        with self._lock:
            if target.attempt_dir in self._ended:
                return
            known = self._watched.get(target.attempt_dir)
            if known is not None:
                self._course.repeat(known)
                return
            attempt = target.attempt
            watched = Watched(target.ref, attempt.n, target.attempt_dir, attempt.slot, None)
            watched.process, watched.started, watched.stop = attempt.process, attempt.started, target.stop
            watched.submitting = attempt.process is None and attempt.state == AttemptState.SUBMITTING
            watched.asked_in = attempt.planned.boot
            if attempt.state == AttemptState.LOST:
                watched.lost = "it was lost"
            self._watched[target.attempt_dir] = watched
            self._slots.passed(attempt.slot)
            self._guarded(watched, lambda each: self._course.settle(each, self._course.look(each)))

    def stop(self, target: AttemptRef, grace: float) -> None:
        """End its tree within `grace` (and what its shim needs after it). Again: the shorter grace counts."""
        with self._lock:
            if target.attempt_dir in self._ended:
                return
            if target.attempt_dir not in self._watched:
                self.adopt(target)
            watched = self._watched.get(target.attempt_dir)
            if watched is not None:
                watched.stop = target.stop
                self._course.stop(watched, grace)

    def set_bound(self, target: AttemptRef, seconds: float | None, grace: float) -> None:
        """Replace the shim's bound. Raises OSError if it cannot be written: the old one is in force then."""
        with self._lock:
            if (watched := self._watched.get(target.attempt_dir)) is not None:
                watched.stop = target.stop  # a revision may have changed that too
        old = read_bound(target.attempt_dir)
        bound = Bound(seconds, grace) if old is None else Bound(seconds, grace, old.margin)
        with contextlib.suppress(FileNotFoundError):  # the directory is gone, and with it who would read it
            write_bound(target.attempt_dir, bound)

    # --- the loop's side -----------------------------------------------------------------------------------

    def poll(self) -> Sequence[tuple[RunRef, Event]]:
        """What happened since the last call."""
        with self._lock:
            self.pump()
            out, self._out = self._out, []
            return out

    def pump(self) -> bool:
        """Hear shims and keeper and do what is due; whether `poll` has anything to tell. Most words of the keeper
        concern nobody else."""
        with self._lock:
            self._polling = True
            try:
                for _ in range(8):  # a report may bring a descriptor that is readable at once
                    ready = self._epoll.poll(0, 1024)
                    for fd, mask in ready:
                        self._serve(fd, mask)
                    if not ready:
                        break
                self._fire()
                if self._slots.checks.pursue():
                    self._freed = True
            finally:
                self._polling = False
            return bool(self._out) or self._freed or bool(self._slots.checks.condemned)

    def fileno(self) -> int:
        """One descriptor for the keeper, all shims and orders from other threads."""
        return self._epoll.fileno()

    def due(self) -> float | None:
        """When the next timer is due; those of attempts that have ended do not count."""
        with self._lock:
            times = [at for at in (self._timers.due(), self._slots.checks.due()) if at is not None]
            return min(times, default=None)

    def close(self) -> None:
        """Let go of all descriptors. Attempts go on, bounded by their shims."""
        with self._lock:
            self._slots.close()
            for pidfd in self._by_pidfd:
                os.close(pidfd)
            self._by_pidfd.clear()
            self._watched.clear()
            self._timers.clear()
            if self._keeper is not None:
                self._keeper.close()
                self._keeper = None
            if not self._epoll.closed:
                self._epoll.close()
                os.close(self._wake_fd)

    def _wake(self) -> None:
        with self._lock:  # once closed, the number may be another file's
            if not self._epoll.closed:
                with contextlib.suppress(BlockingIOError):  # woken often enough
                    os.eventfd_write(self._wake_fd, 1)

    def _serve(self, fd: int, mask: int) -> None:
        if fd == self._wake_fd:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(fd)
        elif self._keeper is not None and fd == self._keeper.fileno():
            self._hear_keeper(self._keeper)
        elif (watched := self._by_pidfd.get(fd)) is not None:
            self._guarded(watched, self._course.shim_ended)

    def _fire(self) -> None:
        now = self._clock.now().mono
        while (timer := self._timers.pop(now)) is not None:
            self._guarded(*timer)

    def _guarded(self, watched: Watched, action: Action) -> None:
        """An error concerns one run: the others' reports are not lost with it."""
        try:
            action(watched)
        except Exception as error:
            if watched.phase != Phase.DONE:
                problem = f"the executor could not follow attempt {watched.n}: {type(error).__name__}: {error}"
                self.emit(watched.ref, RunFaulted(self._clock.now(), problem))
                watched.phase = Phase.UNKNOWN  # looked at afresh
                self.after(course.RECHECK_SECONDS, watched, self._course.recheck)

    # --- the desk -----------------------------------------------------------------------------------------

    def moment(self) -> Moment:
        """Now."""
        return self._clock.now()

    def emit(self, ref: RunRef, event: Event) -> None:
        """Report at the next poll."""
        self._out.append((ref, event))
        if not self._polling:
            self._wake()

    def after(self, seconds: float, watched: Watched, action: Action) -> None:
        """Call `action(watched)` in poll, unless the attempt is done by then."""
        self._timers.add(self._clock.now().mono + seconds, watched, action)
        if not self._polling:
            self._wake()

    def carry_out(self, watched: Watched, when: When, then: Callable[[Watched, bool], None]) -> None:
        """Run its stop command off the loop; then, in poll, `then(watched, failed)`."""
        assert watched.stop is not None
        known = watched.attempt_id or attempt_id(watched.directory) or watched.directory

        def done(failed: bool) -> None:
            with self._lock:
                if not self._epoll.closed:
                    self.after(0.0, watched, lambda each: then(each, failed))

        self._commands.run(watched.directory, when, watched.stop, known, done)

    def report_lost(self, watched: Watched, words: str) -> None:
        """Say it once."""
        if watched.lost != words:
            watched.lost = words
            self.emit(watched.ref, AttemptLost(self._clock.now(), watched.n, words))

    def finish(self, watched: Watched, event: AttemptEnded | AttemptNeverBegan) -> None:
        """Its one terminal event; from now on it is not watched."""
        watched.phase = Phase.DONE
        self.drop_pidfd(watched)
        self._watched.pop(watched.directory, None)
        self._slots.vacated(watched.slot)
        self._slots.release(watched.slot)  # acquired for it and never passed on: it never began, or had begun before
        self._slots.check(watched.slot)
        self._ended[watched.directory] = None
        if len(self._ended) > _ENDED_KEPT:
            self._ended.popitem(last=False)
        self.emit(watched.ref, event)

    # --- the keeper ----------------------------------------------------------------------------------------

    def _tell_keeper(self, keeper: KeeperWire, directory: str, locks: list[int]) -> None:
        try:
            keeper.order(directory, locks)
            self._await_room(keeper)
        except KeeperGone:
            self._lose_keeper(keeper)

    def _await_room(self, keeper: KeeperWire) -> None:
        if keeper.waiting != self._awaits_room:
            self._awaits_room = keeper.waiting
            self._epoll.modify(keeper.fileno(), select.EPOLLIN | (select.EPOLLOUT if keeper.waiting else 0))

    def _hear_keeper(self, keeper: KeeperWire) -> None:
        try:
            # One at a time: our own poll says whether there is more, cheaper than a call that fails.
            for report, descriptors in keeper.receive(1):
                self._report(report, descriptors)
            keeper.flush()
            self._await_room(keeper)
        except KeeperGone:
            self._lose_keeper(keeper)

    def _lose_keeper(self, keeper: KeeperWire) -> None:
        """Orders that it may or may not have carried out are settled by their claim files."""
        self._keeper_lost, self._keeper = True, None
        self._epoll.unregister(keeper.fileno())
        keeper.close()
        for watched in [each for each in self._watched.values() if each.phase == Phase.ORDERED]:
            self._give_up(watched, "the keeper died before it had started it")

    def _report(self, report: dict[str, object], descriptors: list[int]) -> None:
        watched = self._watched.get(str(report.get("dir")))
        op, pid = report.get("op"), report.get("pid")
        if watched is None:
            pass  # it has been given up meanwhile, or its end was seen first
        elif op == "forked" and isinstance(pid, int) and watched.phase == Phase.ORDERED:
            self._course.forked(watched, pid, report.get("start_ticks"), descriptors.pop() if descriptors else None)
        elif op == "fork_failed" and watched.phase == Phase.ORDERED:
            self._give_up(watched, f"no process could be made for it: {report.get('message')}")
        elif op == "shim_ended":
            orphans = report.get("orphans")
            self._course.endings.hear(watched, orphans if isinstance(orphans, list) else [])
            if watched.phase == Phase.ORDERED:  # the report of its fork was lost on the way
                self._give_up(watched, "its shim ended before it had claimed it")
        for fd in descriptors:
            os.close(fd)

    def _give_up(self, watched: Watched, why: str) -> None:
        self._guarded(watched, lambda each: self._course.give_up(each, why))

    def watch_pidfd(self, watched: Watched, pidfd: int | None) -> None:
        """Hear of its shim's end by this descriptor, which is ours from now on."""
        if pidfd is not None:
            watched.pidfd = pidfd
            self._by_pidfd[pidfd] = watched
            self._epoll.register(pidfd, select.EPOLLIN)

    def drop_pidfd(self, watched: Watched) -> None:
        """Its shim has ended, or nobody needs to hear of it."""
        if watched.pidfd is not None:
            self._by_pidfd.pop(watched.pidfd, None)
            self._epoll.unregister(watched.pidfd)
            os.close(watched.pidfd)
            watched.pidfd = None


def _allow_descriptors() -> None:
    """One for each live attempt: thousands. What runs inherit is set by their shims, not by us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
