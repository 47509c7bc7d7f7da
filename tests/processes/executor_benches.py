"""Benches: each executor on its own ground, so that one suite can put the same questions to all of them."""

import abc
import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from keeper_world import PATIENCE_SECONDS, World, await_that, processes_of

from overnight.executors.fake import FakeExecutor, FakeWorld, FileSink, MemorySink
from overnight.executors.local import LocalExecutor
from overnight.model.codec import Struct
from overnight.model.events import AttemptEnded, AttemptNeverBegan, AttemptStarted, Event
from overnight.model.run import Attempt, Slot
from overnight.model.states import AttemptState
from overnight.model.time import Moment
from overnight.ports import AttemptRef, Busy, Executor, Placement, RunRef, SlotRequest, StartOrder
from overnight.shim.shim import host_identity
from overnight.testing.clock import FakeClock

E = TypeVar("E", bound=Event)


class RealClock:
    """The machine's."""

    def now(self) -> Moment:
        return Moment(time.monotonic(), time.time(), str(host_identity()["boot"]))


class Doing(Struct, frozen=True):
    """What an attempt does, in words that every executor has."""

    seconds: float | None = 0.0  # None: for ever
    code: int = 0
    signal: str | None = None
    ignores_term: bool = False
    missing: bool = False  # its program does not exist
    waits: bool = False  # it is real, and ends when it is let go: `seconds` are those of a scripted one


class Bench(abc.ABC):
    """An executor, and the supervisor's part played by a test."""

    executor: Executor

    def __init__(self, base: Path) -> None:
        self.base = base
        self.events: list[tuple[RunRef, Event]] = []
        self.orders: dict[str, StartOrder] = {}

    @abc.abstractmethod
    def open(self) -> Executor: ...

    @abc.abstractmethod
    def prepare(self, order: StartOrder) -> None: ...

    @abc.abstractmethod
    def argv(self, run_id: str, doing: Doing) -> tuple[str, ...]: ...

    @abc.abstractmethod
    def rest(self) -> None:
        """Let time pass until the executor may have something to say."""

    def crash(self) -> None:
        """The supervisor is killed and comes back; nothing that it had in mind is left."""
        self.executor = self.open()
        self.events.clear()

    def close(self) -> None:
        """The executor lets go; nothing is left behind."""
        for run_id in self.orders:
            if not self.terminal(run_id):
                self.executor.stop(self.target(run_id), 0.0)
        self.until(lambda: all(self.terminal(run_id) for run_id in self.orders))
        self.executor.close()

    # --- orders --------------------------------------------------------------------------------------------

    def acquire(self, campaign: str = "c") -> Slot:
        found = self.executor.acquire(SlotRequest(campaign, 0))
        assert isinstance(found, Placement), found
        return found.slot

    def order(self, run_id: str, doing: Doing, *, slot: Slot | None = None, bound: float | None = None) -> StartOrder:
        """A prepared attempt that nobody has begun."""
        order = StartOrder(
            ref=RunRef("c", run_id), n=1, attempt_id=f"{self.base}.{run_id}.1", run_dir=str(self.base / run_id),
            out_dir=str(self.base / run_id / "out"), attempt_dir=str(self.base / run_id / "1"),
            argv=self.argv(run_id, doing), cwd=str(self.base),
            env_set={"OVERNIGHT_ATTEMPT_ID": f"{self.base}.{run_id}.1"}, env_unset=(), launch_env=None,
            umask=None, rlimits={}, slot=slot or self.acquire(), bound_seconds=bound, grace=5.0,
            knobs=self.knobs(doing),
        )  # fmt: skip
        self.orders[run_id] = order
        self.prepare(order)
        return order

    def start(self, run_id: str, doing: Doing, *, bound: float | None = None) -> StartOrder:
        order = self.order(run_id, doing, bound=bound)
        self.executor.start(order)
        return order

    def target(self, run_id: str, **known: object) -> AttemptRef:
        """The attempt as a store would have it."""
        order = self.orders[run_id]
        started = self.last(run_id, AttemptStarted)
        attempt = Attempt(
            n=1, epoch=1, state=AttemptState.SUBMITTING if started is None else AttemptState.RUNNING, revision=1,
            slot=order.slot, planned=Moment(0.0, 0.0), process=started.process if started else None,
            started=started.started if started else None,
        )  # fmt: skip
        return AttemptRef(order.ref, attempt, order.attempt_dir)

    def knobs(self, doing: Doing) -> dict[str, object]:
        knobs: dict[str, object] = {"exit_code": doing.code, "ignores_term": doing.ignores_term, "margin": 0.0}
        if doing.seconds is None:
            knobs["hangs_after"] = 0.0
        else:
            knobs["seconds"] = doing.seconds
        if doing.signal is not None:
            knobs["signal"] = doing.signal
        if doing.missing:
            knobs["start_error"] = "/no/such/program: No such file or directory"
        return knobs

    # --- what came of them ---------------------------------------------------------------------------------

    def of(self, run_id: str) -> list[Event]:
        return [event for ref, event in self.events if ref.run_id == run_id]

    def last(self, run_id: str, kind: type[E]) -> E | None:
        return next((event for event in reversed(self.of(run_id)) if isinstance(event, kind)), None)

    def terminal(self, run_id: str) -> list[AttemptEnded | AttemptNeverBegan]:
        return [event for event in self.of(run_id) if isinstance(event, AttemptEnded | AttemptNeverBegan)]

    def look(self) -> None:
        self.events.extend(self.executor.poll())

    def until(self, condition: Callable[[], object]) -> None:
        give_up = time.monotonic() + PATIENCE_SECONDS
        self.look()
        while not condition():
            assert time.monotonic() < give_up, self.events
            self.rest()
            self.look()

    def ended(self, run_id: str) -> AttemptEnded:
        """Its end, once it has come."""
        self.until(lambda: self.terminal(run_id))
        (event,) = self.terminal(run_id)
        assert isinstance(event, AttemptEnded), event
        return event

    def never_began(self, run_id: str) -> AttemptNeverBegan:
        self.until(lambda: self.terminal(run_id))
        (event,) = self.terminal(run_id)
        assert isinstance(event, AttemptNeverBegan), event
        return event

    def runs(self, run_id: str) -> AttemptStarted:
        """Its start, once it has been seen."""
        self.until(lambda: self.last(run_id, AttemptStarted))
        found = self.last(run_id, AttemptStarted)
        assert found is not None
        return found

    def times_begun(self, run_id: str) -> int | None:
        """How often its command was really started; None where nobody can count."""
        return None

    def let_go(self, run_id: str) -> None:
        """What waits, ends. Nobody does, unless the bench says so."""
        assert run_id in self.orders


