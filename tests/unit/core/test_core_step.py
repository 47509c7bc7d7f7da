"""Moves of a run: the usual way, retry, hold, resume, lost and found, late words, our own faults."""

import pytest
from core_world import PROCESS, Tale, at, cancel, fault

from overnight.core.checkpoint_names import step_of
from overnight.core.ending import ended_by, stop_class
from overnight.core.result import Failed, IllegalEvent
from overnight.core.step import step
from overnight.model import events as e
from overnight.model.classes import Classification
from overnight.model.effects import (
    FinishRun,
    SetAside,
    StartAttempt,
    StopAttempt,
    VerifyAttempt,
)
from overnight.model.run import ExitRecord, Slot, Vitals
from overnight.model.states import AttemptState, EndedBy, RunState


def resume(tale: Tale) -> None:
    tale.step(e.ResumeRequested(tale.now, "ann"))


# --- the usual way -----------------------------------------------------------------------------------------


def test_a_run_that_passes() -> None:
    """The plain path: asked for, started, ended, verified, finished; each effect owed until its result."""
    tale = Tale()
    assert tale.plan().effects == (StartAttempt(1),)
    assert tale.run.owed == (StartAttempt(1),)
    tale.step(e.AttemptStarting(tale.now, 1))
    assert (tale.attempt_state, tale.run.owed) == (AttemptState.STARTING, ())
    tale.step(e.AttemptStarted(tale.now, 1, PROCESS, tale.now))
    assert (tale.state, tale.attempt_state) == (RunState.RUNNING, AttemptState.RUNNING)
    assert tale.end(code=0).effects == (VerifyAttempt(1),)
    assert tale.state == RunState.VERIFYING
    assert tale.verify("none").effects == (FinishRun(1),)
    assert (tale.state, tale.run.failure) == (RunState.SUCCEEDED, None)
    tale.step(e.RunFinished(tale.now, 1))
    assert tale.run.owed == ()


def test_a_failure_carries_its_class_and_says_so_to_the_campaign() -> None:
    """A failed run without a class was a morning of reading logs."""
    tale = Tale()
    tale.fail("config")
    assert (tale.state, tale.run.cause) == (RunState.FAILED, "config")
    assert tale.run.failure is not None and tale.run.failure.name == "config"
    assert Failed("r0") in tale.lessons


def test_a_fast_run_ends_before_anybody_saw_it_start() -> None:
    """`exit` was there before `started` had been reported, and the run was held as impossible."""
    tale = Tale()
    tale.plan()
    tale.seconds += 1
    record = ExitRecord(code=0, seconds=0.01)
    tale.step(e.AttemptEnded(tale.now, 1, record, PROCESS, at(0.5)))
    assert tale.state == RunState.VERIFYING and tale.run.owed == (VerifyAttempt(1),)
    assert tale.run.attempts[0].process == PROCESS and tale.run.attempts[0].started == at(0.5)


def test_a_success_short_of_its_total_is_flagged() -> None:
    """Exit 0 at step 10 of 5000 is success, but somebody should look."""
    tale = Tale()
    tale.succeed(Vitals(step=10, total=5000, first_step=0))
    assert tale.state == RunState.SUCCEEDED and "short" in tale.run.flags


@pytest.mark.parametrize("first, flagged", [(0.0, True), (201.0, False)])
@pytest.mark.parametrize("name", ["ckpt-200.pt", "epoch=3-step=200-val_loss=0.2345.ckpt", "checkpoint-200/model.bin"])
def test_a_resume_is_believed_when_seen(name: str, first: float, flagged: bool) -> None:
    """`init_from=resume` was misspelt: every retry began at step 0 and nobody noticed. And the loss in a name was taken
    for the step: what had resumed was flagged, and the hours before it counted as lost."""
    tale = Tale()
    tale.fail("nccl.timeout", step=210, checkpoints=(f"out/{name}",))
    tale.begin()
    tale.end()
    tale.verify("nccl.timeout", Vitals(step=first + 5, first_step=first))
    assert ("resume.ignored" in tale.run.flags) is flagged


@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("out/checkpoint-500", 500),
        ("out/ckpt_0000500.npz", 500),
        ("out/epoch=3-step=1500-v1.ckpt", 1500),
        ("out/epoch=3-val_loss=0.23.ckpt", 3),
        ("out/global_step1500/", 1500),
        ("out/model_7b_step500_fp16.pt", 500),
        ("out/model.500", 500),
        ("out/checkpoint-500/model.bin", 500),
        ("seed7/ckpt.npz", None),
        ("ckpt", None),
    ],
)
def test_what_a_checkpoints_name_tells(path: str, step: float | None) -> None:
    """A resume that began below its checkpoint went unnoticed."""
    assert step_of(path) == step


