"""GPU time, useful and lost."""

import night

from overnight.model.codec import replace
from overnight.model.gpu_time import AttemptTime, gpu_time
from overnight.model.policy import Policy, Resources, RowPolicy
from overnight.model.run import Slot, Vitals
from overnight.model.states import AttemptState, RunState

S = RunState
ONE = Policy(resources=Resources(gpus=1))


def times(run, policy=ONE):
    return [(t.useful, t.lost) for t in gpu_time(run, policy)]


def resumed(n, first_step, **changes):
    vitals = Vitals(first_step=first_step, step=first_step + 10, marked=True, last_advance=50.0)
    return night.attempt(n, name="none", resume_from="out/ckpt.pt", vitals=vitals, **changes)


def test_work_that_was_taken_over_is_useful():
    """Guards against every attempt but the last being called lost, though its checkpoint was used."""
    first = night.stalled(1, 900.0, 300.0)
    assert times(night.run(0, S.SUCCEEDED, first, resumed(2, 50.0))) == [(300.0, 600.0), (60.0, 0.0)]


def test_a_resume_that_was_ignored_or_never_happened_loses_the_work():
    """Guards against the hours before a start from nothing being called useful."""
    first = night.stalled(1, 900.0, 300.0)
    from_nothing = night.attempt(2, name="none")
    assert times(night.run(0, S.SUCCEEDED, first, from_nothing)) == [(0.0, 900.0), (60.0, 0.0)]
    ignored = resumed(2, 0.0, flags=("resume.ignored",))
    assert times(night.run(0, S.SUCCEEDED, first, ignored)) == [(0.0, 900.0), (60.0, 0.0)]


def test_an_attempt_that_added_nothing_is_lost_but_breaks_no_chain():
    """Guards against one attempt that stalled at its start making the work before it count as lost."""
    first, second = night.stalled(1, 900.0, 300.0), replace(resumed(2, 50.0), n=2)
    third = resumed(3, 50.0)  # began where the second had begun
    assert times(night.run(0, S.SUCCEEDED, first, second, third)) == [(300.0, 600.0), (0.0, 60.0), (60.0, 0.0)]


def test_failed_is_lost_and_unfinished_is_neither():
    """Guards against a run in flight shown as lost hours."""
    first = night.stalled(1, 900.0, 300.0)
    assert times(night.run(0, S.FAILED, first)) == [(0.0, 900.0)]
    live = night.attempt(2, resume_from="out/ckpt.pt", vitals=Vitals(seconds=40.0))
    assert times(night.run(0, S.RUNNING, first, live)) == [(0.0, 0.0), (0.0, 0.0)]
    assert times(night.run(0, S.RUNNING, first, replace(live, resume_from=None))) == [(0.0, 900.0), (0.0, 0.0)]


def test_gpus_are_counted_as_held():
    """Guards against eight GPUs counted as one, and half of one as a whole."""
    eight = Slot("gpu:0-7", (), tuple(str(i) for i in range(8)))
    done = night.attempt(name="none", slot=eight)
    assert times(night.run(0, S.SUCCEEDED, done)) == [(480.0, 0.0)]
    half = Policy(resources=Resources(gpus=0.5))
    assert times(night.run(0, S.SUCCEEDED, night.attempt(name="none")), half) == [(30.0, 0.0)]
    whole_row = replace(night.run(0, S.SUCCEEDED, night.attempt(name="none")), policy=RowPolicy(gpus=1))
    assert times(whole_row, half) == [(60.0, 0.0)]
    assert gpu_time(night.run(0, S.SUCCEEDED, night.attempt(name="none", slot=Slot("cpu:0"))), ONE) == ()


def test_what_never_began_took_no_time():
    """Guards against starts that were given up being listed as attempts."""
    given_up = night.attempt(1, state=AttemptState.ENDED, never_began=True)
    run = night.run(0, S.SUCCEEDED, given_up, night.attempt(2, name="none"))
    assert gpu_time(run, ONE) == (AttemptTime(2, 60.0, 0.0),)
