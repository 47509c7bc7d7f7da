"""Causes in common, rule by rule: what names one, what proves one, whom it holds, what lets it go."""

import pytest
from core_world import Tale, a_campaign, at, retrying

from overnight.core import causes
from overnight.core.campaigns import learn
from overnight.core.result import Overcome, Shown
from overnight.model import events as e
from overnight.model.campaign import Campaign, Cause
from overnight.model.classes import CLASSES, Classification
from overnight.model.codec import from_json, replace, to_json
from overnight.model.policy import Policy
from overnight.model.states import RunState

AUTH = "auth:hub"


def shown(campaign: Campaign, *run_ids: str, key: str = AUTH, proves: bool = True, seconds: float = 0) -> Campaign:
    """These runs have shown a cause."""
    name, _, about = key.partition(":")
    for run_id in run_ids:
        campaign, _ = learn(campaign, Shown(run_id, key, name, about, "401", at(seconds), proves))
    return campaign


@pytest.mark.parametrize("name", list(CLASSES))
def test_only_shareable_classes_have_a_key(name: str) -> None:
    """An ordinary exception of three runs is no cause in common: scouts see to that."""
    key = causes.key_of(Classification(name, about="x"))
    assert (key is not None) is CLASSES[name].shareable


def test_a_key_needs_a_subject_where_there_can_be_several() -> None:
    """Three resets by three peers that nobody named were one dead network."""
    assert causes.key_of(Classification("network")) is None
    assert causes.key_of(Classification("network", about="hub")) == "network:hub"
    assert causes.key_of(Classification("gpu.driver")) == "gpu.driver"


@pytest.mark.parametrize(
    ("name", "final", "lasted", "expected"),
    [
        ("auth", True, None, True),
        ("auth", False, None, False),  # it is tried again: not proven by this one
        ("data.missing", False, None, False),
        ("network", False, 599.0, False),
        ("network", False, 600.0, True),
        ("network", True, None, True),
        ("gpu.driver", False, None, False),
    ],
)
def test_what_counts_for_the_proof(name: str, final: bool, lasted: float | None, expected: bool) -> None:
    """An outage of a minute, met by three runs at once, held the campaign until somebody woke up."""
    since = None if lasted is None else at(1000 - lasted)
    assert causes.proves(Classification(name, about="x"), final, since, at(1000)) is expected


def test_three_distinct_runs_prove_and_the_same_one_thrice_does_not() -> None:
    """One run, retried by a person three times, held everybody."""
    campaign = shown(a_campaign(), "a", "a", "a", "b")
    assert campaign.causes[AUTH].held is None and campaign.causes[AUTH].runs == ("a", "b")
    campaign, words = learn(campaign, Shown("c", AUTH, "auth", "hub", "401", at(9), True))
    assert campaign.causes[AUTH].held == at(9)
    assert words is not None and "a, b, c met the same auth (hub): 401" in words
    assert words.endswith("To do: renew the token or ask for access; then: overnight resume bat-1")
    again, nothing = learn(campaign, Shown("d", AUTH, "auth", "hub", "401", at(10), True))
    assert nothing is None and again.causes[AUTH].runs == ("a", "b", "c")


def test_a_run_that_went_another_way_proves_nothing_any_more() -> None:
    """Two runs and one that had got over it at midnight were taken for three at four."""
    campaign = shown(a_campaign(), "a", "b")
    campaign, _ = learn(campaign, Overcome("a", at(5)))
    campaign = shown(campaign, "c")
    assert campaign.causes[AUTH].held is None
    assert shown(campaign, "d").causes[AUTH].held is not None


def test_what_does_not_prove_leaves_no_record() -> None:
    """Each of a thousand short outages left a line in the campaign's record."""
    assert shown(a_campaign(), "a", proves=False, key="network:x").causes == {}


def test_the_record_is_bounded() -> None:
    """A hundred thousand rows, each with a missing path of its own, made a record of twenty megabytes."""
    campaign = a_campaign(counts={"pending": 10})
    for n in range(3 * causes.MOST):
        campaign = shown(campaign, f"r{n}", key=f"data.missing:/x/{n}")
    assert len(campaign.causes) <= causes.MOST
    full = {f"data.missing:/{n}": Cause("data.missing", f"/{n}", "", at(0), ("r",), 1) for n in range(causes.MOST)}
    tale = Tale()
    tale.campaign = replace(tale.campaign, causes=full, counts={"verifying": 1, "pending": 9})
    tale.begin()
    tale.end()
    found = Classification("auth", about="hub")
    tale.step(e.AttemptVerified(tale.now, tale.n, found, tale.run.attempts[-1].vitals))
    assert tale.state == RunState.FAILED  # judged at once: there is no room for one more that waits


