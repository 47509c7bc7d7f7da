"""The fake world: scripted attempts that go on whoever watches. Executors are windows onto it."""

import contextlib
import heapq
import threading
from collections.abc import Callable
from typing import Protocol

from overnight.executors.fake.knobs import knobs_for
from overnight.executors.fake.life import Life, State
from overnight.executors.fake.script import Script
from overnight.executors.fake.sinks import MemorySink, Plan, Remembered, Sink
from overnight.executors.fake.slots import FakeSlots
from overnight.model.events import (
    AttemptEnded,
    AttemptFound,
    AttemptLost,
    AttemptNeverBegan,
    AttemptStarted,
    AttemptStarting,
    Event,
)
from overnight.model.run import ExitRecord
from overnight.model.time import Moment
from overnight.ports import AttemptRef, Clock, RunRef, StartOrder

_LOST = "no word from it (so says its script)"


class Window(Protocol):
    """Who watches: an executor."""

    def __hash__(self) -> int: ...

    def tell(self, ref: RunRef, event: Event) -> None: ...


class FakeWorld:
    """Attempts, slots and files of a host that does not exist.

    It outlives the executors that look at it, as processes outlive a supervisor. Nothing happens in it by
    itself: `advance` lets everything happen that is due by its clock, in order, and always the same.
    """

    def __init__(self, clock: Clock, sink: Sink | None = None, *, gpus: int = 8) -> None:
        """`gpus`: how many there are for requests that name none."""
        self.clock = clock
        self.sink: Sink = sink if sink is not None else MemorySink()
        self.lock = threading.RLock()
        self.slots = FakeSlots(gpus)
        self.lives: dict[str, Life] = {}  # by attempt directory
        self._window: Window | None = None
        self._heap: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = 0
        self._checkpoints: dict[str, int] = {}  # path: step

    # --- windows -------------------------------------------------------------------------------------------

    def watch(self, window: Window | None) -> None:
        """From now on this one hears. What the last one had acquired and not passed on is free again."""
        with self.lock:
            if self._window is not None:
                self.slots.free_all(self._window)
            self._window = window
            for life in self.lives.values():
                life.told = False

    def reboot(self) -> None:
        """The host fails: every attempt is gone, without a record; nobody is told."""
        with self.lock:
            self.advance()
            now = self.clock.now().mono
            self._window = None
            for life in self.lives.values():
                if life.state == State.LIVE:
                    life.hidden = False
                    self._over(life, now, ExitRecord(recorded=False), "node.lost", "the host was restarted")
            quarantined = self.slots.quarantined
            self.slots = FakeSlots(self.slots.gpus)
            self.slots.quarantined = quarantined

    # --- orders --------------------------------------------------------------------------------------------

    def start(self, order: StartOrder, table: dict[str, object]) -> None:
        """Begin an attempt by its script. Raises Refusal for knobs that cannot be followed."""
        with self.lock:
            self.advance()
            if (known := self.lives.get(order.attempt_dir)) is not None:  # asked for twice
                self._answer(known)
                return
            knobs, length = knobs_for(table, order.ref.run_id, order.n)
            first = self._resume_step(order) if knobs.resumes else 0
            script = Script(knobs, length, first)
            life = Life(order.ref, order.n, order.attempt_dir, order.out_dir, order.slot, knobs, script)
            life.bound, life.grace = order.bound_seconds, order.grace
            plan = Plan(order.out_dir, first, order.bound_seconds, order.grace, table)
            self.sink.plan(order.attempt_dir, plan)
            self.lives[order.attempt_dir] = life
            if self.slots.holder(order.slot, self._window) is not None:
                self._never(life, f"slot {order.slot.name} is taken")
                return
            self.slots.give(order.slot, order.attempt_dir)
            if not knobs.never_begins:
                self._tell(life, AttemptStarting(self.clock.now(), life.n))
            self._at(self.clock.now().mono + knobs.claim_after, lambda at: self._begin(life))
            self.advance()

    def adopt(self, target: AttemptRef) -> None:
        """Say what became of an attempt."""
        with self.lock:
            self.advance()
            life = self.lives.get(target.attempt_dir)
            if life is None:
                life = self._remember(target)
            if life.state == State.WAITING:
                self._never(life, "it was given up before it had begun")
            else:
                self._answer(life)

    def stop(self, target: AttemptRef, grace: float) -> None:
        """TERM now, KILL after the grace. One that is lost hears of it, but nobody hears of its end."""
        with self.lock:
            self.advance()
            if target.attempt_dir not in self.lives:
                self.adopt(target)
            life = self.lives[target.attempt_dir]
            if life.state == State.WAITING:
                self._never(life, "it was ended before it had begun")
            elif life.state == State.LIVE:
                at = self.clock.now().mono + life.delay(grace)
                if life.stop_at is None or at < life.stop_at:
                    life.stop_at = at
                    self._schedule_end(life)

    def set_bound(self, target: AttemptRef, seconds: float | None, grace: float) -> None:
        """Replace what its shim keeps."""
        with self.lock:
            life = self.lives.get(target.attempt_dir)
            if life is not None:
                life.bound, life.grace = seconds, grace
                if life.state == State.LIVE:
                    self._schedule_end(life)

    # --- time ----------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Let everything happen that is due."""
        with self.lock:
            now = self.clock.now().mono
            while self._heap and self._heap[0][0] <= now:
                at, _, action = heapq.heappop(self._heap)
                action(at)

    def due(self) -> float | None:
        """When something happens next (monotonic seconds)."""
        with self.lock:
            return self._heap[0][0] if self._heap else None

    def output(self, directory: str) -> list[str]:
        """What an attempt has printed by now; of a memory sink."""
        with self.lock:
            self.advance()
            self._print(self.lives[directory], self.clock.now().mono)
            assert isinstance(self.sink, MemorySink)
            return self.sink.output.get(directory, [])

    def _at(self, at: float, action: Callable[[float], None]) -> None:
        if at != float("inf"):
            self._count += 1
            heapq.heappush(self._heap, (at, self._count, action))

    # --- a life --------------------------------------------------------------------------------------------

    def _begin(self, life: Life) -> None:
        if life.state != State.WAITING:
            return
        if life.knobs.never_begins:
            self._never(life, "its script says that it never begins")
            return
        try:
            life.started = self.sink.claim(life.directory, "shim", self.clock.now())
        except OSError as error:
            self._never(life, f"it could not be claimed: {error.strerror}")
            return
        if life.started is None:
            self._never(life, "its start was given up")
            return
        life.state = State.LIVE
        self._go_on(life)
        if life.knobs.start_error is not None:
            record = ExitRecord(error=life.knobs.start_error, error_kind="exec", errno=2)
            self._over(life, life.began, record, None, "")
        else:
            self._tell_started(life)

    def _go_on(self, life: Life) -> None:
        knobs, began = life.knobs, life.began
        self._schedule_end(life)
        if knobs.lost_at is not None:
            self._at(began + knobs.lost_at, lambda at: self._hide(life))
            if knobs.found_at is not None:
                self._at(began + knobs.found_at, lambda at: self._show(life))
        if self.sink.eager:
            self._print_next(life)

    def _schedule_end(self, life: Life) -> None:
        """Earlier ones that were scheduled are void."""
        life.end_number += 1
        number = life.end_number
        at, why = life.ends()
        self._at(max(at, self.clock.now().mono) if why == "bound" else at, lambda at: self._end(life, number, at, why))

    def _end(self, life: Life, number: int, at: float, why: str) -> None:
        if life.state != State.LIVE or number != life.end_number:
            return
        record = life.record(at, why)
        if self.sink.eager:
            self._print(life, at)
        else:  # a long log is printed when somebody asks for it
            self._save(life, at - life.began)
        if why == "itself" and record.code == 0:
            for name, text in life.knobs.files.items():
                self.sink.leave(f"{life.out_dir}/{name}", text)
        words = "the shim died without a record" if why == "vanished" else ""
        if why in ("itself", "vanished"):
            life.scheduler = life.knobs.scheduler
        self._over(life, at, record, life.knobs.cause if why == "itself" else None, words)

    def _over(self, life: Life, at: float, record: ExitRecord, cause: str | None, words: str) -> None:
        life.state, life.exit, life.cause, life.words = State.OVER, record, cause, words
        life.ended = at
        self.sink.end(life.directory, record)
        self.slots.free(life.slot, life.directory)
        if not life.hidden:
            self._tell_end(life)

    def _never(self, life: Life, why: str) -> None:
        if life.state == State.WAITING:
            life.state = State.NEVER
            with contextlib.suppress(OSError):  # nobody else reads it: the world knows
                self.sink.claim(life.directory, "supervisor", self.clock.now())
            self.slots.free(life.slot, life.directory)
        self._tell_once(life, AttemptNeverBegan(self.clock.now(), life.n, why))

    def _hide(self, life: Life) -> None:
        if life.state == State.LIVE:
            life.hidden = True
            self._tell(life, AttemptLost(self.clock.now(), life.n, _LOST))

    def _show(self, life: Life) -> None:
        if not life.hidden:
            return
        life.hidden = False
        self._tell(life, AttemptFound(self.clock.now(), life.n))
        if life.state == State.OVER:
            self._tell_end(life)

    # --- reports -------------------------------------------------------------------------------------------

    def _answer(self, life: Life) -> None:
        if life.hidden:
            self._tell(life, AttemptLost(self.clock.now(), life.n, _LOST))
        elif life.state == State.LIVE:
            self._tell_started(life)
        elif life.state == State.OVER:
            self._tell_end(life)
        elif life.state == State.NEVER:
            self._never(life, "its start was given up")

    def _tell(self, life: Life, event: Event) -> None:
        if self._window is not None:
            for _ in range(2 if life.knobs.duplicates else 1):
                self._window.tell(life.ref, event)

    def _tell_once(self, life: Life, event: AttemptEnded | AttemptNeverBegan) -> bool:
        if life.told or self._window is None:
            return False
        life.told = True
        self._tell(life, event)
        return True

    def _tell_started(self, life: Life) -> None:
        assert life.started is not None
        self._tell(life, AttemptStarted(self.clock.now(), life.n, None, life.started))

    def _tell_end(self, life: Life) -> None:
        at, knobs = self.clock.now(), life.knobs
        event = AttemptEnded(at, life.n, life.exit, None, life.started, life.cause, life.words, life.scheduler)
        if not self._tell_once(life, event):
            return
        if knobs.contradicts is not None:
            other = ExitRecord(code=knobs.contradicts, raw=knobs.contradicts << 8, seconds=life.exit.seconds)
            self._tell(life, AttemptEnded(at, life.n, other, None, life.started))
        if knobs.late is not None:
            self._at(at.mono + knobs.late, lambda at: self._tell_started(life))

    # --- output --------------------------------------------------------------------------------------------

    def _print_next(self, life: Life) -> None:
        self._print(life, self.clock.now().mono)
        coming = life.script.next_line(max(life.printed, 0.0))
        if coming is not None and life.state == State.LIVE:
            self._at(life.began + coming, lambda at: self._print_next(life))

    def _print(self, life: Life, now: float) -> None:
        until = life.elapsed(now)
        if until <= life.printed:
            return
        for text in life.script.lines(life.printed, until):
            self.sink.write(life.directory, text)
        life.printed = until
        self._save(life, until)

    def _save(self, life: Life, until: float) -> None:
        step = life.script.checkpoint(until)
        if step is not None and step > life.saved:
            life.saved = step
            path = life.checkpoint_path(step)
            self.sink.leave(path, f"{step}\n")
            self._checkpoints[path] = step

    def _resume_step(self, order: StartOrder) -> int:
        path = order.env_set.get("OVERNIGHT_CHECKPOINT", "")
        if path in self._checkpoints:
            return self._checkpoints[path]
        digits = "".join(c if c.isdigit() else " " for c in path.rpartition("/")[2]).split()
        return int(digits[-1]) if digits else 0

    # --- after a restart -----------------------------------------------------------------------------------

    def _remember(self, target: AttemptRef) -> Life:
        """Build an attempt that this world has not seen from what its files say."""
        found = self.sink.remember(target.attempt_dir)
        plan = None if found is None else found.plan
        run_id, n = target.ref.run_id, target.attempt.n
        knobs, length = knobs_for({} if plan is None else plan.table, run_id, n)
        script = Script(knobs, length, 0 if plan is None else plan.first_step)
        slot = target.attempt.slot
        life = Life(target.ref, n, target.attempt_dir, "" if plan is None else plan.out_dir, slot, knobs, script)
        self.lives[target.attempt_dir] = life
        if found is not None and found.given_up:
            life.state = State.NEVER
        elif found is not None and found.started is not None:
            if plan is not None:
                life.bound, life.grace = plan.bound_seconds, plan.grace
            self._revive(life, found, found.started)
        return life

    def _revive(self, life: Life, found: Remembered, started: Moment) -> None:
        life.started, life.state = started, State.LIVE
        if found.exit is not None:
            life.state, life.exit = State.OVER, found.exit
            life.scheduler = life.knobs.scheduler if found.exit.stopped is None else None
            life.ended = life.began + found.exit.seconds
            return
        if started.boot != self.clock.now().boot:
            life.state, life.cause, life.words = State.OVER, "node.lost", "this host was restarted while it ran"
            return
        if self.slots.holder(life.slot, life.directory) is None:
            self.slots.give(life.slot, life.directory)
        # What it has printed by now and is not in its log: the script is the same, so lengths tell.
        now = life.elapsed(self.clock.now().mono)
        text = "".join(life.script.lines(-1.0, now)).encode()
        missing = text[found.size :].decode(errors="replace")
        if missing:
            self.sink.write(life.directory, missing)
        life.printed = now
        self._go_on(life)
