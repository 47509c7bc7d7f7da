"""`core.step` under any events in any order, beside a model so naive that it can be seen to be right."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from run_events import POLICIES, any_event, campaign, classifications, moment, slots, vitals

from overnight.core import campaigns
from overnight.core.invariants import broken
from overnight.core.result import IllegalEvent, Step
from overnight.core.step import step
from overnight.model import events as e
from overnight.model.classes import ATTEMPT_CEILING, Classification
from overnight.model.effects import SetBound, StopAttempt
from overnight.model.policy import Policy
from overnight.model.run import ExitRecord, Run, Slot, Vitals
from overnight.model.states import RunState
from overnight.model.time import Moment

FAILING = ["nccl.timeout", "network", "preempted", "node.lost", "unknown", "code", "none"]


class RunMachine(RuleBasedStateMachine):
    """One run, its campaign, and what a child would keep of it: which attempt lives, what was once said."""

    def __init__(self) -> None:
        super().__init__()
        self.run = Run("c-1", "r", 0)
        self.seconds = 0.0
        self.heard: list[e.Event] = []
        self.living: int | None = None  # the naive model: the attempt that may have processes
        self.numbers: list[int] = []  # every attempt number ever given out

    @initialize(policy=st.sampled_from(POLICIES))
    def launched(self, policy: Policy) -> None:
        """Policies that retry hardly, usually and for ever."""
        self.campaign = campaign(policy)

    # --- what happens --------------------------------------------------------------------------------------

    @rule(data=st.data())
    def anything(self, data: st.DataObject) -> None:
        """Any event at all."""
        self.hear(data.draw(any_event(self.newest, self.now)))

    @precondition(lambda self: self.heard)
    @rule(data=st.data())
    def late(self, data: st.DataObject) -> None:
        """A word that was heard before comes again, however late."""
        self.hear(data.draw(st.sampled_from(self.heard)))

    @rule(slot=slots, seen=st.booleans())
    def begin(self, slot: Slot, seen: bool) -> None:
        """Whatever was is brought to an end, and the next attempt lives."""
        self.to_the_queue()
        self.hear(e.RunPlanned(self.now, self.newest + 1, slot, 1))
        if seen:
            self.hear(e.AttemptStarted(self.now, self.newest, None, self.now))

    @rule(found=classifications(st.sampled_from(FAILING)), seen=vitals, stopped=st.booleans())
    def end(self, found: Classification, seen: Vitals, stopped: bool) -> None:
        """The usual end of the newest attempt."""
        self.seconds += 5
        record = ExitRecord(code=1, seconds=5.0, stopped="request" if stopped else None)
        self.hear(e.AttemptEnded(self.now, self.newest, record))
        self.hear(e.AttemptVerified(self.now, self.newest, found, seen))

    @rule(found=classifications(st.sampled_from(FAILING)), seen=vitals, stopped=st.booleans())
    def a_bad_night(self, found: Classification, seen: Vitals, stopped: bool) -> None:
        """The same end again and again, of itself or of somebody's stop."""
        for _ in range(8):
            if not self.run.ended:
                self.begin(Slot("gpu:0"), True)
                if stopped:
                    self.hear(e.PauseRequested(self.now, "ann"))
                self.end(found, seen, stopped)

    def to_the_queue(self) -> None:
        """By the words that lead there from each state."""
        if self.run.state == RunState.HELD:
            self.hear(e.ResumeRequested(self.now, "ann"))
        if self.living is not None:
            self.hear(e.AttemptEnded(self.now, self.newest, ExitRecord(code=1, seconds=5.0)))
        if self.run.state == RunState.VERIFYING:
            self.hear(e.AttemptVerified(self.now, self.newest, Classification("nccl.timeout"), Vitals()))
        if self.run.state == RunState.WAITING:
            self.hear(e.RetryDue(self.now))
        if self.run.ended:
            self.hear(e.RetryRequested(self.now, "ann"))

    @rule(seconds=st.floats(0, 5000))
    def time_passes(self, seconds: float) -> None:
        """Nothing else happens."""
        self.seconds += seconds

    # --- what must hold ------------------------------------------------------------------------------------

    @property
    def now(self) -> Moment:
        return moment(self.seconds)

    @property
    def newest(self) -> int:
        return self.run.attempt.n if self.run.attempt is not None else 0

    def hear(self, event: e.Event) -> None:
        """Apply an event as the ledger does, and compare with the naive model."""
        before = self.run
        self.heard.append(event)
        try:
            result = step(before, self.campaign, event)
        except IllegalEvent as problem:
            assert before.state.value in str(problem)
            return
        self.check(before, event, result)
        self.run = result.run
        for lesson in result.lessons:
            self.campaign, _ = campaigns.learn(self.campaign, lesson)
        self.twice(event, result)

    def check(self, before: Run, event: e.Event, result: Step) -> None:
        """One step against what a child knows."""
        now = result.run
        assert broken(now) == []
        if before.ended and now.state != before.state:
            assert isinstance(event, e.RetryRequested), "an ended run moves only by a person's retry"
        if result.ignored is not None:
            assert now.state == before.state and now.attempts == before.attempts and result.effects == ()
        if len(now.attempts) > len(before.attempts):
            assert isinstance(event, e.RunPlanned) and self.living is None, "a second attempt beside a live one"
            assert now.attempts[-1].n not in self.numbers, "an attempt number used twice"
            self.numbers.append(now.attempts[-1].n)
            self.living = now.attempts[-1].n
        elif self.is_the_end(event, result):
            self.living = None
        live = now.live_attempt
        assert (live.n if live is not None else None) == self.living, "an attempt that lives was forgotten, or revived"
        assert now.attempts[: len(before.attempts) - 1] == before.attempts[:-1], "an old attempt was rewritten"
        assert set(result.effects) <= set(now.owed), "an effect that nobody owes is lost in a crash"
        if self.living is not None:
            stops = {effect for effect in before.owed if isinstance(effect, StopAttempt)}
            assert stops <= set(now.owed), "it lives and is to be ended, and nobody owes that any more"
        if now.state == RunState.PENDING and before.state != RunState.PENDING:
            assert self.living is None, "queued while an attempt lives"

    def is_the_end(self, event: e.Event, result: Step) -> bool:
        """The two words that say that nothing of the living attempt is left."""
        if isinstance(event, e.AttemptNeverBegan):
            return event.n == self.living and result.ignored is None
        return isinstance(event, e.AttemptEnded) and event.n == self.living

    def twice(self, event: e.Event, once: Step) -> None:
        """The same word again at once: the same state, or an error, never a second effect."""
        try:
            again = step(once.run, self.campaign, event)
        except IllegalEvent:
            return
        assert again.run == once.run

    @invariant()
    def bounded(self) -> None:
        """Twenty attempts that began are the end; stops and bounds are owed only of what lives."""
        begun = [a for a in self.run.attempts if a.epoch == self.run.epoch and not a.never_began]
        assert len(begun) <= ATTEMPT_CEILING
        for effect in self.run.owed:
            if isinstance(effect, StopAttempt | SetBound):
                assert effect.n == self.living


TestRunMachine = RunMachine.TestCase
TestRunMachine.__doc__ = "Words come doubled, late, reordered and wrong: runs were started twice or forgotten."
TestRunMachine.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
