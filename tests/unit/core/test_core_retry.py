"""Retry decisions: the table of failure classes and its head, rule by rule."""

import pytest
from core_world import Tale, at, retrying

from overnight.core.retry import backoff, own_limit
from overnight.model.classes import ATTEMPT_CEILING, CLASSES, FREE_RETRIES, RetryRule
from overnight.model.events import PauseRequested, RetryRequested
from overnight.model.policy import Backoff, Checkpoint, Limits, Policy, Resources, RetryPolicy
from overnight.model.run import Vitals
from overnight.model.states import RunState
from overnight.model.time import Moment, elapsed

SPECIAL = {"gpu.driver", "timeout.attempt", "timeout.host", "teardown.hung"}
NEVER = [c.name for c in CLASSES.values() if c.retry == RetryRule.NEVER]
ONCE = [c.name for c in CLASSES.values() if c.retry == RetryRule.ONCE]
AGAIN = [c.name for c in CLASSES.values() if c.retry == RetryRule.AGAIN and c.name not in SPECIAL]
FREE = [c.name for c in CLASSES.values() if c.retry == RetryRule.FREE and c.name not in SPECIAL]
OUTAGE = [c.name for c in CLASSES.values() if c.retry == RetryRule.OUTAGE]


def attempts_until_failed(tale: Tale, name: str, step: float | None = None) -> int:
    """How many attempts a run gets that always fails with `name`."""
    for count in range(1, 40):
        tale.fail(name, step=step)
        if tale.state == RunState.FAILED:
            return count
    raise AssertionError(f"{name}: 40 attempts and still {tale.state}")


@pytest.mark.parametrize("name", NEVER)
def test_never_is_one_attempt(name: str) -> None:
    """A wrong flag was tried four times a night on eight GPUs."""
    tale = Tale()
    assert attempts_until_failed(tale, name) == 1
    assert tale.run.failure is not None and tale.run.failure.name == name


@pytest.mark.parametrize("name", ONCE)
def test_once_is_two_attempts(name: str) -> None:
    """One more try is what an unexplained end deserves: not none, not four."""
    assert attempts_until_failed(Tale(), name) == 2


@pytest.mark.parametrize("name", AGAIN)
def test_again_is_max_attempts(name: str) -> None:
    """A flaky collective must end some time: max_attempts counts attempts, not retries."""
    assert attempts_until_failed(Tale(retrying(max_attempts=3)), name) == 3


@pytest.mark.parametrize("name", FREE)
def test_free_is_ten_retries_and_not_counted(name: str) -> None:
    """A run on spot machines lost its whole budget to preemptions before its first real failure."""
    tale = Tale(retrying(max_attempts=2))
    for _ in range(FREE_RETRIES):
        tale.fail(name)
        assert tale.state == RunState.WAITING
    assert tale.run.budget.counted == 0
    tale.fail(name)
    assert tale.state == RunState.FAILED


@pytest.mark.parametrize("name", OUTAGE)
def test_outage_lasts_as_long_as_it_says_and_is_not_counted(name: str) -> None:
    """The hub was down for an hour: four quick attempts gave up long before it came back."""
    tale = Tale(retrying(max_attempts=2, outage=7200.0))
    tale.fail(name)
    begun = tale.seconds
    while tale.seconds - begun < 7200 - 1000:
        tale.fail(name)
        assert tale.state == RunState.WAITING
    assert tale.run.budget.counted == 0
    tale.seconds = begun + 7200
    tale.fail(name)
    assert tale.state == RunState.FAILED
    assert "without an advance" in tale.run.words


def test_an_advance_ends_an_outage() -> None:
    """Two outages on one night, a day's training between them, are not one long outage."""
    tale = Tale()
    tale.fail("network", step=10)
    tale.fail("network", step=20, seconds=7000)
    assert tale.run.budget.outage_since == tale.now
    tale.fail("network", step=30, seconds=7000)
    assert tale.state == RunState.WAITING


def test_max_attempts_one_is_one_attempt() -> None:
    """`max_attempts = 1` was written to see a failure at once, and the run was tried again."""
    assert attempts_until_failed(Tale(retrying(max_attempts=1)), "stall.output") == 1
    assert attempts_until_failed(Tale(retrying(max_attempts=1)), "unknown") == 1


