"""Scouts on the real loop: three that fail alike before anything has succeeded, and what is tried then."""

from itertools import pairwise

import pytest
from story import AUTH, CODE_ERROR, IMPORT, POLICY, Story, rows

from overnight.model import requests as r
from overnight.model.codec import replace
from overnight.model.manifest import Frozen
from overnight.model.policy import Resources
from overnight.model.states import CampaignState, RunState
from overnight.testing.simulator import Faults

FOUR = replace(POLICY, resources=Resources(slots=4))
EVERY = {"run": "*"}


def sweep(runs: int, *rules: dict[str, object], models: str = "ab", seconds: float = 20) -> Frozen:
    """Rows whose `model` changes slowest, as in a grid; and a `seed`."""
    plain = rows(runs, *rules, policy=FOUR, seconds=seconds)
    share = -(-runs // len(models))
    specs = tuple(
        replace(spec, params={"model": models[i // share], "seed": str(i % share)}) for i, spec in enumerate(plain.runs)
    )
    return replace(plain, runs=specs)


def scouts(story: Story) -> list[str]:
    """The runs that went as scouts, in order."""
    return [words.split()[0] for words in reversed(story.said("goes as a scout"))]


def test_a_bug_of_all_rows_costs_three_runs_and_a_few_scouts() -> None:
    """A typing error in the trainer failed 96 of 96 runs by midnight, each for itself."""
    story = Story(sweep(40, {**EVERY, "exit_code": CODE_ERROR}))
    story.seconds(30 * 60)
    failed = story.counts["failed"]
    assert 4 <= failed <= 4 + 5  # four side by side, scouts after 1, 2, 4, 8, 16 minutes
    assert len(story.said("failed alike before anything succeeded: code")) == 1
    assert story.state == CampaignState.ACTIVE
    hold = story.record.hold
    assert hold is not None and hold.scouts == failed - 4


def test_scouts_come_after_one_two_four_minutes_and_at_most_an_hour_apart() -> None:
    """Scouts without a pause between them are the 96 failures again."""
    story = Story(sweep(40, {**EVERY, "exit_code": CODE_ERROR}))
    story.seconds(8 * 3600)
    tried = [run for run in story.runs.values() if run.attempts and run.run_id in scouts(story)]
    starts = sorted(run.attempts[0].planned.mono for run in tried)
    gaps = [round((b - a) / 60) for a, b in pairwise(starts)]
    assert gaps[:6] == [2, 4, 8, 16, 32, 60] and set(gaps[6:]) == {60}


def test_the_scout_is_the_row_that_differs_most() -> None:
    """The next row in file order has the same broken model; the one that can tell stands at the end."""
    story = Story(sweep(40, {"run": "r?", "exit_code": CODE_ERROR}, {"run": "r1?", "exit_code": CODE_ERROR}))
    story.until(lambda: bool(scouts(story)))
    (first,) = scouts(story)
    assert int(first[1:]) >= 20  # of the other model


def test_the_first_success_lets_all_go() -> None:
    """One model of two was broken: the other's twenty runs were not to wait for the morning."""
    broken = [{"run": f"r{i}", "exit_code": CODE_ERROR} for i in range(20)]
    story = Story(sweep(40, *broken))
    story.end()
    assert story.counts == {"failed": 20, "succeeded": 20}
    assert len(scouts(story)) == 1 and len(story.said("the first run has succeeded: all runs go on")) == 1
    assert story.record.hold is None and story.record.roots == {}


def test_a_success_before_means_no_scouts() -> None:
    """What worked once works: failures of single rows are their own."""
    story = Story(sweep(12, {"run": "r[1-9]", "exit_code": CODE_ERROR, "seconds": 30.0}))
    story.end()
    assert story.said("failed alike") == []


def test_a_run_well_past_where_they_failed_lets_all_go_before_it_succeeds() -> None:
    """The first success took nine hours, in which seven of eight GPUs did nothing."""
    rules = [{"run": "r[0-2]", "exit_code": CODE_ERROR}, {"run": "*", "seconds": 9 * 3600.0}]
    story = Story(sweep(12, rules[1], {**rules[0], "seconds": 20.0}))
    story.until(lambda: bool(story.said("failed alike")))
    begun = story.simulation.clock.mono
    story.until(lambda: story.counts.get("running") == 4)
    assert story.simulation.clock.mono - begun < 5 * 60
    assert len(story.said("is well past where the others failed")) == 1
    assert story.record.proven


def test_failures_of_different_kinds_hold_nothing() -> None:
    """Three rows with three faults of their own say nothing of the fourth."""
    kinds = [{"run": f"r{i}", "exit_code": code} for i, code in enumerate((CODE_ERROR, 2, 5))]
    story = Story(sweep(10, *kinds))
    story.end()
    assert story.counts == {"failed": 3, "succeeded": 7}
    assert scouts(story) == []


@pytest.mark.parametrize("verb", ["resume", "retry", "amend", "code"])
def test_a_person_or_other_code_lets_all_go(verb: str) -> None:
    """The bug was mended at once, and the campaign went on trying one row an hour."""
    rule = {**EVERY, "attempt": [1, 2], "exit_code": CODE_ERROR}
    story = Story(sweep(16, rule))
    story.until(lambda: story.record.hold is not None)
    if verb == "resume":
        story.resume()
    elif verb == "retry":
        story.retry("r0")
    elif verb == "amend":
        story.type(r.Amend(*story.who, story.code, story.record.policy))
    else:
        story.simulation.code.digest = "code-2"
        story.until(lambda: bool(story.said("the code changed: all runs go on")))
    assert story.record.hold is None
    story.until(lambda: story.record.hold is not None)  # three more that fail alike hold it anew
    assert len(story.said("failed alike")) == 2


def test_nothing_is_held_where_nothing_is_left() -> None:
    """Three rows, three failures: the campaign is over, and no scout could tell anybody anything."""
    story = Story(sweep(3, {**EVERY, "exit_code": CODE_ERROR}))
    story.end()
    assert story.state == CampaignState.FAILED and story.said("failed alike") == []


def test_every_row_is_tried_in_the_end() -> None:
    """Scouts that ran out of rows left the campaign open for ever."""
    story = Story(sweep(8, {**EVERY, "exit_code": CODE_ERROR}))
    story.end()
    assert story.state == CampaignState.FAILED and story.counts == {"failed": 8}
    assert story.record.hold is None


def test_an_import_is_both_a_cause_in_common_and_a_reason_for_scouts() -> None:
    """A missing module held the runs that had met it; ninety others went on to meet it, too."""
    broken = [{"run": f"r{i}", "exit_code": IMPORT} for i in range(10)]
    story = Story(sweep(20, *broken))
    story.until(lambda: story.record.hold is not None)
    assert story.counts["held"] in (3, 4)
    story.end()
    assert story.counts == {"held": 10, "succeeded": 10}
    assert len(story.said("met the same import")) == 1


def test_a_token_needs_no_scouts() -> None:
    """What a person must mend outside is a cause in common; rows that differ in their parameters would not tell."""
    story = Story(sweep(9, {**EVERY, "exit_code": AUTH}))
    assert {run.state for run in story.end().values()} == {RunState.HELD}
    assert scouts(story) == []


def test_a_paused_campaign_sends_no_scouts() -> None:
    """`pause` starts nothing, whatever is due."""
    story = Story(sweep(16, {**EVERY, "exit_code": CODE_ERROR}))
    story.until(lambda: story.record.hold is not None)
    story.type(r.Pause(*story.who))
    story.seconds(3600)
    assert scouts(story) == []


@pytest.mark.parametrize("seed", range(12))
def test_it_all_survives_a_death_at_any_seam(seed: int) -> None:
    """A hold or a scout that a crash forgot would fail all the rest, or leave them waiting for ever."""
    weather = Faults(0.03, 0.03, 0.02, 0.02, disk_full=0.03, gap=0.01, wall_jump=0.01, reboot=0.002)
    broken = [{"run": f"r{i}", "exit_code": CODE_ERROR} for i in range(10)]
    story = Story(sweep(20, *broken), seed, weather)
    story.end()
    assert story.counts == {"failed": 10, "succeeded": 10}
    assert story.record.hold is None and len(story.said("failed alike before anything succeeded")) == 1
