"""Cancel in every state, pause, amended limits: what a person wants of a run that may live."""

import pytest
from core_world import PROCESS, Tale, cancel, fault

from overnight.core.result import IllegalEvent
from overnight.model import events as e
from overnight.model.effects import FinishRun, SetBound, StopAttempt
from overnight.model.policy import Limits, Policy, RowPolicy
from overnight.model.states import AttemptState, RunState

# --- cancel ------------------------------------------------------------------------------------------------


def test_cancel_of_a_waiting_run_is_at_once() -> None:
    """Nothing of it lives: it need not wait for its time to be cancelled."""
    tale = Tale()
    tale.fail("nccl.timeout")
    assert tale.step(cancel(tale)).effects == (FinishRun(1),)
    assert (tale.state, tale.run.due) == (RunState.CANCELLED, None)


def test_cancel_of_a_pending_run() -> None:
    """A queued run that was cancelled started an hour later."""
    tale = Tale()
    tale.step(cancel(tale))
    assert tale.state == RunState.CANCELLED
    with pytest.raises(IllegalEvent):
        tale.plan()


@pytest.mark.parametrize("seen", ["submitting", "queued", "starting", "running"])
def test_cancel_of_a_live_attempt_ends_it_first(seen: str) -> None:
    """A cancelled run's slot was given away while its tree still held the GPU."""
    tale = Tale(Policy(limits=Limits(grace=7.0)))
    tale.plan()
    if seen == "queued":
        tale.step(e.AttemptQueued(tale.now, 1, "job-9"))
    if seen == "starting":
        tale.step(e.AttemptStarting(tale.now, 1))
    if seen == "running":
        tale.step(e.AttemptStarted(tale.now, 1, PROCESS, tale.now))
    assert tale.attempt_state.value == seen
    assert tale.step(cancel(tale)).effects == (StopAttempt(1, 7.0, False),)
    assert (tale.state, tale.attempt_state) == (RunState.RUNNING, AttemptState.STOPPING)
    tale.end(code=143, stopped="request")
    tale.verify("cancelled")
    assert (tale.state, tale.run.failure) == (RunState.CANCELLED, None)


def test_cancel_before_it_began() -> None:
    """The start was claimed back in time: cancelled, and nothing is verified that never ran."""
    tale = Tale()
    tale.plan()
    tale.step(cancel(tale))
    tale.step(e.AttemptNeverBegan(tale.now, 1, "claimed by the supervisor"))
    assert (tale.state, tale.run.owed) == (RunState.CANCELLED, (FinishRun(1),))


def test_cancel_while_verifying_is_success_if_it_passes() -> None:
    """A finished run that was cancelled in its last second lost its result."""
    tale = Tale()
    tale.begin()
    tale.end(code=0)
    assert tale.step(cancel(tale)).effects == ()
    assert tale.state == RunState.VERIFYING
    tale.verify("none")
    assert tale.state == RunState.SUCCEEDED


def test_cancel_while_verifying_a_failure_is_cancelled() -> None:
    """Cancelled in `verifying`, it was tried again after all."""
    tale = Tale()
    tale.begin()
    tale.end()
    tale.step(cancel(tale))
    tale.verify("nccl.timeout")
    assert (tale.state, tale.run.cause) == (RunState.CANCELLED, "cancelled")


def test_cancel_that_came_too_late_is_success() -> None:
    """It exited 0 by itself between the wish and the signal."""
    tale = Tale()
    tale.begin()
    tale.step(cancel(tale))
    tale.end(code=0)
    tale.verify("none")
    assert tale.state == RunState.SUCCEEDED


def test_cancel_of_a_held_run() -> None:
    """At rest at once; with a live attempt it is ended first."""
    tale = Tale()
    tale.step(e.HoldRequested(tale.now, "disk.full", "no space on /data"))
    tale.step(cancel(tale))
    assert tale.state == RunState.CANCELLED
    live = Tale()
    live.begin()
    fault(live)
    assert live.step(cancel(live)).effects == (StopAttempt(1, 30.0, False),)
    assert (live.state, live.attempt_state) == (RunState.RUNNING, AttemptState.STOPPING)


@pytest.mark.parametrize("name", ["none", "config"])
def test_cancel_of_an_ended_run_changes_nothing(name: str) -> None:
    """`cancel` of the whole campaign turned yesterday's results into cancelled runs."""
    tale = Tale()
    tale.fail(name)
    before = tale.run
    assert tale.step(cancel(tale)).ignored is not None
    assert tale.run is before


