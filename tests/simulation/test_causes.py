"""The shared-cause hold on the real loop: what is held, what goes on, what lets it go."""

import pytest
from story import AUTH, AWS, IMPORT, MISSING, NETWORK, POLICY, Story, rows

from overnight.model import requests as r
from overnight.model.codec import replace
from overnight.model.policy import RetryPolicy
from overnight.model.states import CampaignState, RunState
from overnight.testing.simulator import Faults
from overnight.testing.world import SHELL

WEATHER = Faults(0.03, 0.03, 0.02, 0.02, disk_full=0.03, gap=0.01, wall_jump=0.01, reboot=0.002)
EVERY = {"run": "*"}


def test_one_bad_token_holds_every_run_and_says_so_once() -> None:
    """A token that had run out at midnight failed ninety-six runs, each with a line of its own in the morning."""
    story = Story(rows(12, {**EVERY, "exit_code": AUTH}))
    runs = story.end()
    assert story.state == CampaignState.HELD
    assert {(run.state, run.cause) for run in runs.values()} == {(RunState.HELD, "auth")}
    assert [len(run.attempts) for run in runs.values()] == [1] * 12
    assert not any(a.counted for run in runs.values() for a in run.attempts)
    assert len(story.said("met the same auth (hub.example)")) == 1
    (cause,) = story.record.causes.values()
    assert (len(cause.runs), cause.size, cause.due) == (3, 12, None)
    assert not story.simulation.cures.asked


def test_resume_lets_all_of_them_go_and_costs_them_nothing() -> None:
    """After the token was renewed, each run had one attempt less than the person had given it."""
    story = Story(rows(8, {**EVERY, "attempt": 1, "exit_code": AUTH}))
    story.end()
    story.resume()
    runs = story.end()
    assert story.state == CampaignState.SUCCEEDED
    assert all(run.budget.counted == 0 and len(run.attempts) == 2 for run in runs.values())
    assert story.record.causes == {} or all(not cause.size for cause in story.record.causes.values())


def test_the_others_go_on() -> None:
    """A cause of three runs that stopped ninety-three others was worse than none at all."""
    story = Story(rows(10, {"run": "r[0-4]", "exit_code": AUTH}))
    runs = story.end()
    assert {name for name, run in runs.items() if run.state == RunState.HELD} == {f"r{i}" for i in range(5)}
    assert {run.state for name, run in runs.items() if name > "r4"} == {RunState.SUCCEEDED}


@pytest.mark.parametrize("many", [1, 2])
def test_too_few_runs_prove_nothing_and_fail(many: int) -> None:
    """One gated repository in one row is that row's failure: nobody is to wait for a proof that cannot come."""
    story = Story(rows(6, *({"run": f"r{i}", "exit_code": AUTH} for i in range(many))))
    runs = story.end()
    assert story.state == CampaignState.FAILED
    for i in range(many):
        run = runs[f"r{i}"]
        assert run.state == RunState.FAILED and run.failure is not None and run.failure.name == "auth"
        assert run.attempts[-1].counted
    assert story.record.causes == {}


@pytest.mark.parametrize("size", [1, 2])
def test_a_campaign_of_one_or_two_rows_fails_at_once(size: int) -> None:
    """A single run that fails by its token must not be held for company."""
    story = Story(rows(size, {**EVERY, "exit_code": AUTH}))
    assert {run.state for run in story.end().values()} == {RunState.FAILED}
    assert story.said("met the same") == []


def test_three_rows_are_enough() -> None:
    """The smallest proof: the last run of the campaign is the third prover."""
    story = Story(rows(3, {**EVERY, "exit_code": AUTH}))
    assert {run.state for run in story.end().values()} == {RunState.HELD}


def test_two_causes_at_once_are_held_and_let_go_apart() -> None:
    """Two broken things in one night, one of them mended: its runs go on, the others stay."""
    rules = [
        {"run": "r[0-3]", "attempt": 1, "exit_code": MISSING},
        {"run": "r[4-7]", "exit_code": AUTH},
    ]
    story = Story(rows(9, *rules))
    story.end()
    assert sorted(story.record.causes) == ["auth:hub.example", "data.missing:/data/set"]
    story.simulation.cures.cures.add("/data/set")
    story.until(lambda: story.counts == {"succeeded": 5, "held": 4})
    assert len(story.said("is cured (")) == 1
    story.simulation.cures.cures.add("hub.example")  # nothing of the kind shows that a token is good
    story.seconds(3600)
    assert story.counts == {"succeeded": 5, "held": 4}
    assert all(order.name == "data.missing" for order in story.simulation.cures.asked)


