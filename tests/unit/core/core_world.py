"""A run driven through `core.step` by short words. Invariants are checked after every step."""

from typing import Any

from overnight.core import campaigns
from overnight.core.invariants import broken
from overnight.core.result import Lesson, Step
from overnight.core.step import step
from overnight.model import events as e
from overnight.model.campaign import Campaign, Device
from overnight.model.classes import Classification
from overnight.model.codec import replace
from overnight.model.policy import Policy, RetryPolicy, RowPolicy
from overnight.model.run import ExitRecord, Process, Run, Slot, Vitals
from overnight.model.states import AttemptState, RunState
from overnight.model.time import Moment

PROCESS = Process("host", "boot", "ns", 1, 4711, 99)
EPOCH = 1_700_000_000.0


def at(seconds: float) -> Moment:
    """So many seconds after the beginning of the tests' world."""
    return Moment(1_000.0 + seconds, EPOCH + seconds, "boot")


def a_campaign(policy: Policy | None = None, gpus: int = 0, **more: Any) -> Campaign:
    """A campaign launched at second 0; with `gpus`, one for each attempt."""
    policy = policy or Policy()
    if gpus:
        policy = replace(policy, resources=replace(policy.resources, gpus=1))
    devices = tuple(Device(str(i), f"GPU-{i}") for i in range(gpus))
    return Campaign("bat-1", "bat", "0" * 64, at(0), policy, "/", devices=devices, **more)


def retrying(**numbers: Any) -> Policy:
    """A policy that differs in `[retry]` alone."""
    return Policy(retry=RetryPolicy(**numbers))


class Tale:
    """One run, its campaign and a clock in seconds."""

    def __init__(self, policy: Policy | None = None, *, gpus: int = 0, row: RowPolicy | None = None) -> None:
        self.campaign = a_campaign(policy, gpus)
        self.run = Run("bat-1", "r0", 0, policy=row or RowPolicy())
        self.seconds = 0.0
        self.lessons: list[Lesson] = []
        self.said: list[str] = []

    @property
    def now(self) -> Moment:
        return at(self.seconds)

    @property
    def n(self) -> int:
        """The number of the newest attempt."""
        assert self.run.attempt is not None
        return self.run.attempt.n

    @property
    def state(self) -> RunState:
        return self.run.state

    @property
    def attempt_state(self) -> AttemptState:
        assert self.run.attempt is not None
        return self.run.attempt.state

    @property
    def delay(self) -> float:
        """Seconds that a waiting run waits from now."""
        assert self.run.due is not None
        return self.run.due.mono - self.now.mono

    def step(self, event: e.Event) -> Step:
        """Apply an event, check every invariant, let the campaign learn."""
        result = step(self.run, self.campaign, event)
        assert broken(result.run) == [], f"after {event}"
        self.run = result.run
        for lesson in result.lessons:
            self.lessons.append(lesson)
            self.campaign, words = campaigns.learn(self.campaign, lesson)
            if words is not None:
                self.said.append(words)
        return result

    def plan(self, slot: str = "cpu:0") -> Step:
        """A slot is there."""
        n = self.n + 1 if self.run.attempts else 1
        return self.step(e.RunPlanned(self.now, n, Slot(slot), 1))

    def begin(self, slot: str = "cpu:0") -> Step:
        """Planned and seen to run; a wait is waited for first."""
        if self.state == RunState.WAITING:
            self.seconds += self.delay
            self.step(e.RetryDue(self.now))
        self.plan(slot)
        return self.step(e.AttemptStarted(self.now, self.n, PROCESS, self.now))

    def end(self, code: int = 1, seconds: float = 10.0, stopped: str | None = None, **more: Any) -> Step:
        """The newest attempt's tree is gone after so many seconds of running."""
        self.seconds += seconds
        record = ExitRecord(code=code, seconds=seconds, stopped=stopped)
        return self.step(e.AttemptEnded(self.now, self.n, record, **more))

    def verify(
        self, name: str, vitals: Vitals | None = None, checkpoints: tuple[str, ...] = (), roll: float = 0.5,
        flags: tuple[str, ...] = (),
    ) -> Step:  # fmt: skip
        """The examiner says `name`."""
        found = Classification(name, flags=flags)
        return self.step(e.AttemptVerified(self.now, self.n, found, vitals or Vitals(), checkpoints, roll))

    def fail(self, name: str, *, step: float | None = None, seconds: float = 10.0, slot: str = "cpu:0",
             checkpoints: tuple[str, ...] = (), roll: float = 0.5, flags: tuple[str, ...] = ()) -> None:  # fmt: skip
        """A whole attempt, from its slot to the decision. `step`: the last one seen; it began at 0."""
        self.begin(slot)
        self.end(seconds=seconds)
        first = None if step is None else 0.0
        self.verify(name, Vitals(step=step, first_step=first), checkpoints, roll, flags)

    def succeed(self, vitals: Vitals | None = None) -> None:
        """A whole attempt that passes."""
        self.begin()
        self.end(code=0)
        self.verify("none", vitals)

    def stall(self, limit: Any = "heartbeat", vitals: Vitals | None = None) -> None:
        """A whole attempt that a limit ends, with what the looks had seen by then."""
        vitals = vitals or Vitals()
        self.begin()
        self.seconds += 900
        self.step(e.LimitReached(self.now, self.n, limit, 900.0, 901.0, vitals))
        self.end(code=143, seconds=900.0, stopped="request")
        assert self.run.attempt is not None and self.run.attempt.stop_class is not None
        self.verify(self.run.attempt.stop_class, vitals)


def cancel(tale: Tale) -> e.CancelRequested:
    """A person's wish."""
    return e.CancelRequested(tale.now, "ann", "ann cancelled it")


def fault(tale: Tale) -> None:
    """Our own fault with this run."""
    tale.step(e.RunFaulted(tale.now, "KeyError: 'x'"))