def test_cancel_of_a_lost_attempt_is_a_wish() -> None:
    """Nothing is known of it, so nothing is said of it; it is ended when it answers."""
    tale = Tale()
    tale.begin()
    tale.step(e.AttemptLost(tale.now, 1, "no answer"))
    tale.step(cancel(tale))
    assert (tale.state, tale.attempt_state) == (RunState.RUNNING, AttemptState.LOST)
    assert StopAttempt(1, 30.0, False) in tale.run.owed
    tale.step(e.AttemptFound(tale.now, 1))
    assert tale.attempt_state == AttemptState.STOPPING
    tale.end(code=143, stopped="request")
    tale.verify("cancelled")
    assert tale.state == RunState.CANCELLED


def test_cancel_outranks_a_stall_that_is_being_ended() -> None:
    """A person cancelled while the stall was being ended, and it was started again."""
    tale = Tale()
    tale.begin()
    tale.step(e.LimitReached(tale.now, 1, "heartbeat", 900.0, 901.0))
    tale.step(cancel(tale))
    tale.end(code=143, stopped="request")
    tale.verify("cancelled")
    assert tale.state == RunState.CANCELLED


def test_a_stop_that_nobody_remembers_is_no_cancel() -> None:
    """The supervisor was killed between the signal and its record: the run was called cancelled."""
    tale = Tale()
    tale.begin()
    tale.end(code=143, stopped="request")
    tale.verify("cancelled")
    assert tale.state == RunState.PENDING


# --- pause and amend ---------------------------------------------------------------------------------------


def test_pause_now_ends_live_attempts_uncounted() -> None:
    """Two pauses of a four-attempt run left it with two attempts."""
    tale = Tale()
    tale.begin()
    assert tale.step(e.PauseRequested(tale.now, "ann")).effects == (StopAttempt(1, 30.0, False),)
    assert tale.step(e.PauseRequested(tale.now, "ann")).ignored is not None
    tale.end(code=143, stopped="request")
    tale.verify("cancelled", checkpoints=("out/ckpt-5.pt",))
    assert (tale.state, tale.run.budget.counted, tale.run.attempts[0].counted) == (RunState.PENDING, 0, False)
    tale.begin()
    assert tale.run.attempts[1].resume_from == "out/ckpt-5.pt"


def test_a_paused_attempt_that_had_failed_by_itself_has_failed() -> None:
    """It died of its own fault in the same second: that is its class, not the pause."""
    tale = Tale()
    tale.begin()
    tale.step(e.PauseRequested(tale.now, "ann"))
    tale.end(code=1)
    tale.verify("config")
    assert tale.state == RunState.FAILED


def test_pauses_do_not_lift_the_ceiling() -> None:
    """No run exceeds twenty attempts of any kind, also not one that is paused each day."""
    tale = Tale()
    for _ in range(20):
        tale.begin()
        tale.step(e.PauseRequested(tale.now, "ann"))
        tale.end(code=143, stopped="request")
        tale.verify("cancelled")
    assert (tale.state, len(tale.run.attempts)) == (RunState.FAILED, 20)


def test_an_amended_row_keeps_to_its_new_limit() -> None:
    """A row's own @timeout could not be raised by anything: its retry was ended at the same moment again."""
    tale = Tale(Policy(limits=Limits(timeout=500.0, attempt_timeout=None, grace=9.0)), row=RowPolicy(timeout=20.0))
    tale.begin()
    assert tale.step(e.RowAmended(tale.now, RowPolicy(timeout=40.0))).effects == (SetBound(1, 40.0, 9.0),)
    assert tale.step(e.RowAmended(tale.now, RowPolicy())).effects == (SetBound(1, 500.0, 9.0),)
    tale.step(e.RowAmended(tale.now, RowPolicy(timeout=30.0)))
    tale.step(e.LimitReached(tale.now, 1, "timeout", 30.0, 30.0))
    assert "reached its row's @timeout (left: 30 s)" in tale.run.attempts[-1].stop_words
    tale.end(stopped="request")
    tale.verify("timeout.wall")
    assert tale.state == RunState.FAILED
    tale.step(e.RowAmended(tale.now, RowPolicy(priority=3)))
    assert (tale.state, tale.run.policy) == (RunState.FAILED, RowPolicy(priority=3))


def test_amended_limits_reach_a_live_attempt_at_once() -> None:
    """`amend --set limits.timeout=48h` held only from the next attempt on: the run was ended at 24 h."""
    tale = Tale(Policy(limits=Limits(timeout=100.0, attempt_timeout=None)))
    tale.begin()
    tale.campaign = Tale(Policy(limits=Limits(timeout=500.0, attempt_timeout=None, grace=9.0))).campaign
    assert tale.step(e.LimitsAmended(tale.now, 2)).effects == (SetBound(1, 500.0, 9.0),)
    tale.campaign = Tale(Policy(limits=Limits(timeout=700.0, attempt_timeout=None))).campaign
    tale.step(e.LimitsAmended(tale.now, 3))
    assert tale.run.owed == (SetBound(1, 700.0, 30.0),)
    tale.step(e.BoundSet(tale.now, 1))
    assert tale.run.owed == ()