def test_two_services_are_two_causes() -> None:
    """Two refusals by one service and one by another are no proof of anything in common."""
    story = Story(rows(4, {"run": "r0", "exit_code": AUTH}, {"run": "r1", "exit_code": AUTH},
                       {"run": "r2", "exit_code": AWS}))  # fmt: skip
    assert {run.state for name, run in story.end().items() if name < "r3"} == {RunState.FAILED}


def test_a_probe_asks_less_and_less_often_and_gives_up_after_a_day() -> None:
    """A probe every second of a weekend was an attack on the file server that was down."""
    story = Story(rows(3, {**EVERY, "exit_code": MISSING}))
    story.end()
    story.seconds(3600)
    asked = len(story.simulation.cures.asked)
    assert 8 <= asked <= 20
    story.seconds(25 * 3600)
    (cause,) = story.record.causes.values()
    assert cause.due is None and len(story.said("probed in vain for 24 h")) == 1
    last = len(story.simulation.cures.asked)
    story.seconds(3600)
    assert len(story.simulation.cures.asked) == last


def test_a_cure_that_does_not_last_is_a_persons_in_the_end() -> None:
    """The path was there and its data were not: let go, failed, held, let go … all night long."""
    story = Story(rows(3, {**EVERY, "exit_code": MISSING}))
    story.simulation.cures.cures.add("/data/set")
    story.until(lambda: any(c.held is not None and c.due is None and not c.freed for c in story.record.causes.values()))
    assert all(len(run.attempts) == 4 for run in story.runs.values())
    assert story.state == CampaignState.HELD


def test_an_outage_counts_once_it_has_lasted_ten_minutes() -> None:
    """Ten runs met a hub that was down for a minute: nothing is to be held for that."""
    story = Story(rows(6, {**EVERY, "attempt": [1, 2], "exit_code": NETWORK}))
    assert {run.state for run in story.end().values()} == {RunState.SUCCEEDED}
    assert story.said("met the same") == []


def test_a_long_outage_is_held_and_the_probe_lets_all_go() -> None:
    """The hub was down for five hours: every run had used up its two hours of patience by then."""
    story = Story(rows(8, {**EVERY, "attempt": list(range(1, 9)), "exit_code": NETWORK}))
    story.until(lambda: story.counts == {"held": 8})
    assert len(story.said("met the same network (hub.example)")) == 1
    story.seconds(5 * 3600)
    assert story.counts == {"held": 8}
    begun = {name: story.begun(name) for name in story.runs}
    assert max(begun.values()) < 12
    story.simulation.cures.cures.add("hub.example")
    runs = story.end() if story.state != CampaignState.HELD else story.runs
    story.until(lambda: story.counts == {"succeeded": 8})
    runs = story.runs
    assert all(run.budget.counted == 0 for run in runs.values())


def test_a_run_cancelled_or_retried_while_held_leaves_the_cause() -> None:
    """A cause that went on counting a run which a person had cancelled could never be over."""
    story = Story(rows(5, {**EVERY, "attempt": 1, "exit_code": AUTH}))
    story.end()
    story.cancel("r0")
    amend = r.Amend(*story.who, story.code, dropped=("r0", "r1"))
    story.type(amend)
    answer = story.simulation.store.answer(amend.id)
    assert answer is not None and answer.details == ("ended before, and left as it is: r0", "dropped: r1")
    story.retry("r2")
    story.until(lambda: story.counts == {"cancelled": 2, "succeeded": 3})
    assert len(story.said("r2, which had met it, succeeded")) == 1  # then nothing holds the others
    assert story.runs["r2"].epoch == 2


def test_one_run_that_is_resumed_alone_tries_for_all() -> None:
    """`resume CAMPAIGN RUN` to see whether the new token works let all ninety go, of which each failed again."""
    story = Story(rows(5, {**EVERY, "attempt": 1, "exit_code": AUTH}, {"run": "r0", "attempt": 2, "exit_code": AUTH}))
    story.end()
    story.resume("r0")
    story.until(lambda: len(story.runs["r0"].attempts) == 2 and story.counts == {"held": 5})
    story.resume("r1")
    story.until(lambda: story.counts == {"succeeded": 5})
    assert [len(run.attempts) for run in story.runs.values()] == [3, 2, 2, 2, 2]


def test_a_waiting_prover_that_is_cancelled_proves_nothing() -> None:
    """Two runs and one that a person had dropped were taken for three."""
    slow = {"run": "r[2-3]", "seconds": 500.0}
    story = Story(rows(4, {"run": "r[0-2]", "exit_code": AUTH}, slow))
    story.until(lambda: story.counts.get("held") == 2)
    story.cancel("r0")
    runs = story.end()
    assert {name: run.state for name, run in runs.items()} == {
        "r0": RunState.CANCELLED, "r1": RunState.FAILED, "r2": RunState.FAILED, "r3": RunState.SUCCEEDED,
    }  # fmt: skip


