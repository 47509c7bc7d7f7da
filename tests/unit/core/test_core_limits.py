"""Limits: when silence or running has lasted too long, and when it has not."""

import pytest
from core_world import Tale, a_campaign

from overnight.core import limits
from overnight.core.limits import LimitsInForce, in_force, passed
from overnight.core.result import Finished
from overnight.model.codec import replace
from overnight.model.policy import Limits, Policy, RowPolicy
from overnight.model.run import Run, Vitals
from overnight.model.states import RunState

HOUR = 3600.0
MOVING = Vitals(started_moving=True, marked=True, lines=50)


def seen_until(seconds: float, vitals: Vitals = MOVING) -> Vitals:
    """The same, with the last look at `seconds` of running."""
    return replace(vitals, seconds=seconds)


def bound(**given: float | None) -> LimitsInForce:
    """Limits of which only those given bind."""
    none: dict[str, float | None] = dict.fromkeys(("timeout", "attempt_timeout", "startup", "heartbeat", "progress"))
    return LimitsInForce(**{**none, **given})


@pytest.mark.parametrize(
    "longest, heartbeat", [(0.0, 900.0), (30.0, 900.0), (120.0, 1200.0), (719.0, 7190.0), (5000.0, 7200.0)]
)
def test_auto_heartbeat_is_ten_gaps_within_its_range(longest: float, heartbeat: float) -> None:
    """An evaluation of 20 min between logs was taken for a hang by a fixed limit of 15 min."""
    found = in_force(Run("c", "r", 0), a_campaign(), replace(MOVING, longest_quiet=longest))
    assert found.heartbeat == pytest.approx(heartbeat)


def test_silence_after_a_banner_is_no_stall_before_startup_is_over() -> None:
    """Lightning's bar is rich's: thirty lines of a banner, then nothing until the end; ended after 15 minutes."""
    banner = Vitals(started_moving=True, lines=30, last_life=60.0)
    found = in_force(Run("c", "r", 0), a_campaign(), banner).heartbeat
    assert found == pytest.approx(HOUR - 60.0)
    later = replace(banner, last_life=2 * HOUR)
    assert in_force(Run("c", "r", 0), a_campaign(), later).heartbeat == pytest.approx(900.0)
    assert in_force(Run("c", "r", 0), a_campaign(), replace(banner, marked=True)).heartbeat == pytest.approx(900.0)
    by_hand = a_campaign(Policy(limits=Limits(heartbeat=60.0)))
    assert in_force(Run("c", "r", 0), by_hand, banner).heartbeat == 60.0


@pytest.mark.parametrize("longest, progress", [(0.0, HOUR), (400.0, 4000.0), (10_000.0, 6 * HOUR)])
def test_auto_progress_is_ten_gaps_within_its_range(longest: float, progress: float) -> None:
    """A step of 40 min is no stall; seven hours without one is."""
    assert in_force(Run("c", "r", 0), a_campaign(), Vitals(longest_gap=longest)).progress == pytest.approx(progress)


def test_auto_learns_from_earlier_attempts_and_succeeded_siblings() -> None:
    """Each new run of a sweep was killed in the evaluation that its finished siblings had shown."""
    tale = Tale()
    tale.fail("nccl.timeout")
    tale.begin()
    tale.end()
    tale.verify("nccl.timeout", Vitals(longest_quiet=100.0, longest_gap=500.0))
    assert in_force(tale.run, tale.campaign, MOVING).heartbeat == pytest.approx(1000.0)
    assert in_force(tale.run, tale.campaign, Vitals()).progress == pytest.approx(5000.0)
    sibling = Tale()
    sibling.succeed(Vitals(longest_quiet=200.0, longest_gap=800.0))
    assert sibling.lessons == [Finished(200.0, 800.0, sibling.run.ran_seconds)]
    assert in_force(Run("c", "r2", 1), sibling.campaign, MOVING).heartbeat == pytest.approx(2000.0)
    assert in_force(Run("c", "r2", 1), sibling.campaign, Vitals()).progress == pytest.approx(8000.0)


def test_a_quiet_phase_makes_automatic_limits_four_times_as_long_said_once() -> None:
    """A silent tokenisation of 16 min was killed at the same line, four attempts in a row."""
    tale = Tale()
    place = Vitals(started_moving=True, marked=True, step=40, first_step=0, lines=40)
    tale.stall(vitals=place)
    assert tale.campaign.quiet_factor == 1.0
    tale.stall(vitals=place)
    assert tale.campaign.quiet_factor == limits.QUIET_PHASE_FACTOR == 4.0
    assert in_force(tale.run, tale.campaign, MOVING).heartbeat == pytest.approx(3600.0)
    tale.stall(vitals=place)
    assert len(tale.said) == 1
    assert "r0" in tale.said[0] and "4 times" in tale.said[0]


def test_a_quiet_phase_is_seen_past_other_failures() -> None:
    """A network fault between two stalls at the same line hid that they were the same."""
    tale = Tale()
    tale.stall(vitals=Vitals(lines=40))
    tale.fail("network")
    tale.stall(vitals=Vitals(lines=40))
    assert tale.campaign.quiet_factor == 4.0


