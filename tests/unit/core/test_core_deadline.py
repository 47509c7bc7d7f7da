"""The deadline: the host is taken away, and what can be kept must be kept before."""

from core_world import Tale, a_campaign, at

from overnight.core import deadline
from overnight.model import events as e
from overnight.model.codec import replace
from overnight.model.policy import Checkpoint, Limits, Policy
from overnight.model.run import Vitals
from overnight.model.states import AttemptState, EndedBy, RunState
from overnight.model.time import Moment


def over(tale: Tale) -> e.DeadlineReached:
    return e.DeadlineReached(tale.now, "the deadline has come")


def test_a_live_attempt_is_ended_uncounted_and_its_run_held() -> None:
    """Slurm killed the whole job at its end; the step since the last checkpoint, and a try, were lost."""
    tale = Tale()
    tale.begin()
    asked = tale.step(over(tale))
    assert tale.attempt_state == AttemptState.STOPPING and len(asked.effects) == 1
    assert tale.step(over(tale)).ignored is not None  # each turn says it again
    tale.end(code=0, seconds=100.0, stopped="request")  # a trainer that saves on TERM exits 0
    tale.verify("timeout.host", Vitals(step=40.0, first_step=0.0), checkpoints=("/o/ckpt-40",))
    assert tale.state == RunState.HELD and tale.run.cause == deadline.CAUSE
    attempt = tale.run.attempts[0]
    assert attempt.stop == EndedBy.DEADLINE and not attempt.counted
    assert tale.run.budget.counted == 0 and tale.run.failure is None
    tale.step(e.ResumeRequested(tale.now, "ann"))
    tale.plan()
    assert tale.run.attempts[1].resume_from == "/o/ckpt-40"


def test_one_that_was_done_in_time_has_succeeded() -> None:
    """Its last step came between the request and the signal: the result stands."""
    tale = Tale()
    tale.begin()
    tale.step(over(tale))
    tale.end(code=0, seconds=100.0)
    tale.verify("none")
    assert tale.state == RunState.SUCCEEDED


def test_what_rests_is_held_and_what_has_ended_stays() -> None:
    """Pending and waiting rows must not start on a host that is about to go; a person sees why."""
    tale = Tale()
    tale.step(over(tale))
    assert tale.state == RunState.HELD and tale.run.words == "the deadline has come"
    waiting = Tale()
    waiting.fail("network")
    assert waiting.state == RunState.WAITING
    waiting.step(over(waiting))
    assert waiting.state == RunState.HELD and waiting.run.due is None
    ended = Tale()
    ended.succeed()
    assert ended.step(over(ended)).ignored is not None


def test_nothing_starts_that_could_not_be_kept() -> None:
    """At 07:30 a run of an hour was started for a machine that went at 08:00."""
    campaign = a_campaign(deadline=at(3600), quickest=2000.0)
    assert deadline.too_short(campaign, at(0)) == ""
    assert deadline.too_short(campaign, at(1299)) == ""
    assert "2000 s" in deadline.too_short(campaign, at(1301))
    assert deadline.next_check(campaign, at(0)) == 1300.0
    kept = replace(campaign, policy=Policy(checkpoint=Checkpoint("{out_dir}/c.pt")), quickest=None)
    assert deadline.too_short(kept, at(3299)) == ""
    seen = replace(kept, quickest=600.0)  # a sibling had its first checkpoint after ten minutes
    assert deadline.too_short(seen, at(2699)) == "" and "first checkpoint" in deadline.too_short(seen, at(2701))
    assert not deadline.reached(kept, at(3299)) and deadline.reached(kept, at(3300))
    assert deadline.too_short(kept, at(3300)) != ""


def test_a_long_grace_begins_earlier() -> None:
    """A trainer with ten minutes of grace was told five minutes before the end."""
    campaign = a_campaign(Policy(limits=Limits(grace=600.0)), deadline=at(3600))
    assert deadline.reached(campaign, at(3600 - 660)) and not deadline.reached(campaign, at(3600 - 661))


def test_a_wall_clock_that_jumps_moves_no_deadline() -> None:
    """NTP corrected a day at 2 a.m., and every run was ended for a deadline of the day after."""
    campaign = a_campaign(deadline=at(3600))
    now = at(10)
    assert not deadline.reached(campaign, Moment(now.mono, now.wall + 86_400, now.boot))
    assert deadline.reached(campaign, Moment(5.0, now.wall + 86_400, "another boot"))  # there the wall is all there is


def test_the_quickest_success_is_remembered() -> None:
    """All attempts of a run together: a resumed one's last attempt alone says nothing of a fresh start."""
    tale = Tale()
    tale.fail("network", seconds=50.0)
    tale.begin()
    tale.end(code=0, seconds=30.0)
    tale.verify("none")
    assert tale.campaign.quickest == 80.0


def test_with_checkpoints_the_first_one_counts() -> None:
    """A run of a day that saves each half hour is worth starting three hours before the end."""
    tale = Tale(Policy(checkpoint=Checkpoint("{out_dir}/c.pt")))
    tale.begin()
    tale.end(code=0, seconds=9000.0)
    tale.verify("none", Vitals(first_saved=1800.0))
    assert tale.campaign.quickest == 1800.0
    unseen = Tale(Policy(checkpoint=Checkpoint("{out_dir}/c.pt")))
    unseen.succeed()
    assert unseen.campaign.quickest is None