def test_max_attempts_one_spares_outages_and_free_classes() -> None:
    """A preempted run has not had its one attempt."""
    tale = Tale(retrying(max_attempts=1))
    tale.fail("network")
    tale.fail("preempted")
    assert tale.state == RunState.WAITING
    tale.fail("stall.output")
    assert tale.state == RunState.FAILED


def test_the_first_attempt_never_refills() -> None:
    """Attempt 1 always goes beyond no mark at all: refilling there makes max_attempts one too many."""
    assert attempts_until_failed(Tale(retrying(max_attempts=2)), "nccl.timeout", step=100.0) == 2


def test_an_advance_beyond_the_best_mark_refills_to_the_original() -> None:
    """A week-long run with one hang a day must not end on the fourth day."""
    tale = Tale(retrying(max_attempts=3))
    for step in (100, 200, 300, 400, 500):
        tale.fail("nccl.timeout", step=step)
        assert tale.state == RunState.WAITING
        assert tale.run.budget.counted == 1
    tale.fail("nccl.timeout", step=500)
    tale.fail("nccl.timeout", step=500)
    assert tale.state == RunState.FAILED


def test_progress_that_was_made_before_refills_nothing() -> None:
    """A run without checkpoints reached step 90 each time, forever."""
    tale = Tale(retrying(max_attempts=3))
    tale.fail("nccl.timeout", step=100)
    assert attempts_until_failed(tale, "nccl.timeout", step=90.0) == 2


def test_a_resumed_first_line_is_no_advance() -> None:
    """A trainer resumed at its checkpoint printed one line beyond the last one logged, then hung: every time."""
    tale = Tale(retrying(max_attempts=2))
    tale.fail("nccl.timeout", step=100)
    tale.begin()
    tale.end()
    tale.verify("nccl.timeout", Vitals(first_step=101, step=101))
    assert tale.state == RunState.FAILED


@pytest.mark.parametrize("name", ["unknown", "cuda.error"])
def test_a_refill_never_raises_once(name: str) -> None:
    """A crash at each new step was retried all night because every attempt had advanced."""
    tale = Tale()
    tale.fail(name, step=100)
    assert tale.state == RunState.WAITING
    tale.fail(name, step=200)
    assert tale.state == RunState.FAILED


def test_a_new_epoch_has_whole_budgets() -> None:
    """After a person's retry the first failure was final: the old epoch's budget was still spent."""
    tale = Tale()
    assert attempts_until_failed(tale, "unknown") == 2
    tale.step(RetryRequested(tale.now, "ann"))
    assert attempts_until_failed(tale, "unknown") == 2


def test_retry_class_replaces_the_class_limit() -> None:
    """`"oom.gpu" = 1` was written for fragmentation: one more try, then final."""
    assert attempts_until_failed(Tale(retrying(by_class={"oom.gpu": 1})), "oom.gpu") == 2
    assert attempts_until_failed(Tale(retrying(by_class={"stall.output": 0})), "stall.output") == 1
    assert attempts_until_failed(Tale(retrying(by_class={"network": 2})), "network") == 3
    assert attempts_until_failed(Tale(retrying(by_class={"preempted": 1})), "preempted") == 2
    assert attempts_until_failed(Tale(retrying(by_class={"gpu.driver": 1})), "gpu.driver") == 2


def test_retry_class_and_max_attempts_both_bind() -> None:
    """`code = 9` must not lift max_attempts."""
    assert attempts_until_failed(Tale(retrying(max_attempts=3, by_class={"code": 9})), "code") == 3


def test_retry_class_wildcards_and_the_most_exact_wins() -> None:
    """`stall.*` covers three classes; an exact name beside it must not be shadowed by it."""
    policy = RetryPolicy(by_class={"*": 5, "stall.*": 0, "stall.output": 2})
    assert own_limit(policy, "stall.output") == 2
    assert own_limit(policy, "stall.progress") == 0
    assert own_limit(policy, "code") == 5
    assert own_limit(RetryPolicy(), "code") is None
    assert attempts_until_failed(Tale(Policy(retry=policy)), "stall.progress") == 1