class LocalBench(Bench):
    """Real shims, forked by a real keeper."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        (base / "k").mkdir()
        self.world = World(base / "k")
        self.executor: LocalExecutor = self.open()

    def open(self) -> LocalExecutor:
        assert self.world.wire is not None
        return LocalExecutor(RealClock(), self.world.wire.dup(), self.base / "slots")

    def crash(self) -> None:
        self.executor.close()
        if self.world.wire is not None:
            self.world.wire.close()
            self.world.wire = None
        os.kill(self.world.supervisor_pid, signal.SIGKILL)
        self.world.answer_the_door()
        super().crash()

    def close(self) -> None:
        try:
            super().close()
        finally:
            self.world.close()
        assert await_that(lambda: not processes_of(str(self.base)))

    def prepare(self, order: StartOrder) -> None:
        directory = Path(order.attempt_dir)
        directory.mkdir(parents=True)
        spec: dict[str, object] = {
            "attempt_id": order.attempt_id, "argv": order.argv, "cwd": order.cwd, "umask": None, "rlimits": {},
            "launch_env": None, "set": {**order.env_set, "MARK": f"{directory}.begun"}, "unset": [],
        }  # fmt: skip
        (directory / "env.json").write_text(json.dumps(spec))
        bound = {"seconds": order.bound_seconds, "grace": order.grace, "margin": 0.0}
        (directory / "bound").write_text(json.dumps(bound))

    def argv(self, run_id: str, doing: Doing) -> tuple[str, ...]:
        if doing.missing:
            return ("/no/such/program",)
        # The directory on the command line: nothing of it may be left when the test is over.
        script = f": {self.base / run_id}; "
        if doing.ignores_term:
            script += 'trap "" TERM; '
        script += 'echo x >>"$MARK"; '  # who sees it may send signals
        if doing.seconds is None:
            script += "while :; do sleep 0.05; done"
        else:
            script += f"sleep {doing.seconds}; " if doing.seconds and not doing.waits else ""
            script += 'until [ -e "$MARK.go" ]; do sleep 0.02; done; ' if doing.waits else ""
            script += f"kill -{doing.signal[3:]} $$" if doing.signal else f"exit {doing.code}"
        return ("/bin/sh", "-c", script)

    def rest(self) -> None:
        due = self.executor.due()
        wait = 0.2 if due is None else max(0.0, due - time.monotonic())
        poll = select.poll()
        poll.register(self.executor.fileno() or 0, select.POLLIN)
        poll.poll(min(wait, 0.2) * 1000 + 1)

    def times_begun(self, run_id: str) -> int | None:
        mark = Path(f"{self.orders[run_id].attempt_dir}.begun")
        return len(mark.read_text().splitlines()) if mark.exists() else 0

    def let_go(self, run_id: str) -> None:
        Path(f"{self.orders[run_id].attempt_dir}.begun.go").touch()


class FakeBench(Bench):
    """Scripts, on time that moves when told."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.clock = FakeClock()
        self.world = FakeWorld(self.clock, MemorySink())
        self.executor: FakeExecutor = self.open()

    def open(self) -> FakeExecutor:
        return FakeExecutor(self.world)

    def prepare(self, order: StartOrder) -> None:
        """Nothing to be made."""

    def argv(self, run_id: str, doing: Doing) -> tuple[str, ...]:
        return ("scripted",)

    def rest(self) -> None:
        due = self.executor.due()
        self.clock.advance(0.2 if due is None else max(0.0, min(0.2, due - self.clock.mono)))


class FakeFilesBench(Bench):
    """Scripts in files, in real time, as a real campaign has them; a crash takes the whole world along."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.executor: FakeExecutor = self.open()

    def open(self) -> FakeExecutor:
        return FakeExecutor(FakeWorld(RealClock(), FileSink()))

    def prepare(self, order: StartOrder) -> None:
        Path(order.attempt_dir).mkdir(parents=True)

    def argv(self, run_id: str, doing: Doing) -> tuple[str, ...]:
        return ("scripted",)

    def rest(self) -> None:
        due = self.executor.due()
        wait = 0.2 if due is None else max(0.0, due - time.monotonic())
        select.poll().poll(min(wait, 0.2) * 1000 + 1)


BENCHES: dict[str, Callable[[Path], Bench]] = {"local": LocalBench, "fake": FakeBench, "fake-files": FakeFilesBench}


@contextmanager
def bench(name: str, base: Path) -> Iterator[Bench]:
    """A bench that leaves nothing behind."""
    made = BENCHES[name](base)
    try:
        yield made
    finally:
        made.close()


def busy(answer: Placement | Busy) -> Busy:
    assert isinstance(answer, Busy), answer
    return answer