# --- one run -----------------------------------------------------------------------------------------------


def verify(tale: Tale, name: str, about: str = "hub") -> None:
    """A whole attempt that ends so, in a campaign where others can still move."""
    tale.begin()
    tale.end()
    tale.campaign = replace(tale.campaign, counts={"verifying": 1, "pending": 9})
    found = Classification(name, "rule", "401", about=about)
    tale.step(e.AttemptVerified(tale.now, tale.n, found, tale.run.attempts[-1].vitals))


def test_a_run_waits_for_judgement_and_is_judged() -> None:
    """Held without an end, a run that nobody could join was forgotten."""
    tale = Tale()
    verify(tale, "auth")
    assert (tale.state, tale.run.cause, tale.run.held_by) == (RunState.HELD, "auth", AUTH)
    assert "2 more distinct runs" in tale.run.words and not tale.run.attempts[-1].counted
    assert tale.step(e.JudgementDue(tale.now, "auth:other")).ignored is not None
    tale.step(e.JudgementDue(tale.now, AUTH))
    assert tale.state == RunState.FAILED and tale.run.failure is not None and tale.run.failure.name == "auth"
    assert tale.run.attempts[-1].counted and tale.run.held_by == ""
    assert tale.step(e.JudgementDue(tale.now, AUTH)).ignored is not None


def test_a_proven_cause_holds_a_run_at_once_and_lets_it_go_whole() -> None:
    """The run paid with an attempt for what was nobody's fault but the file server's."""
    tale = Tale(retrying(max_attempts=2))
    tale.fail("nccl.timeout")
    before = tale.run.budget
    tale.campaign = shown(tale.campaign, "x", "y", "z")
    verify(tale, "auth")
    assert tale.run.words.startswith("held by a cause in common, auth (hub)")
    assert tale.run.budget == before
    assert tale.step(e.CauseCured(tale.now, "auth:other", "")).ignored is not None
    tale.step(e.CauseCured(tale.now, AUTH, "goes on"))
    assert (tale.state, tale.run.held_by) == (RunState.PENDING, "")
    tale.succeed()
    assert tale.run.attempts[-1].n == 3


def test_an_outage_gets_its_time_back() -> None:
    """Held for five hours, then failed at the next hiccup: its two hours of patience had run out meanwhile."""
    tale = Tale(retrying(outage=7200.0))
    tale.campaign = shown(tale.campaign, "x", "y", "z", key="network:hub")
    verify(tale, "network")
    assert tale.state == RunState.HELD and tale.run.budget.outage_since is None
    tale.seconds += 5 * 3600
    tale.step(e.CauseCured(tale.now, "network:hub", "goes on"))
    tale.campaign = replace(tale.campaign, causes={})
    verify(tale, "network")
    assert tale.state == RunState.WAITING


def test_a_waiting_prover_is_held_with_the_others() -> None:
    """The third run was held, and the two that had proven it with it went on burning attempts."""
    tale = Tale()
    tale.fail("network")
    assert tale.state == RunState.WAITING
    tale.step(e.HoldRequested(tale.now, "network", "held by a cause in common", "network:hub"))
    assert (tale.state, tale.run.held_by) == (RunState.HELD, "network:hub")
    assert not tale.run.attempts[-1].counted and tale.run.due is None
    assert tale.step(e.HoldRequested(tale.now, "auth", "another", "auth:x")).ignored is not None


def test_a_retry_of_a_held_run_begins_anew_and_our_own_fault_is_not_retried() -> None:
    """`retry` said "not ended" of a run that had as good as failed."""
    tale = Tale()
    verify(tale, "auth")
    tale.step(e.RetryRequested(tale.now, "ann"))
    assert (tale.state, tale.run.epoch) == (RunState.PENDING, 2)
    other = Tale()
    other.step(e.RunFaulted(other.now, "KeyError"))
    assert other.step(e.RetryRequested(other.now, "ann")).ignored is not None