def test_twenty_attempts_are_the_end() -> None:
    """Free and outage classes taking turns would go on for ever; so would a run that advances each time."""
    tale = Tale(retrying(outage=1e9))
    for number in range(ATTEMPT_CEILING):
        tale.fail(("network", "preempted", "disk.io")[number % 3], step=float(number))
    assert tale.state == RunState.FAILED
    assert len(tale.run.attempts) == ATTEMPT_CEILING
    assert "attempts are the end" in tale.run.words


def test_the_timeout_of_the_run_spans_its_attempts() -> None:
    """Four attempts of 23 h each under `timeout = 24h` held a node for four days."""
    tale = Tale(Policy(limits=Limits(timeout=1000.0)))
    tale.fail("nccl.timeout", seconds=600)
    assert tale.state == RunState.WAITING
    tale.fail("nccl.timeout", seconds=400)
    assert tale.state == RunState.FAILED
    assert tale.run.failure is not None
    assert tale.run.failure.name == "timeout.wall"
    assert "nccl.timeout" in tale.run.failure.consequences


def test_the_tracker_goes_offline_from_the_second_time() -> None:
    """The tracker's service was down: the run crashed in its client again and again."""
    tale = Tale()
    tale.fail("tracker")
    tale.begin()
    assert tale.run.attempt is not None and not tale.run.attempt.offline
    tale.end()
    tale.verify("tracker")
    assert "tracker.offline" in tale.run.flags
    tale.begin()
    assert tale.run.attempt.offline


def test_a_broken_checkpoint_falls_back_to_older_then_to_none() -> None:
    """A checkpoint cut off by a full disk was loaded four times, and the run given up."""
    tale = Tale()
    kept = ("out/ckpt-200.pt", "out/ckpt-100.pt")
    tale.fail("nccl.timeout", step=210, checkpoints=kept)
    for expected, name in (("out/ckpt-200.pt", "data.corrupt"), ("out/ckpt-100.pt", "checkpoint")):
        tale.begin()
        assert tale.run.attempt is not None and tale.run.attempt.resume_from == expected
        tale.end()
        tale.verify(name, checkpoints=kept)
        assert tale.state == RunState.WAITING, tale.run.words
    tale.begin()
    assert tale.run.attempt.resume_from is None


def test_a_mismatch_after_training_is_no_loading_fault() -> None:
    """A failed save at step 500 is `checkpoint`, never: the checkpoint it came from did load."""
    tale = Tale()
    tale.fail("nccl.timeout", step=210, checkpoints=("out/ckpt-200.pt",))
    tale.fail("checkpoint", step=500, checkpoints=("out/ckpt-200.pt",))
    assert tale.state == RunState.FAILED
    assert tale.run.excluded == ()


def test_the_one_checkpoint_file_counts_again_once_it_is_written_anew() -> None:
    """ckpt.pt did not load once; ten hours later the run began at zero again although ckpt.pt was whole."""
    tale = Tale(Policy(checkpoint=Checkpoint(path="{out_dir}/ckpt.pt")))
    tale.fail("nccl.timeout", step=210, checkpoints=("out/ckpt.pt",))
    tale.fail("data.corrupt")
    assert tale.run.excluded == ("out/ckpt.pt",)
    tale.fail("nccl.timeout", step=400, checkpoints=("out/ckpt.pt",))
    tale.begin()
    assert tale.run.attempt is not None and tale.run.attempt.resume_from == "out/ckpt.pt"


def test_nccl_error_goes_elsewhere_the_second_time() -> None:
    """A bad link between two GPUs failed the run four times on the same pair."""
    tale = Tale(gpus=4)
    tale.fail("nccl.error", slot="gpu:0")
    assert tale.run.avoid == ()
    tale.fail("nccl.error", slot="gpu:0")
    assert tale.run.avoid == ("gpu:0",)


def test_disk_io_goes_elsewhere_the_second_time() -> None:
    """A stale handle on one node is that node's, not the file server's."""
    tale = Tale(gpus=2)
    tale.fail("disk.io", slot="gpu:1")
    tale.fail("disk.io", slot="gpu:1")
    assert tale.run.avoid == ("gpu:1",)
    assert tale.run.budget.counted == 0