# --- retry -------------------------------------------------------------------------------------------------


def test_retry_is_a_new_epoch() -> None:
    """A retried run was failed at once by what its first life had used up."""
    tale = Tale()
    tale.fail("config", checkpoints=("out/ckpt-5.pt",))
    owed_before = tale.run.owed
    assert owed_before == (FinishRun(1),)
    assert tale.step(e.RetryRequested(tale.now, "ann")).effects == (SetAside(1, False),)
    assert (tale.state, tale.run.epoch, tale.run.failure) == (RunState.PENDING, 2, None)
    assert tale.run.owed == (SetAside(1, False),)  # the old summary is not written over the new epoch
    tale.step(e.SetAsideDone(tale.now, 1))
    tale.begin()
    assert tale.n == 2 and tale.run.attempts[1].resume_from == "out/ckpt-5.pt"
    assert tale.run.ran_seconds == 0.0
    tale.step(e.RunFinished(tale.now, 1))  # late word of the old epoch
    tale.end(code=0)
    tale.verify("none")
    tale.step(e.RunFinished(tale.now, 1))
    assert tale.run.owed == (FinishRun(2),)


def test_retry_from_scratch_resumes_nothing() -> None:
    """`--scratch` was typed because the checkpoint is poisoned."""
    tale = Tale()
    tale.fail("numeric", checkpoints=("out/ckpt-5.pt",))
    assert tale.step(e.RetryRequested(tale.now, "ann", scratch=True)).effects == (SetAside(1, True),)
    tale.plan()
    assert tale.run.attempts[1].resume_from is None
    tale.step(e.AttemptNeverBegan(tale.now, 2, "claimed"))
    tale.plan()
    assert tale.run.attempts[2].resume_from is None


def test_retry_of_a_run_that_has_not_ended_is_nothing() -> None:
    """A retry typed twice began a third epoch."""
    tale = Tale()
    tale.fail("config")
    tale.step(e.RetryRequested(tale.now, "ann"))
    assert tale.step(e.RetryRequested(tale.now, "ann")).ignored is not None
    assert tale.run.epoch == 2


def test_retry_takes_back_a_cancel() -> None:
    """Cancelled by mistake, then retried: the old wish cancelled it again at its first failure."""
    tale = Tale()
    tale.begin()
    tale.step(cancel(tale))
    tale.end(code=143, stopped="request")
    tale.verify("cancelled")
    tale.step(e.RetryRequested(tale.now, "ann"))
    tale.fail("nccl.timeout")
    assert tale.state == RunState.WAITING


# --- our own faults, hold and resume -----------------------------------------------------------------------


def test_a_fault_holds_one_run_and_leaves_its_attempt_alone() -> None:
    """A record that could not be read stopped the loop, and forty-seven other runs with it."""
    tale = Tale()
    tale.begin()
    fault(tale)
    assert (tale.state, tale.run.cause, tale.attempt_state) == (RunState.HELD, "internal", AttemptState.RUNNING)
    assert "KeyError" in tale.run.words


def test_a_held_run_goes_on_saying_why() -> None:
    """Its attempt was lost and found meanwhile, and `why` showed that instead of the fault."""
    tale = Tale()
    tale.begin()
    fault(tale)
    words = tale.run.words
    tale.step(e.AttemptLost(tale.now, 1, "no answer"))
    tale.step(e.AttemptFound(tale.now, 1))
    tale.step(e.LimitReached(tale.now, 1, "timeout", 9.0, 9.0))
    assert tale.attempt_state == AttemptState.STOPPING  # held, but not unbounded
    tale.end(code=143, stopped="request")
    assert (tale.state, tale.run.cause, tale.run.words) == (RunState.HELD, "internal", words)


def test_a_fault_after_the_end_leaves_the_outcome() -> None:
    """A summary that could not be written turned a success into a held run."""
    tale = Tale()
    tale.succeed()
    fault(tale)
    fault(tale)
    assert (tale.state, tale.run.owed, tale.run.flags) == (RunState.SUCCEEDED, (), ("internal",))


def test_resume_of_a_held_run_at_rest() -> None:
    """Held before it ever ran, or between two attempts: back to the queue."""
    tale = Tale()
    tale.step(e.HoldRequested(tale.now, "auth", "the token is refused"))
    resume(tale)
    assert tale.state == RunState.PENDING
    tale.fail("nccl.timeout")
    tale.step(e.HoldRequested(tale.now, "auth", "the token is refused"))
    assert (tale.state, tale.run.due) == (RunState.HELD, None)
    resume(tale)
    assert tale.state == RunState.PENDING


