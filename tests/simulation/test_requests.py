"""Requests and their files on bad ground: nothing of it ends the supervisor, which watches everybody else's runs."""

import errno

import pytest

from overnight.manifest import load_revision
from overnight.model import requests as r
from overnight.model.manifest import Refusal, RunSpec
from overnight.model.policy import CodeIdentity, Policy, Resources, RowPolicy
from overnight.model.states import RunState
from overnight.ports import RunRef
from overnight.testing.simulator import Simulation
from overnight.testing.world import SHELL, frozen, launch


def _night(simulation: Simulation) -> None:
    """A campaign of its own must come to its end."""
    campaign = frozen(["a", "b"], Policy(), name="own", knobs={"seconds": 5})
    simulation.ask(launch("q9", campaign))
    assert {run.state for run in simulation.run(campaign).values()} == {RunState.SUCCEEDED}


def test_a_request_that_breaks_us_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unanswered it lay in the inbox, and ended each supervisor that came, until nothing new was started any more."""
    simulation = Simulation(1)

    def broken(campaign: str, env: dict[str, str]) -> None:
        raise ValueError("embedded null byte")

    with monkeypatch.context() as patch:
        patch.setattr(simulation.files, "write_launch_env", broken)
        simulation.ask(launch("q1", frozen(["x"], Policy(), name="bad")))
        simulation.turn()
    answer = simulation.store.answer("q1")
    assert answer is not None and not answer.ok and "embedded null byte" in answer.message
    assert simulation.inbox.waiting == {}
    _night(simulation)


def test_what_is_asked_of_a_campaign_comes_after_its_launch() -> None:
    """A `cancel` that was typed while the manifest was being written found no such campaign, which then ran."""
    simulation = Simulation(1)
    campaign, other = (frozen(["x", "y"], Policy(), name=name, knobs={"seconds": 5}) for name in ("first", "second"))
    simulation.ask(launch("q1", campaign))
    simulation.ask(r.Cancel("q2", "bob@host", campaign.campaign))
    simulation.ask(launch("q3", other))
    simulation.ask(launch("q4", other))
    began = simulation.clock.mono
    assert {run.state for run in simulation.run(campaign).values()} == {RunState.CANCELLED}
    assert {run.state for run in simulation.run(other).values()} == {RunState.SUCCEEDED}
    answers = [simulation.store.answer(f"q{n}") for n in (1, 2, 3, 4)]
    assert [(a.ok, a.created) for a in answers if a is not None] == [(True, created) for created in (1, 0, 1, 0)]
    assert simulation.clock.mono - began < 15, "nobody waited for a later turn"


def test_a_launch_that_its_namesake_overtakes_keeps_no_other_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody retried the old campaign while the manifest of a new one of its name was being written: refused at once,
    the new one was for ever the one being written, and nobody could launch any more."""
    simulation = Simulation(1)
    old = frozen(["x"], Policy(), name="same", knobs={"seconds": 1, "exit_code": 1})
    simulation.ask(launch("q1", old))
    simulation.run(old)
    with monkeypatch.context() as patch:  # the root hangs
        patch.setattr(simulation.workers, "results", list)
        simulation.ask(launch("q2", frozen(["y"], Policy(), name="same", knobs={"seconds": 5})))
        simulation.turn()
        simulation.ask(r.Retry("q3", "bob@host", old.campaign, SHELL, CodeIdentity("code-1", 1)))
        for _ in range(3):
            simulation.turn()
    _night(simulation)
    retried, refused = simulation.store.answer("q3"), simulation.store.answer("q2")
    assert retried is not None and retried.ok
    assert refused is not None and not refused.ok and "of the same name" in refused.message