def test_a_hardware_fault_avoids_the_slot_at_once() -> None:
    """An uncorrectable ECC error on GPU 3 took the run four times."""
    tale = Tale(gpus=2)
    tale.fail("gpu.hardware", slot="gpu:1", roll=0.0)
    assert tale.run.avoid == ("gpu:1",)
    assert tale.delay == pytest.approx(15.0)


def test_elsewhere_without_another_slot_waits_longest() -> None:
    """With one GPU there is no elsewhere: thirty seconds later it would only fail again."""
    tale = Tale(gpus=1)
    tale.fail("gpu.hardware", slot="gpu:0")
    assert tale.run.avoid == ()
    assert tale.delay == pytest.approx(900.0)


def test_few_slots_on_many_gpus_leave_an_elsewhere() -> None:
    """`--slots 1` on eight GPUs says how many run at once, not that there is one GPU."""
    tale = Tale(Policy(resources=Resources(slots=1)), gpus=8)
    tale.fail("gpu.driver", slot="gpu:0")
    assert tale.state == RunState.WAITING
    assert tale.run.avoid == ("gpu:0",)


def test_gpu_driver_is_tried_elsewhere_once() -> None:
    """One GPU fallen off the driver: another may serve; a second refusal is the machine's."""
    tale = Tale(gpus=4)
    tale.fail("gpu.driver", slot="gpu:0")
    assert (tale.state, tale.run.avoid) == (RunState.WAITING, ("gpu:0",))
    tale.fail("gpu.driver", slot="gpu:1")
    assert tale.state == RunState.FAILED


def test_gpu_driver_without_another_slot_is_final() -> None:
    """Driver and library disagree on the only GPU: waiting mends nothing."""
    tale = Tale(gpus=1)
    tale.fail("gpu.driver", slot="gpu:0")
    assert tale.state == RunState.FAILED


def test_a_lost_node_is_avoided_where_there_is_another() -> None:
    """A node that dies under each of its runs must not get the next one."""
    tale = Tale(gpus=2)
    tale.fail("node.lost", slot="gpu:0")
    assert tale.run.avoid == ("gpu:0",)
    alone = Tale(gpus=1)
    alone.fail("node.lost", slot="gpu:0")
    assert alone.run.avoid == () and alone.delay == pytest.approx(30.0)


def test_a_slot_that_nobody_knows_is_not_avoided() -> None:
    """After a takeover runs went on "away from unknown", and one GPU fewer was thought to be left."""
    tale = Tale(gpus=2)
    tale.fail("node.lost", slot="unknown")
    assert tale.run.avoid == () and "away from" not in tale.run.words


def test_oom_gpu_is_once_when_somebody_else_held_the_memory() -> None:
    """A colleague's notebook held 60 GB: that out-of-memory says nothing about the run."""
    tale = Tale()
    tale.fail("oom.gpu", flags=("gpu.shared",))
    assert tale.state == RunState.WAITING
    tale.fail("oom.gpu", flags=("gpu.shared",))
    assert tale.state == RunState.FAILED


@pytest.mark.parametrize("name", ["timeout.attempt", "timeout.host"])
def test_a_timeout_is_tried_again_only_if_it_advanced(name: str) -> None:
    """An attempt that reaches its limit without an advance would reach it for ever."""
    tale = Tale()
    tale.fail(name, step=100)
    tale.fail(name, step=200)
    assert tale.state == RunState.WAITING
    tale.fail(name, step=200)
    assert tale.state == RunState.FAILED
    still = Tale()
    still.fail(name)
    assert still.state == RunState.FAILED


def test_a_timeout_of_the_host_is_free_when_it_advanced() -> None:
    """A queue with a 4 h limit and a run of three days: each job is progress, none is a failure."""
    tale = Tale(retrying(max_attempts=1))
    tale.fail("timeout.host", step=100)
    tale.fail("timeout.host", step=200)
    assert tale.state == RunState.WAITING
    assert (tale.run.budget.counted, tale.run.budget.free) == (0, 2)


def test_backoff_grows_to_its_maximum() -> None:
    """Eight runs hammered a hub that answered 429, every second."""
    policy = Backoff()
    assert [backoff(policy, k, 0.5) for k in range(1, 8)] == [30, 60, 120, 240, 480, 900, 900]
    assert backoff(policy, 10_000, 0.5) == 900