def test_a_cause_is_cured_while_attempts_from_before_still_end() -> None:
    """The disk was freed at three; an attempt that had begun at two and ended at four held the campaign again."""
    rules = [{"run": "r[0-2]", "attempt": 1, "exit_code": MISSING, "seconds": 10.0},
             {"run": "r3", "attempt": 1, "exit_code": MISSING, "seconds": 900.0}]  # fmt: skip
    story = Story(rows(4, *rules, policy=replace(POLICY, resources=replace(POLICY.resources, slots=4))))
    story.until(lambda: story.counts.get("held") == 3)
    story.simulation.cures.cures.add("/data/set")
    story.until(lambda: story.counts == {"succeeded": 4})
    late = story.runs["r3"]
    assert [a.counted for a in late.attempts] == [False, True]
    assert len(story.said("met the same")) == 1


def test_resume_of_what_has_failed_names_retry() -> None:
    """A person typed `resume` in the morning, read "nothing was paused or held", and knew no further."""
    story = Story(rows(1, {**EVERY, "attempt": 1, "exit_code": AUTH}))
    assert {run.state for run in story.end().values()} == {RunState.FAILED}
    request = r.Resume(*story.who, SHELL, story.code)
    story.type(request)
    answer = story.simulation.store.answer(request.id)
    assert answer is not None and str(answer.hint).startswith(f"overnight retry {story.record.id}")


def test_fail_fast_fails_at_the_first() -> None:
    """`fail_fast` asked for the end at the first failure, not for a proof by three."""
    story = Story(rows(6, {**EVERY, "exit_code": AUTH}, policy=replace(POLICY, fail_fast=True)))
    assert {run.state for run in story.end().values()} <= {RunState.FAILED, RunState.CANCELLED}


def test_changed_code_lets_an_import_go_and_no_token() -> None:
    """The missing import was mended by an edit: nothing said that a person had to resume besides."""
    rules = [{"run": "r[0-2]", "attempt": 1, "exit_code": IMPORT}, {"run": "r[3-5]", "exit_code": AUTH}]
    story = Story(rows(7, *rules))
    story.end()
    story.simulation.code.digest = "code-2"
    story.until(lambda: story.counts == {"succeeded": 4, "held": 3})


def test_a_changed_environment_lets_a_token_go() -> None:
    """`amend --env` brought the new token; the runs that had wanted it stayed where they were."""
    story = Story(rows(5, {**EVERY, "attempt": 1, "exit_code": AUTH}))
    story.end()
    story.type(r.Amend(*story.who, story.code, shell=SHELL))
    story.until(lambda: story.counts == {"succeeded": 5})


def test_rows_that_are_added_later_may_give_the_proof() -> None:
    """The judgement of two runs waits for rows that came by `amend` in the meantime."""
    story = Story(rows(4, {"run": "r[0-1]", "exit_code": AUTH}, {"run": "r[2-3]", "seconds": 300.0},
                       {"run": "late", "exit_code": AUTH}))  # fmt: skip
    story.until(lambda: story.counts.get("held") == 2)
    story.type(r.Amend(*story.who, story.code, added=(replace(story.what.runs[0], run_id="late"),)))
    story.until(lambda: story.counts == {"held": 3, "succeeded": 2})


def test_the_classs_own_tries_come_first() -> None:
    """`[retry.class] auth = 1`: the second refusal is the final one, and it counts once for the proof."""
    policy = replace(POLICY, retry=replace(POLICY.retry, by_class={"auth": 1}))
    story = Story(rows(4, {**EVERY, "exit_code": AUTH}, policy=policy))
    runs = story.end()
    assert {run.state for run in runs.values()} == {RunState.HELD}
    assert {len(run.attempts) for run in runs.values()} == {2}


@pytest.mark.parametrize("seed", range(16))
def test_it_all_survives_a_death_at_any_seam(seed: int) -> None:
    """Held, proven, probed, swept and judged are states: a supervisor that dies between any two of them goes on."""
    rules = [{"run": "r[0-5]", "attempt": 1, "exit_code": MISSING}, {"run": "r6", "exit_code": AUTH}]
    policy = replace(POLICY, retry=RetryPolicy(backoff=POLICY.retry.backoff))
    story = Story(rows(10, *rules, policy=policy), seed, WEATHER)
    story.until(lambda: all(any(a.classification for a in story.runs[f"r{i}"].attempts) for i in range(6)), 200_000)
    story.simulation.cures.cures.add("/data/set")
    story.until(lambda: story.counts == {"succeeded": 9, "failed": 1}, 200_000)
    story.until(lambda: story.state == CampaignState.FAILED, 200_000)
    story.simulation.agree(story.what)
    assert story.runs["r6"].failure is not None
    assert all(not cause.size and not cause.freed for cause in story.record.causes.values())