def test_stalls_at_different_places_are_no_quiet_phase() -> None:
    """Two real hangs must not lengthen everybody's limits."""
    tale = Tale()
    tale.stall(vitals=Vitals(step=40, first_step=0))
    tale.stall(vitals=Vitals(step=70, first_step=0))
    assert tale.campaign.quiet_factor == 1.0


def test_numbers_written_by_hand_are_obeyed() -> None:
    """Whoever wrote `heartbeat = "5m"` meant five minutes, whatever was learnt."""
    policy = Policy(limits=Limits(heartbeat=300.0, progress=600.0))
    tale = Tale(policy)
    place = Vitals(step=40, first_step=0)
    tale.stall(vitals=place)
    tale.stall(vitals=place)
    found = in_force(tale.run, tale.campaign, Vitals(longest_quiet=1e4, longest_gap=1e4))
    assert (found.heartbeat, found.progress, tale.said) == (300.0, 600.0, [])


def test_only_startup_runs_until_the_first_advance() -> None:
    """A banner, then 40 min of compilation: the heartbeat limit killed it before its first step."""
    still = Vitals(lines=3)
    limit = bound(startup=HOUR, heartbeat=60.0, progress=60.0)
    assert passed(limit, seen_until(3599, still), 3599.5, 99) is None
    found = passed(limit, seen_until(3601, still), 3601, 0)
    assert found is not None and (found.limit, found.seconds) == ("startup", HOUR)


def test_startup_no_longer_binds_after_the_first_advance() -> None:
    """A run of two days was ended by `startup` because it had been slow to begin."""
    assert passed(bound(startup=HOUR), seen_until(2 * HOUR), 2 * HOUR, 99) is None


def test_heartbeat_needs_two_looks_that_saw_nothing() -> None:
    """One look at a cached file size was a night's kill."""
    limit, vitals = bound(heartbeat=60.0), replace(seen_until(200), last_life=100.0)
    assert passed(limit, vitals, 200, 0) is None
    assert passed(limit, vitals, 200, 1) is None
    found = passed(limit, vitals, 200, 2)
    assert found is not None and (found.limit, found.observed) == ("heartbeat", 100.0)


def test_silence_ends_with_the_last_look() -> None:
    """A look hung in a slow file system: what the program printed meanwhile nobody had seen, and it was killed."""
    limit, vitals = bound(heartbeat=60.0, progress=90.0), replace(seen_until(150), last_life=100.0, last_advance=100.0)
    assert passed(limit, vitals, 5000, 9) is None
    assert passed(bound(startup=HOUR), Vitals(), 2 * HOUR, 0) is None


@pytest.mark.parametrize(
    "vitals, left",
    [
        (Vitals(seconds=100.0, last_life=90.0), 200.0),  # before the first advance only `startup` binds
        (Vitals(seconds=100.0, last_grown=90.0), 290.0),
        (replace(MOVING, seconds=100.0, last_life=70.0, last_advance=70.0), 30.0),
        (replace(MOVING, seconds=100.0, last_life=99.0, last_advance=10.0), 0.0),
        (replace(MOVING, seconds=100.0, last_life=30.0, last_advance=70.0), -10.0),
        (replace(MOVING, seconds=100.0, last_life=99.0, last_advance=10.0, marked=False), 59.0),
        (replace(MOVING, seconds=100.0, last_life=99.0, last_advance=10.0, step=9.0, total=10.0), 59.0),
    ],
)
def test_what_is_left_of_a_silence_is_what_would_pass(vitals: Vitals, left: float) -> None:
    """The next look came ten seconds after a limit had passed, or a hundred before."""
    limit = bound(startup=300.0, heartbeat=60.0, progress=90.0)
    assert limits.silence_left(limit, vitals) == pytest.approx(left)
    later = replace(vitals, seconds=vitals.seconds + left)
    assert passed(limit, later, later.seconds, 2) is not None
    later = replace(vitals, seconds=later.seconds - 0.1)
    assert passed(limit, later, later.seconds, 2) is None


def test_where_no_limit_binds_no_look_is_needed_for_one() -> None:
    """`heartbeat = "none"` and no marker: ten thousand looks for nothing."""
    assert limits.silence_left(bound(progress=90.0), replace(MOVING, seconds=1e6, marked=False)) is None
    assert limits.silence_left(bound(heartbeat=60.0), Vitals(seconds=1e6)) is None


def test_progress_counts_only_where_a_marker_is_known() -> None:
    """A program without markers printed all night and was ended for making no progress."""
    vitals = replace(seen_until(500), last_life=499.0, last_advance=10.0)
    found = passed(bound(heartbeat=60.0, progress=60.0), vitals, 500, 0)
    assert found is not None and found.limit == "progress"
    assert passed(bound(heartbeat=60.0, progress=60.0), replace(vitals, marked=False), 500, 0) is None


