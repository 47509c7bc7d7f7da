"""A campaign's own state, what its runs teach it, and what starts next."""

import pytest
from core_world import Tale, a_campaign, at

from overnight.core import campaigns, plan
from overnight.core.campaigns import recount, settle, state_of
from overnight.core.result import Failed
from overnight.model.campaign import Device
from overnight.model.classes import Classification
from overnight.model.codec import replace
from overnight.model.policy import Policy, Resources, RowPolicy
from overnight.model.run import Attempt, ExitRecord, Run, Slot
from overnight.model.states import AttemptState, RunState
from overnight.model.states import CampaignState as C


@pytest.mark.parametrize(
    "counts, state",
    [
        ({"pending": 1, "succeeded": 3}, C.ACTIVE),
        ({"running": 1, "held": 1}, C.ACTIVE),
        ({"verifying": 1, "failed": 1}, C.ACTIVE),
        ({"waiting": 1}, C.ACTIVE),
        ({"held": 1, "failed": 2}, C.HELD),
        ({"failed": 1, "cancelled": 1, "succeeded": 9}, C.FAILED),
        ({"cancelled": 1, "succeeded": 9}, C.CANCELLED),
        ({"succeeded": 9}, C.SUCCEEDED),
    ],
)
def test_the_state_is_that_of_its_runs(counts: dict[str, int], state: C) -> None:
    """One held run of fifty kept `--wait` waiting, or one failure ended it early."""
    assert state_of(a_campaign(counts=counts), owing=False) == state


def test_a_paused_campaign_with_nothing_left_is_over() -> None:
    """Paused for ever: the last run had ended after the pause, and `--wait` never returned."""
    campaign = a_campaign(counts={"pending": 1}, paused=True)
    assert state_of(campaign, owing=False) == C.PAUSED
    assert state_of(replace(campaign, counts={"succeeded": 1}), owing=False) == C.SUCCEEDED


def test_it_is_not_over_while_files_are_owed() -> None:
    """`--wait` returned, and the last summary.json was not there yet."""
    campaign = a_campaign(counts={"succeeded": 2})
    assert state_of(campaign, owing=True) == C.ACTIVE
    assert settle(campaign, True, at(9)) is campaign
    ended = settle(campaign, False, at(9))
    assert (ended.state, ended.ended) == (C.SUCCEEDED, at(9))


def test_a_campaign_that_is_over_can_begin_again() -> None:
    """`retry` of a fail_fast campaign started nothing: it was still being cancelled."""
    campaign = a_campaign(counts={"failed": 1, "cancelled": 1}, cancelling="fail_fast: r0 failed")
    over = settle(campaign, False, at(5))
    assert (over.state, over.cancelling) == (C.FAILED, "")
    again = settle(replace(over, counts={"pending": 1, "cancelled": 1}), False, at(6))
    assert (again.state, again.ended) == (C.ACTIVE, None)


def test_counts_follow_each_move_and_leave_zeros_out() -> None:
    """Counts that drift are a campaign that never ends."""
    counts = recount({}, None, RunState.PENDING)
    counts = recount(counts, RunState.PENDING, RunState.RUNNING)
    assert counts == {"running": 1}
    assert recount(counts, RunState.RUNNING, RunState.RUNNING) == {"running": 1}


def test_fail_fast_stops_the_rest_once() -> None:
    """`fail_fast` is a choice: without it one failure never stops the others."""
    plain, words = campaigns.learn(a_campaign(), Failed("r3"))
    assert (plain.cancelling, words) == ("", None)
    fast, words = campaigns.learn(a_campaign(Policy(fail_fast=True)), Failed("r3"))
    assert words is not None and "r3" in words and fast.cancelling == words
    assert campaigns.learn(fast, Failed("r4")) == (fast, None)
    assert plan.room(plan.Standing(replace(fast, devices=()), 0, 5)) == 0


def test_a_retry_to_come_is_no_failure_yet() -> None:
    """fail_fast cancelled the campaign at a hang that the run recovered from."""
    tale = Tale(Policy(fail_fast=True))
    tale.fail("nccl.timeout")
    assert tale.campaign.cancelling == ""
    tale.fail("config")
    assert tale.campaign.cancelling != ""


def test_what_may_start_is_bounded_by_slots_and_queue() -> None:
    """Nine attempts on eight GPUs."""
    two = a_campaign(Policy(resources=Resources(slots=2)))
    assert [plan.room(plan.Standing(two, live, queued)) for live, queued in ((0, 9), (1, 9), (2, 9), (3, 9), (0, 1))] \
        == [2, 1, 0, 0, 1]  # fmt: skip
    assert plan.room(plan.Standing(replace(two, paused=True), 0, 9)) == 0


@pytest.mark.parametrize(
    "gpus, slots, expected",
    [(1, None, 8), (2, None, 4), (3, None, 2), (0.5, None, 16), (8, 3, 1), (1, 3, 3), (9, None, 0)],
)
def test_slots_by_devices(gpus: float, slots: int | None, expected: int) -> None:
    """An eighth of a GPU and eight GPUs are both a slot."""
    campaign = a_campaign(Policy(resources=Resources(gpus=gpus, slots=slots)))
    assert replace(campaign, devices=tuple(Device(str(i)) for i in range(8))).slots == expected
    assert a_campaign().slots == 1


def test_campaigns_start_in_the_order_of_their_launch() -> None:
    """The campaign launched last took every slot that came free."""
    late = replace(a_campaign(), id="a-late", created=at(50))
    early = replace(a_campaign(), id="z-early", created=at(10))
    idle = replace(a_campaign(), id="idle")
    standings = [plan.Standing(late, 0, 1), plan.Standing(idle, 0, 0), plan.Standing(early, 0, 1)]
    assert [s.campaign.id for s in plan.order(standings)] == ["z-early", "a-late"]


def test_a_row_may_ask_for_other_gpus() -> None:
    """`@gpus` of one row was the campaign's number for all."""
    assert plan.gpus_of(a_campaign(), RowPolicy(gpus=4)) == 4
    assert plan.gpus_of(a_campaign(gpus=2), RowPolicy()) == 1


def test_classes_and_gpu_seconds_follow_the_runs() -> None:
    """campaign.json is what a dashboard polls without the database: a retried failure must leave its class there."""
    campaign = a_campaign(gpus=2)
    slot = Slot("gpu:0", ("gpu-a",), ("0",))
    attempt = Attempt(1, 1, AttemptState.ENDED, 1, slot, at(0), exit=ExitRecord(code=1, seconds=100.0))
    running = Run("bat-1", "r0", 0, RunState.RUNNING, attempts=(replace(attempt, state=AttemptState.RUNNING),))
    failed = Run("bat-1", "r0", 0, RunState.FAILED, attempts=(attempt,), failure=Classification("code"))
    after = campaigns.moved(replace(campaign, counts={"running": 1}), running, failed)
    assert (after.counts, after.classes) == ({"failed": 1}, {"code": 1})
    assert (after.gpu_useful, after.gpu_lost) == (0.0, 100.0)
    again = campaigns.moved(after, failed, replace(failed, state=RunState.PENDING, failure=None, epoch=2))
    assert (again.counts, again.classes) == ({"pending": 1}, {})
