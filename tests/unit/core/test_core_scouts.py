"""Scouts, rule by rule: which failures are alike, which row goes, how often, and what lets all go."""

import pytest
from core_world import a_campaign, at
from hypothesis import given, settings
from hypothesis import strategies as st

from overnight.core import plan, scouts
from overnight.core.campaigns import learn
from overnight.core.result import Finished, Rooted
from overnight.model.campaign import Campaign
from overnight.model.classes import CLASSES, Classification
from overnight.model.codec import replace
from overnight.model.manifest import RunSpec
from overnight.model.policy import Policy
from overnight.model.run import Vitals


def rooted(campaign: Campaign, *run_ids: str, key: str = "code:KeyError", seconds: float = 5.0,
           step: float | None = None) -> Campaign:  # fmt: skip
    """These runs have failed with it."""
    for run_id in run_ids:
        name, _, message = key.partition(":")
        campaign, _ = learn(campaign, Rooted(run_id, key, name, message, at(100), seconds, step))
    return campaign


def begun(**counts: int) -> Campaign:
    """A campaign with runs that still wait."""
    return a_campaign(counts={"pending": 9, **counts})


def held() -> Campaign:
    return rooted(begun(), "a", "b", "c")


@pytest.mark.parametrize("name", list(CLASSES))
def test_only_what_will_not_pass_by_itself_is_a_root(name: str) -> None:
    """Three network errors before the first success are the network's, not the program's."""
    root = scouts.root_of(Classification(name, message="m", about="m"))
    assert (root is not None) is (name in {"config", "code", "import", "oom.gpu"})


def test_alike_is_the_same_message_and_for_gpu_memory_any() -> None:
    """Three out-of-memory errors that each name another number of bytes are alike; two KeyErrors need not be."""
    assert scouts.root_of(Classification("code", about="KeyError: 'a'")) != scouts.root_of(
        Classification("code", about="KeyError: 'b'")
    )
    assert scouts.root_of(Classification("oom.gpu", message="2 GiB")) == scouts.root_of(
        Classification("oom.gpu", message="3 GiB")
    )


def test_three_distinct_runs_hold_the_campaign() -> None:
    """One run that a person retried three times is one run."""
    assert rooted(begun(), "a", "a", "a", "b").hold is None
    campaign = held()
    assert campaign.hold is not None and campaign.hold.due == at(160)


@pytest.mark.parametrize(
    "campaign",
    [
        begun(succeeded=1),
        replace(begun(), proven=True),
        replace(begun(), cancelling="ann"),
        replace(begun(), policy=Policy(fail_fast=True)),
        a_campaign(counts={"failed": 2, "succeeded": 0}),
    ],
)
def test_where_nothing_is_to_be_found_out_nothing_is_held(campaign: Campaign) -> None:
    """What worked once works, and what is over needs no scouts."""
    assert rooted(campaign, "a", "b", "c").hold is None


def test_a_campaign_on_hold_starts_a_scout_at_a_time() -> None:
    """Eight free GPUs were eight scouts at once."""
    campaign = replace(held(), policy=Policy(resources=replace(Policy().resources, slots=8)))
    assert plan.room(plan.Standing(campaign, 0, 50, scout=False)) == 0
    assert plan.room(plan.Standing(campaign, 0, 50, scout=True)) == 1
    assert plan.room(plan.Standing(campaign, 8, 50, scout=True)) == 0
    assert not scouts.due(campaign, at(159)) and scouts.due(campaign, at(160))


def test_the_waits_double_to_an_hour() -> None:
    """1, 2, 4 … minutes, at most 60."""
    campaign, waits = held(), []
    for _ in range(9):
        campaign = scouts.started(campaign, at(0))
        assert campaign.hold is not None
        waits.append((campaign.hold.due.mono - at(0).mono) / 60)
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_the_first_success_lets_all_go_for_good() -> None:
    """After the first success three bad rows were taken for the end again."""
    campaign, words = learn(held(), Finished(1.0, 1.0, 10.0))
    assert campaign.hold is None and campaign.roots == {} and campaign.proven
    assert words == "the first run has succeeded: all runs go on, no more scouts"
    assert rooted(campaign, "a", "b", "c").hold is None