def test_resume_with_a_live_attempt_looks_what_became_of_it() -> None:
    """A second attempt was started beside the first, in the same output directory."""
    tale = Tale()
    tale.plan()
    fault(tale)
    assert tale.run.owed == ()
    resume(tale)
    assert (tale.state, tale.n, tale.run.owed) == (RunState.RUNNING, 1, (StartAttempt(1),))
    tale.step(e.AttemptStarted(tale.now, 1, PROCESS, tale.now))
    assert tale.run.owed == ()
    fault(tale)
    resume(tale)
    tale.step(e.AttemptStarted(tale.now, 1, PROCESS, tale.now))
    assert (tale.attempt_state, tale.run.owed) == (AttemptState.RUNNING, ())


def test_resume_after_its_attempt_ended_verifies_it() -> None:
    """The attempt had exited 0 while the run was held; resume trained it again."""
    tale = Tale()
    tale.begin()
    fault(tale)
    tale.end(code=0)
    assert (tale.state, tale.attempt_state) == (RunState.HELD, AttemptState.ENDED)
    resume(tale)
    assert (tale.state, tale.run.owed) == (RunState.VERIFYING, (VerifyAttempt(1),))
    tale.verify("none")
    assert tale.state == RunState.SUCCEEDED


def test_a_fault_while_verifying_is_verified_again() -> None:
    """The late result of the first look must not decide a run that is held."""
    tale = Tale()
    tale.begin()
    tale.end(code=0)
    fault(tale)
    assert tale.verify("none").ignored is not None
    assert tale.state == RunState.HELD
    resume(tale)
    tale.verify("none")
    assert tale.state == RunState.SUCCEEDED


def test_resume_takes_back_a_cancel() -> None:
    """Cancelled, held by a fault of ours, resumed by a person: the last word is theirs."""
    tale = Tale()
    tale.plan()
    tale.step(cancel(tale))
    fault(tale)
    tale.step(e.AttemptNeverBegan(tale.now, 1, "claimed"))
    assert tale.state == RunState.HELD
    resume(tale)
    tale.fail("nccl.timeout")
    assert tale.state == RunState.WAITING


@pytest.mark.parametrize("name", ["none", "config", "nccl.timeout"])
def test_resume_and_hold_of_others_are_nothing(name: str) -> None:
    """`resume` of a whole campaign moved runs that were not held."""
    tale = Tale()
    tale.fail(name)
    before = tale.run
    assert tale.step(e.ResumeRequested(tale.now, "ann")).ignored is not None
    assert tale.run is before


# --- lost and found ----------------------------------------------------------------------------------------


def test_lost_is_not_dead() -> None:
    """A scheduler that did not answer for a minute had its runs started a second time."""
    tale = Tale()
    tale.begin()
    tale.step(e.AttemptLost(tale.now, 1, "no answer"))
    assert (tale.state, tale.attempt_state, tale.run.cause) == (RunState.RUNNING, AttemptState.LOST, "lost")
    with pytest.raises(IllegalEvent):
        tale.plan()
    assert tale.step(e.LimitReached(tale.now, 1, "heartbeat", 9.0, 9.0)).ignored is not None
    tale.step(e.AttemptFound(tale.now, 1))
    assert (tale.attempt_state, tale.run.attempts[0].lost_since) == (AttemptState.RUNNING, None)


def test_a_lost_attempt_ends_by_its_record() -> None:
    """Lost, and then its exit was read: its own end, not a lost node."""
    tale = Tale()
    tale.begin()
    tale.step(e.AttemptLost(tale.now, 1, "no answer"))
    tale.end(code=0)
    tale.verify("none")
    assert tale.state == RunState.SUCCEEDED


def test_a_lost_attempt_that_starts_is_no_longer_lost() -> None:
    """It was shown as needing a person long after it had answered."""
    tale = Tale()
    tale.plan()
    tale.step(e.AttemptLost(tale.now, 1, "no answer"))
    tale.step(e.AttemptStarted(tale.now, 1, PROCESS, tale.now))
    assert (tale.attempt_state, tale.run.cause) == (AttemptState.RUNNING, "started")


@pytest.mark.parametrize("word", [e.AttemptStarting(at(0), 1), e.AttemptQueued(at(0), 1, "job-9")])
def test_an_old_word_of_a_lost_attempt_does_not_undo_its_start(word: e.Event) -> None:
    """Lost while running, then its "starting" came late: after that a "never began" was believed of it."""
    tale = Tale()
    tale.begin()
    tale.step(e.AttemptLost(tale.now, 1, "no answer"))
    tale.step(word)
    assert tale.attempt_state == AttemptState.RUNNING
    assert tale.step(e.AttemptNeverBegan(tale.now, 1, "claimed")).ignored is not None