@pytest.mark.parametrize("policy", [Policy(fail_fast=True), Policy()])
def test_who_is_cancelled_or_fails_fast_waits_for_no_proof(policy: Policy) -> None:
    """A campaign that was being cancelled kept a run for a judgement that could not come."""
    tale = Tale(policy)
    if not policy.fail_fast:
        tale.campaign = replace(tale.campaign, cancelling="ann cancelled it")
    verify(tale, "auth")
    assert tale.state == RunState.FAILED


# --- letting go --------------------------------------------------------------------------------------------


def held(name: str, about: str, **more: object) -> Campaign:
    """A campaign in which that cause holds three runs."""
    cause = Cause(name, about, "m", at(0), ("a", "b", "c"), 3, held=at(0), due=at(5))
    return a_campaign(causes={"k": replace(cause, **more)})


def test_probes_come_rarer_and_end_after_a_day() -> None:
    """A probe a second is an attack on what is down already."""
    campaign, delays, now = held("network", "hub.org"), [], 5.0
    while (due := campaign.causes["k"].due) is not None:
        campaign, words = causes.probed(campaign, "k", False, "timed out", at(now))
        later = campaign.causes["k"].due
        delays.append(None if later is None else later.mono - at(now).mono)
        now = due.mono - at(0).mono if later is None else later.mono - at(0).mono
    assert delays[:4] == [10, 20, 40, 80] and delays[-1] is None
    assert max(delay for delay in delays if delay is not None) == causes.PROBE_MAX
    assert words is not None and "probed in vain for 24 h (timed out)" in words
    assert now >= 24 * 3600


def test_a_cure_is_said_once_and_a_late_probe_is_nothing() -> None:
    """Two probes came back with the same good news."""
    campaign, words = causes.probed(held("network", "hub.org"), "k", True, "port 443 answers", at(9))
    assert words == "network (hub.org) is cured (port 443 answers): what it held goes on"
    assert campaign.causes["k"].freed and campaign.causes["k"].freed_at == at(9)
    assert causes.probed(campaign, "k", True, "port 443 answers", at(10)) == (campaign, None)
    assert causes.probed(a_campaign(), "k", True, "", at(10))[1] is None


@pytest.mark.parametrize(
    ("name", "about", "can"),
    [
        ("network", "hub.org", True), ("network", "10.0.0.1:9000", True), ("network", "localhost", True),
        ("network", "aws", False), ("data.missing", "/data/x", True), ("data.missing", "data/x", True),
        ("data.missing", "gs://bucket/x", False), ("data.missing", "hub://foo/bar", False),
        ("disk.full", "/scratch", True), ("disk.full", "quota on /home", False), ("auth", "hub.org", False),
        ("import", "No module named 'x'", False), ("gpu.driver", "", False),
    ],
)  # fmt: skip
def test_what_a_look_can_show(name: str, about: str, can: bool) -> None:
    """A quota has room again when nobody but its owner can tell; a token is good when it works."""
    assert causes.can_be_probed(Cause(name, about, "", at(0))) is can


def test_judgement_waits_as_long_as_anything_can_move() -> None:
    """A run failed for good although forty held ones, about to go on, might have shown the same."""
    waiting = Cause("auth", "x", "m", at(0), ("a",), 1)
    proven = Cause("network", "hub.org", "m", at(0), ("b", "c", "d"), 3, held=at(1))
    both = a_campaign(causes={"w": waiting, "p": proven}, counts={"held": 4})
    assert causes.judgements(both) == []
    alone = a_campaign(causes={"w": waiting}, counts={"held": 1, "succeeded": 3})
    assert causes.judgements(alone) == ["w"]
    for state in ("pending", "running", "verifying", "waiting"):
        assert causes.judgements(replace(alone, counts={"held": 1, state: 1})) == []


def test_after_a_reboot_everything_is_looked_at_at_once() -> None:
    """The monotonic clock began anew: the next probe was due in three weeks."""
    campaign = held("network", "hub.org", due=replace(at(10**6), boot="an earlier boot"))
    assert causes.probes_due(campaign, at(0)) == ["k"]
    assert causes.probes_due(held("network", "hub.org"), at(0)) == []


def test_the_campaign_with_all_of_it_survives_the_store() -> None:
    """A record that cannot be read back is a night that cannot be taken over."""
    campaign = shown(held("network", "hub.org"), "a", "b")
    assert from_json(to_json(campaign), Campaign) == campaign