def test_a_person_lets_all_go_until_three_more_fail_alike() -> None:
    """The mend did not mend: the rest of the sweep failed behind a person's back."""
    campaign, words = scouts.let_go(held(), "ann let them go on")
    assert campaign.hold is None and words is not None
    assert rooted(campaign, "d", "e").hold is None
    assert rooted(campaign, "d", "e", "f").hold is not None
    assert scouts.let_go(begun(), "nothing was held") == (begun(), None)


@pytest.mark.parametrize(
    ("vitals", "running", "past"),
    [
        (Vitals(), 59.0, False),
        (Vitals(), 61.0, True),  # they ended after 5 s each
        (Vitals(step=3, first_step=0), 2.0, True),  # none of them had made a step
        (Vitals(step=0, first_step=0), 2.0, False),
        (Vitals(step=500, first_step=500), 2.0, False),  # resumed: no step of its own yet
    ],
)
def test_well_past_where_the_others_failed(vitals: Vitals, running: float, past: bool) -> None:
    """The proof by success took nine hours on one GPU of eight; a proof by a banner line was none."""
    assert scouts.got_past(held(), vitals, running) is past


def test_past_a_failure_after_hours_takes_more_than_hours() -> None:
    """All failed at their first evaluation, after an hour; a scout at its fiftieth minute proves nothing."""
    campaign = rooted(begun(), "a", "b", "c", seconds=3600.0, step=1000.0)
    assert not scouts.got_past(campaign, Vitals(step=900, first_step=0), 3000.0)
    assert scouts.got_past(campaign, Vitals(step=1001, first_step=0), 3700.0)
    assert scouts.got_past(campaign, Vitals(), 7201.0)
    assert not scouts.got_past(begun(), Vitals(step=1001, first_step=0), 7201.0)


# --- which row ---------------------------------------------------------------------------------------------


def spec(run_id: str, **params: str) -> RunSpec:
    return RunSpec(run_id, {"run_id": run_id, **params})


def test_the_row_that_differs_in_most_columns_from_the_nearest_failed_one() -> None:
    """Next in file order has the same model, and fails like the three before."""
    failed = [spec("a", model="x", lr="1", seed="0"), spec("b", model="x", lr="1", seed="1")]
    rows = [
        spec("c", model="x", lr="1", seed="2"),
        spec("d", model="x", lr="2", seed="0"),
        spec("e", model="y", lr="2", seed="0"),
        spec("f", model="y", lr="2", seed="3"),
    ]
    assert scouts.most_different(rows, failed) == 3
    assert scouts.most_different(rows[:2], failed) == 0  # both in one column; a seed nobody had; and it comes first


def test_environment_and_gpus_are_columns_and_notes_are_none() -> None:
    """The one row with `@gpus = 2` was the only one that could fit."""
    failed = [spec("a", model="x")]
    other = replace(spec("c", model="x"), env={"HF_HOME": "/mnt"})
    assert scouts.most_different([spec("b", model="x", notes="try me"), other], failed) == 1
    larger = replace(spec("d", model="x"), policy=replace(spec("d").policy, gpus=2))
    assert scouts.most_different([spec("b", model="x"), larger], failed) == 1


@settings(deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3), min_size=1, max_size=8),
    st.lists(st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3), max_size=5),
)
def test_there_is_always_a_row_and_none_is_farther(rows: list[dict[str, str]], failed: list[dict[str, str]]) -> None:
    """Rows without a column in common, or without any, ended the search with an exception."""
    chosen = scouts.most_different([spec(str(i), **row) for i, row in enumerate(rows)],
                                   [spec(str(i), **row) for i, row in enumerate(failed)])  # fmt: skip

    def nearest(row: dict[str, str]) -> int:
        return min((sum(row.get(c) != other.get(c) for c in "abc") for other in failed), default=0)

    assert all(nearest(rows[chosen]) >= nearest(row) for row in rows)