def test_a_node_that_is_known_to_be_lost_ends_it() -> None:
    """Another boot of the host: ended, free, elsewhere."""
    tale = Tale(gpus=2)
    tale.begin("gpu:0")
    tale.step(e.AttemptEnded(tale.now, 1, ExitRecord(recorded=False), cause="node.lost", words="rebooted"))
    tale.verify("node.lost")
    assert (tale.state, tale.run.avoid, tale.run.budget.free) == (RunState.WAITING, ("gpu:0",), 1)


# --- late, doubled and impossible words --------------------------------------------------------------------


def test_words_of_old_attempts_are_ignored() -> None:
    """The late exit of attempt 1 ended attempt 2."""
    tale = Tale()
    tale.fail("nccl.timeout")
    tale.begin()
    before = tale.run
    for event in (
        e.AttemptEnded(tale.now, 1, ExitRecord(code=0)),
        e.AttemptStarted(tale.now, 1, PROCESS, tale.now),
        e.AttemptVerified(tale.now, 1, Classification("none"), Vitals()),
        e.AttemptLost(tale.now, 1, "no answer"),
        e.LimitReached(tale.now, 1, "timeout", 1.0, 1.0),
    ):
        assert step(tale.run, tale.campaign, event).ignored == "late word of an old attempt"
    assert tale.run is before


def test_words_of_attempts_that_nobody_asked_for_are_errors() -> None:
    """An attempt 7 of a run that has had two is a fault to be seen, not to be believed."""
    tale = Tale()
    with pytest.raises(IllegalEvent, match="bat-1/r0 is pending"):
        tale.step(e.AttemptStarted(tale.now, 1, PROCESS, tale.now))
    tale.plan()
    with pytest.raises(IllegalEvent, match="attempt 1 submitting"):
        tale.step(e.AttemptStarted(tale.now, 2, PROCESS, tale.now))


def test_an_attempt_number_is_never_used_twice() -> None:
    """Two attempts in one directory: the second overwrote the log of the first."""
    tale = Tale()
    tale.fail("nccl.timeout")
    tale.seconds += 100
    tale.step(e.RetryDue(tale.now))
    with pytest.raises(IllegalEvent):
        tale.step(e.RunPlanned(tale.now, 1, Slot("cpu:0"), 1))


def test_an_end_told_twice_is_one_end() -> None:
    """Keeper and recovery both reported the exit, and it counted twice."""
    tale = Tale()
    tale.begin()
    tale.end()
    before = tale.run
    assert tale.step(e.AttemptEnded(tale.now, 1, ExitRecord(code=0))).ignored is not None
    assert tale.run is before
    tale.verify("nccl.timeout")
    counted = tale.run.budget.counted
    assert tale.verify("nccl.timeout").ignored is not None
    assert tale.run.budget.counted == counted == 1


def test_never_began_of_a_running_attempt_takes_nothing_off() -> None:
    """A late "never began" discharged the stop of an attempt that ran: after a restart nobody stopped it."""
    tale = Tale()
    tale.begin()
    tale.step(cancel(tale))
    assert tale.step(e.AttemptNeverBegan(tale.now, 1, "claimed")).ignored is not None
    assert tale.run.owed == (StopAttempt(1, 30.0, False),)


def test_never_began_starts_again_uncounted_under_the_next_number() -> None:
    """A start that the supervisor had claimed back used up the run's only attempt."""
    tale = Tale()
    tale.plan()
    tale.step(e.AttemptNeverBegan(tale.now, 1, "claimed"))
    assert (tale.state, tale.run.budget.counted, tale.run.owed) == (RunState.PENDING, 0, ())
    assert not tale.run.attempts[0].counted
    tale.begin()
    assert tale.n == 2


def test_starts_that_never_begin_slow_down_and_are_held() -> None:
    """A full process table: ten thousand attempt directories in a minute."""
    tale = Tale()
    waits = []
    for _ in range(60):
        if tale.state == RunState.WAITING:
            waits.append(tale.delay)
            tale.seconds += tale.delay
            tale.step(e.RetryDue(tale.now))
        if tale.state == RunState.HELD:
            break
        tale.plan()
        tale.step(e.AttemptNeverBegan(tale.now, tale.n, "no process could be made"))
    assert (tale.state, tale.run.cause) == (RunState.HELD, "internal")
    assert waits[:3] == [1.0, 2.0, 4.0] and max(waits) == 60.0
    assert len(tale.run.attempts) == 30


def test_who_ended_it_when_the_shim_kept_the_bound_alone() -> None:
    """No supervisor lived when the timeout came: the shim's own kill was called a crash."""
    tale = Tale()
    tale.begin()
    tale.end(code=137, stopped="bound")
    attempt = tale.run.attempts[0]
    assert (ended_by(attempt), stop_class(attempt)) == (EndedBy.TIMEOUT, "timeout.wall")
