"""`core.step` under any events in any order, beside a model so naive that it can be seen to be right.

The same examples each time, as the simulated nights have the same seeds; `make soak` tries others, and many."""

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from naive import stepped
from run_events import POLICIES, any_event, campaign, classifications, moment, slots, vitals

from overnight.core import campaigns
from overnight.model import events as e
from overnight.model.classes import Classification
from overnight.model.policy import Policy
from overnight.model.run import ExitRecord, Run, Slot, Vitals
from overnight.model.states import RunState
from overnight.model.time import Moment

EXAMPLES = os.environ.get("OVERNIGHT_SEEDS")
FAILING = ["nccl.timeout", "network", "preempted", "node.lost", "unknown", "code", "none"]


class RunMachine(RuleBasedStateMachine):
    """One run, its campaign, and all that was ever said of them."""

    def __init__(self) -> None:
        super().__init__()
        self.run = Run("c-1", "r", 0)
        self.seconds = 0.0
        self.heard: list[e.Event] = []

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
        if self.run.live_attempt is not None:
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
        """Apply an event as the ledger does; every step is checked, and an illegal one changes nothing."""
        self.heard.append(event)
        result = stepped(self.run, self.campaign, event)
        if result is None:
            return
        self.run = result.run
        for lesson in result.lessons:
            self.campaign, _ = campaigns.learn(self.campaign, lesson)


TestRunMachine = RunMachine.TestCase
TestRunMachine.__doc__ = "Words come doubled, late, reordered and wrong: runs were started twice or forgotten."
TestRunMachine.settings = settings(
    max_examples=int(EXAMPLES or 25), derandomize=not EXAMPLES, stateful_step_count=30, deadline=None, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