def test_a_manifest_that_cannot_be_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a campaign of which `rebuild` would know nothing, and against one that keeps the others out."""
    simulation = Simulation(1)

    def full(campaign: str, data: bytes) -> None:
        if campaign.startswith("bad"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(simulation.files, "write_manifest", full)
        for _ in range(20):  # until nothing else is to be done
            simulation.turn()
        began = simulation.clock.mono
        simulation.ask(launch("q1", frozen(["x"], Policy(), name="bad")))
        simulation.ask(launch("q2", frozen(["x"], Policy(), name="worse")))
        while simulation.store.answer("q2") is None or (answer := simulation.store.answer("q1")) is None:
            simulation.turn()
        assert simulation.clock.mono - began < 1, "what waited behind it was read again at once"
    assert not answer.ok and "No space left" in answer.message
    assert [campaign.name for campaign in simulation.store.campaigns()] == ["worse"]
    _night(simulation)


@pytest.mark.parametrize("method", ["read", "delete"])
def test_an_inbox_that_does_not_let_us_is_no_end(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state directory that went read-only for a minute ended the supervisor at each request that it had answered."""
    simulation = Simulation(1)
    simulation.ask(launch("q1", frozen(["x"], Policy(), name="first", knobs={"seconds": 5})))

    def refused(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(simulation.inbox, method, refused)
        for _ in range(20):
            simulation.turn()
        assert simulation.deaths == 0
        assert (simulation.store.answer("q1") is not None) is (method == "delete")
    _night(simulation)
    assert simulation.inbox.waiting == {}, "taken away once that is possible"
    (first,) = [c for c in simulation.store.campaigns() if c.name == "first"]
    assert first.counts == {"succeeded": 1}


def test_rows_change_their_place_and_their_bound() -> None:
    """Rows' own policy was frozen at launch: a sheet with other priorities changed nothing, nor did `none` warn."""
    simulation = Simulation(1)
    names = ["a", "b", "c", "d"]
    campaign = frozen(names, Policy(resources=Resources(slots=1)), knobs={"seconds": 50})
    simulation.ask(launch("q1", campaign))
    for _ in range(5):
        simulation.turn()
    policies = {"a": RowPolicy(timeout=20.0), "b": RowPolicy(unbounded=True), "d": RowPolicy(priority=9)}
    changed = tuple(RunSpec(name, {}, policy=policy) for name, policy in policies.items())
    simulation.ask(r.Amend("q2", "t@h", campaign.campaign, CodeIdentity("code-1", 1), changed=changed))
    simulation.ask(r.Amend("q3", "t@h", campaign.campaign, CodeIdentity(), changed=(RunSpec("zz", {}),)))
    simulation.turn()
    answer, unknown = (simulation.store.answer(name) for name in ("q2", "q3"))
    assert answer is not None and answer.ok and answer.message == "revision 2"
    assert unknown is not None and not unknown.ok and "has no run zz" in unknown.message
    assert simulation.store.unbounded_rows(campaign.campaign) == 1
    spec = simulation.store.spec(RunRef(campaign.campaign, "d"))
    assert spec is not None and spec.policy == RowPolicy(priority=9)
    simulation.boot()  # a new supervisor knows them, too
    runs = simulation.run(campaign)
    assert {name: run.state.value for name, run in runs.items()} == {
        "a": "failed", "b": "succeeded", "c": "succeeded", "d": "succeeded",
    }  # fmt: skip
    assert runs["a"].failure is not None and runs["a"].failure.name == "timeout.wall"
    began = {name: run.attempts[0].planned.mono for name, run in runs.items()}
    assert sorted(names, key=began.__getitem__) == ["a", "d", "b", "c"]
    document = load_revision(simulation.store.revisions(campaign.campaign)[1])
    assert document.changed == changed


def test_a_file_in_the_place_of_a_revision_keeps_nobody_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody had copied a campaign's folder back: the refusal to overwrite its revision ended every supervisor."""
    simulation = Simulation(1)
    written: list[str] = []

    def write(campaign: str, n: int, data: bytes) -> None:
        if campaign.startswith("copied"):
            raise Refusal("revisions/1.json exists already with other contents")
        written.append(campaign)

    monkeypatch.setattr(simulation.files, "write_revision", write)
    simulation.ask(launch("q1", frozen(["x"], Policy(), name="copied", knobs={"seconds": 5})))
    _night(simulation)
    assert [name.partition("-")[0] for name in written] == ["own"]


def test_revisions_wait_for_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """A root that cannot be written for a while holds no turn up, and gets its revisions afterwards, each once."""
    simulation = Simulation(1)
    written: list[int] = []
    fails = [OSError(errno.ESTALE, "Stale file handle")] * 3

    def write(campaign: str, n: int, data: bytes) -> None:
        if fails:
            raise fails.pop()
        written.append(n)

    monkeypatch.setattr(simulation.files, "write_revision", write)
    _night(simulation)
    for _ in range(20):
        simulation.turn()
    assert written == [1] and not fails


def test_a_cancel_of_what_has_ended_says_so() -> None:
    """ "being cancelled", said the answer, and the run stayed what it was."""
    simulation = Simulation(1)
    campaign = frozen(["a", "b"], Policy(), knobs={"seconds": 5})
    simulation.ask(launch("q1", campaign))
    assert {run.state for run in simulation.run(campaign).values()} == {RunState.SUCCEEDED}
    simulation.ask(r.Cancel("q2", "ann", campaign.campaign, ("a",)))
    simulation.turn()
    answer = simulation.store.answer("q2")
    assert answer is not None and not answer.ok and answer.message == "nothing to cancel: it has ended already"


def test_what_it_did_by_itself_is_its_own_campaigns_and_asked_by_nobody() -> None:
    """`status` of tonight's campaign boasted of a supervisor that had come up again: for last week's, and after a
    person had stopped it."""
    simulation = Simulation(1)
    old, fresh = (frozen(["a", "b"], Policy(), name=name, knobs={"seconds": 50}) for name in ("old", "fresh"))
    simulation.ask(launch("q1", old))
    simulation.run(old)
    simulation.boot()  # killed: nothing of `old` was left to take over
    simulation.ask(launch("q2", fresh))
    simulation.turn()
    simulation.ask(r.StopSupervisor("q3", "ada@box"))
    while not simulation.supervisor.stop_wanted:
        simulation.turn()
    simulation.boot()
    simulation.turn()
    counts = {c.name: c.recovered for c in simulation.store.campaigns()}
    assert counts == {"old": 0, "fresh": 0}
    simulation.boot()  # this time it was killed
    simulation.run(fresh)
    assert {c.name: c.recovered for c in simulation.store.campaigns()} == {"old": 0, "fresh": 1}