@pytest.mark.parametrize("roll, share", [(0.0, 0.5), (0.5, 1.0), (0.999999, 1.5)])
def test_jitter_stays_within_its_bounds(roll: float, share: float) -> None:
    """All runs of a campaign came back in the same second, and fell in the same second."""
    assert backoff(Backoff(), 1, roll) == pytest.approx(30 * share, rel=1e-5)
    tale = Tale()
    tale.fail("nccl.timeout", roll=roll)
    assert tale.delay == pytest.approx(30 * share, rel=1e-5)


def test_the_backoff_begins_anew_after_an_advance() -> None:
    """A run that had failed six times a month ago waited fifteen minutes after each new hang."""
    tale = Tale()
    tale.fail("nccl.timeout", step=100)
    tale.fail("nccl.timeout", step=100)
    assert tale.delay == pytest.approx(60.0)
    tale.fail("nccl.timeout", step=300)
    assert tale.delay == pytest.approx(30.0)


def test_time_across_a_reboot_is_the_wall_clocks() -> None:
    """After a reboot the monotonic clock begins at zero: an outage of three hours looked like none."""
    rebooted = Moment(5.0, at(7300).wall, "another boot")
    assert elapsed(at(0), rebooted) == pytest.approx(7300.0)
    assert elapsed(rebooted, at(0)) == 0.0


def test_proven_done_and_hung_in_teardown_is_no_failure() -> None:
    """A finished training whose interpreter would not exit was trained a second time."""
    tale = Tale()
    tale.begin()
    tale.end(code=137, stopped="request")
    tale.verify("teardown.hung")
    assert tale.state == RunState.SUCCEEDED
    assert "teardown.hung" in tale.run.flags


def test_hours_of_work_without_markers_end_an_outage() -> None:
    """A trainer that prints no step trained three hours between two network faults and was final at the second."""
    tale = Tale(retrying(outage=7200.0))
    tale.fail("network")
    tale.begin()
    tale.end(seconds=3 * 3600.0)
    tale.verify("network", Vitals(started_moving=True, lines=5000))
    assert tale.state == RunState.WAITING
    assert tale.run.budget.outage_since == tale.now


def test_data_whose_mount_may_be_late_get_one_more_try() -> None:
    """The automounter took a minute: a whole sweep failed for good at its first row."""
    tale = Tale()
    tale.fail("data.missing", flags=("mount.late",))
    assert tale.state == RunState.WAITING
    tale.fail("data.missing", flags=("mount.late",))
    assert tale.state == RunState.FAILED
    never = Tale()
    never.fail("data.missing", flags=("gpu.shared",))  # that is another class's second chance
    assert never.state == RunState.FAILED


def test_another_failure_ends_an_outage() -> None:
    """Out of reach at midnight, a collective's timeout at three, out of reach at five: not one outage of five hours."""
    tale = Tale(retrying(outage=7200.0, max_attempts=4))
    tale.fail("network")
    for name in ("nccl.timeout", "network"):
        tale.begin()
        tale.seconds += 3 * 3600
        tale.end()
        tale.verify(name)
    assert tale.state == RunState.WAITING


def test_a_preemption_does_not_end_an_outage() -> None:
    """The machine was taken back in the middle of it: the hub was as far away as before."""
    tale = Tale(retrying(outage=7200.0))
    tale.fail("network")
    tale.fail("preempted")
    tale.begin()
    tale.seconds += 7200
    tale.end()
    tale.verify("network")
    assert tale.state == RunState.FAILED


def test_a_paused_attempts_mark_counts() -> None:
    """Paused at step 500, resumed from 400, failed at 450: no advance, and the budget was refilled all the same."""
    tale = Tale(retrying(max_attempts=3))
    tale.fail("nccl.timeout", step=100)
    tale.begin()
    tale.step(PauseRequested(tale.now, "ann"))
    tale.end(stopped="request")
    tale.verify("unknown", Vitals(step=500, first_step=0))
    assert tale.state == RunState.PENDING and tale.run.budget.best == 500
    counted = tale.run.budget.counted
    tale.fail("nccl.timeout", step=450)
    assert tale.run.budget.counted == counted + 1