@pytest.mark.parametrize("step", [99.0, 100.0])
def test_the_progress_limit_rests_after_the_last_step(step: float) -> None:
    """Uploading the model took longer than `progress`, and a finished run was ended as stalled."""
    vitals = replace(seen_until(9000), step=step, total=100.0, last_life=8999.0)
    assert passed(bound(progress=60.0), vitals, 9000, 5) is None
    assert passed(bound(progress=60.0), replace(vitals, step=98.0), 9000, 5) is not None


def test_heartbeat_still_binds_after_the_last_step() -> None:
    """Hung at interpreter exit with nothing more to say: that is a stall."""
    vitals = replace(seen_until(9000), step=100.0, total=100.0)
    found = passed(bound(heartbeat=60.0, progress=60.0), vitals, 9000, 5)
    assert found is not None and found.limit == "heartbeat"


def test_timeouts_need_no_look() -> None:
    """A hung file system must not make a run unbounded."""
    found = passed(bound(timeout=100.0, attempt_timeout=50.0), Vitals(), 60, 0)
    assert found is not None and found.limit == "attempt_timeout"
    found = passed(bound(timeout=100.0, attempt_timeout=50.0), Vitals(), 100, 0)
    assert found is not None and found.limit == "timeout"


def test_the_runs_timeout_is_what_earlier_attempts_left() -> None:
    """Each attempt got the whole 24 h again."""
    tale = Tale(Policy(limits=Limits(timeout=1000.0, attempt_timeout=900.0)))
    assert limits.bound_seconds(tale.run, tale.campaign) == 900.0
    tale.fail("nccl.timeout", seconds=700)
    tale.begin()
    assert in_force(tale.run, tale.campaign, Vitals()).timeout == pytest.approx(300.0)
    assert limits.bound_seconds(tale.run, tale.campaign) == pytest.approx(300.0)


def test_none_is_the_only_way_to_be_unbounded() -> None:
    """`timeout = "none"` is obeyed, a row's own timeout or "none" goes before the campaign's."""
    run, campaign = Run("c", "r", 0), a_campaign(Policy(limits=Limits(timeout=None, attempt_timeout=None)))
    assert limits.bound_seconds(run, campaign) is None
    nothing = LimitsInForce(None, None, None, None, None)
    assert passed(nothing, seen_until(1e9), 1e9, 99) is None
    assert limits.bound_seconds(replace(run, policy=RowPolicy(timeout=60.0)), campaign) == 60.0
    default = a_campaign()
    assert limits.bound_seconds(run, default) == 86_400.0
    unbounded = replace(run, policy=RowPolicy(unbounded=True))
    assert limits.run_timeout(unbounded, default) is None
    assert limits.bound_seconds(unbounded, default) is None, "as launch and status warn"
    apart = a_campaign(Policy(limits=Limits(attempt_timeout=3600.0)))
    assert limits.bound_seconds(unbounded, apart) == 3600.0  # its attempts are bounded still


def test_a_longer_row_is_not_ended_by_the_campaigns_own_limit() -> None:
    """A row with @timeout 48h: each of its attempts was ended after the campaign's 24 h, which nobody had written."""
    run = Run("c", "r", 0, policy=RowPolicy(timeout=172_800.0))
    assert limits.bound_seconds(run, a_campaign()) == 172_800.0
    assert in_force(run, a_campaign(), Vitals()).attempt_timeout == 172_800.0
    apart = a_campaign(Policy(limits=Limits(attempt_timeout=3600.0)))
    assert limits.bound_seconds(run, apart) == 3600.0
    assert in_force(run, apart, Vitals()).attempt_timeout == 3600.0


@pytest.mark.parametrize(
    "limit, name, ended_by",
    [
        ("timeout", "timeout.wall", "timeout"), ("attempt_timeout", "timeout.attempt", "timeout"),
        ("startup", "stall.startup", "stall"), ("heartbeat", "stall.output", "stall"),
        ("progress", "stall.progress", "stall"),
    ],
)  # fmt: skip
def test_each_limit_has_its_class(limit: str, name: str, ended_by: str) -> None:
    """A stall in the morning's report was called a timeout, and the wrong number was raised."""
    tale = Tale()
    tale.stall(limit)
    attempt = tale.run.attempts[0]
    assert attempt.stop_class == name and attempt.stop is not None and attempt.stop.value == ended_by
    assert attempt.classification is not None and attempt.classification.name == name
    assert tale.state in (RunState.FAILED, RunState.WAITING)


@pytest.mark.parametrize(
    "shortest, live, interval", [(3600.0, 1, 1.0), (2.0, 1, 0.2), (0.1, 1, 0.05), (2.0, 2001, 10.0)]
)
def test_looks_are_a_tenth_of_the_shortest_limit(shortest: float, live: int, interval: float) -> None:
    """Ten thousand live logs looked at each second left no time for anything else."""
    assert limits.look_interval(bound(startup=HOUR, heartbeat=shortest), live) == pytest.approx(interval)
    assert limits.look_interval(bound(), 1) == 1.0
