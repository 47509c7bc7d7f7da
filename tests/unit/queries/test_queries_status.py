"""What `status` says, from the store alone."""

import night
import pytest

from overnight.model.codec import replace
from overnight.model.manifest import Refusal
from overnight.model.policy import Limits, Policy, Resources
from overnight.model.reports import NoSuchThing, SupervisorReport
from overnight.model.run import Vitals
from overnight.model.states import AttemptState, CampaignState, EndedBy, RunState
from overnight.ports import RunRef
from overnight.queries import campaigns, status
from overnight.store import SqliteStore

S = RunState
WATCHED = SupervisorReport(alive=True, pid=77)
DEAD = SupervisorReport(alive=False)


@pytest.fixture
def store():
    store = SqliteStore(":memory:")
    yield store
    store.close()


def launched(store, rows=6, **changes):
    found = night.campaign(rows, **changes)
    store.commit(night.launch(found))
    return found


def ask(store, *, supervisor=WATCHED, at=None, **options):
    return status(store, night.ID, supervisor=supervisor, root="/r", at=at or night.moment(5000), **options)


def test_counts_are_those_of_the_runs(store):
    """Guards against a header that says otherwise than the page below it."""
    launched(store)
    store.commit(night.moved(
        night.run(0, S.SUCCEEDED, night.attempt(name="none")),
        night.run(1, S.FAILED, night.attempt(name="code")),
        night.run(2, S.FAILED, night.attempt(name="code")),
        night.run(3, S.FAILED, night.attempt(name="oom.gpu")),
        night.run(4, S.RUNNING, night.attempt()),
    ))  # fmt: skip
    report = ask(store)
    assert report.counts == {"pending": 1, "running": 1, "succeeded": 1, "failed": 3}
    assert report.failures == {"code": 2, "oom.gpu": 1}
    assert report.runs_total == 6
    assert [(r.run_id, r.state, r.failure_class) for r in report.runs] == [
        ("r0", "succeeded", None), ("r1", "failed", "code"), ("r2", "failed", "code"), ("r3", "failed", "oom.gpu"),
        ("r4", "running", None), ("r5", "pending", None),
    ]  # fmt: skip
    assert report.path == f"/r/campaigns/{night.ID}"
    assert report.words == "4 of 6 runs ended: 1 pending, 1 running, 1 succeeded, 3 failed"


def test_pages_cover_every_run_once(store):
    """Guards against a script that pages through a campaign missing runs or seeing them twice."""
    launched(store)
    seen, after = [], None
    while True:
        page = ask(store, limit=4, after=after)
        seen += [run.run_id for run in page.runs]
        after = page.next_after
        if after is None:
            break
    assert seen == [f"r{i}" for i in range(6)]
    assert ask(store, limit=6).next_after is None
    assert len(ask(store, limit=10**30).runs) == 6
    assert len(ask(store, limit=2, all=True).runs) == 6
    assert ask(store, limit=0).runs == ()
    with pytest.raises(NoSuchThing, match="no run 'nope'"):
        ask(store, after="nope")


def test_a_page_of_one_state(store):
    """Guards against `--state failed` losing file order, or showing the rest."""
    launched(store)
    store.commit(night.moved(*(night.run(i, S.FAILED, night.attempt(name="code")) for i in (4, 1, 3))))
    assert [r.run_id for r in ask(store, state="failed").runs] == ["r1", "r3", "r4"]
    page = ask(store, state="failed", limit=2)
    assert ([r.run_id for r in page.runs], page.next_after) == (["r1", "r3"], "r3")
    assert [r.run_id for r in ask(store, state="failed", after="r3").runs] == ["r4"]
    assert [r.run_id for r in ask(store, state="pending").runs] == ["r0", "r2", "r5"]
    with pytest.raises(Refusal, match="no state") as caught:
        ask(store, state="faild")
    assert caught.value.hint == "did you mean failed?"


def test_a_live_run_shows_its_newest_vitals(store):
    """Guards against progress that stands still on the screen while the run goes on."""
    launched(store)
    live = night.run(0, S.RUNNING, night.attempt(1, name="network", seconds=30), night.attempt(2))
    vitals = Vitals(step=40.0, total=100.0, rate=2.0, metrics={"loss": 1.5}, seconds=20.0, last_life=15.0)
    store.commit(night.moved(live, vitals={RunRef(night.ID, "r0"): vitals}))
    run = ask(store).runs[0]
    assert (run.progress.step, run.progress.total, run.progress.rate, run.progress.metrics) == (
        40.0, 100.0, 2.0, {"loss": 1.5},
    )  # fmt: skip
    assert (run.seconds, run.quiet_seconds, run.slot, run.attempts) == (50.0, 5.0, "gpu:0", 2)


def test_failures_are_named_with_what_to_type(store):
    """Guards against a morning with red numbers and no next step."""
    launched(store)
    store.commit(night.moved(
        night.run(0, S.FAILED, night.attempt(name="code")), night.run(1, S.FAILED, night.attempt(name="code")),
        night.run(2, S.FAILED, night.attempt(name="unknown")),
    ))  # fmt: skip
    code, unknown = ask(store).needs
    assert (code.what, code.runs) == ("2 runs failed: code", ("r0", "r1"))
    assert code.why == "r0: what code said. Mend the line named, then retry --class code"
    assert code.command == f"overnight retry {night.ID} --class code"
    assert unknown.command == f"overnight logs {night.ID} r2"


def test_held_lost_and_paused_need_a_person(store):
    """Guards against a slot lost for the whole night without a word, and runs that wait for nobody."""
    found = launched(store, paused=True, paused_why="ada paused it", state=CampaignState.PAUSED)
    lost = night.attempt(state=AttemptState.LOST, lost_since=night.moment(1000))
    store.commit(night.moved(
        night.run(0, S.HELD, night.attempt(name="auth"), cause="auth", words="the hub says 401"),
        night.run(1, S.RUNNING, lost, words="attempt 1 is lost: no word"),
        night.run(2, S.RUNNING, replace(lost, lost_since=night.moment(4000))),
    ))  # fmt: skip
    paused, held, gone = ask(store, at=night.moment(4700)).needs
    assert (paused.command, held.command) == (f"overnight resume {found.id}",) * 2
    assert "ada paused it; 3 runs" in paused.why
    assert (held.what, held.runs) == ("1 run is held: auth", ("r0",))
    assert held.why == "the hub says 401. Renew the token or ask for access, then retry"
    assert (gone.what, gone.runs) == ("1 attempt lost for up to 62 min", ("r1",))
    assert len(ask(store, at=night.moment(2000)).needs) == 2  # lost for less than 30 minutes


def test_nobody_watching_is_said_first(store):
    """Guards against a dead supervisor found out in the morning by missing results."""
    launched(store)
    need = ask(store, supervisor=DEAD).needs[0]
    assert (need.what, need.command) == ("nobody is watching", "overnight supervisor start --root /r")
    (need, *_) = status(store, night.ID, supervisor=DEAD, root="/r d", at=night.moment(5000)).needs
    assert need.command == "overnight supervisor start --root '/r d'", "as it is pasted, wherever that is"
    only = replace(WATCHED, watch_only=True)
    assert ask(store, supervisor=only).needs[0].command == "overnight supervisor restart --root /r"
    store.commit(night.moved(*(night.run(i, S.SUCCEEDED, night.attempt(name="none")) for i in range(6))))
    assert ask(store, supervisor=DEAD).needs == ()  # nothing is left to watch


def test_what_it_did_by_itself(store):
    """Guards against a report that hides the retries, or counts a person's pause as one."""
    launched(store, recovered=2)
    silent = night.stalled(1, 900.0, 300.0)
    resumed = night.attempt(2, name="none", resume_from="ckpt-50.pt")
    paused = night.attempt(
        name="unknown", stop=EndedBy.PAUSE, exit=replace(silent.exit, signal="SIGTERM", stopped="request")
    )
    store.commit(night.moved(
        night.run(0, S.SUCCEEDED, silent, resumed),
        night.run(1, S.SUCCEEDED, night.attempt(1, name="network"), night.attempt(2, name="none")),
        night.run(2, S.WAITING, night.attempt(1, name="network"), night.attempt(2, name="network")),
        night.run(3, S.PENDING, paused),
        night.run(4, S.FAILED, night.attempt(name="code")),
    ))  # fmt: skip
    assert ask(store).did == (
        "ended 1 stalled attempt; 1 started again, from a checkpoint",
        "tried again 2 times after network (the outside world could not be reached)",
        "the supervisor came up again 2 times and took over what it found",
    )


def test_a_try_that_waits_has_not_been_started(store):
    """Guards against "1 started again" of a run that sat out its backoff, with its slot empty."""
    launched(store)
    store.commit(night.moved(
        night.run(0, S.WAITING, night.stalled(1, 900.0, 300.0)),
        night.run(1, S.PENDING, night.attempt(1, name="network")),
    ))  # fmt: skip
    assert ask(store).did == ("ended 1 stalled attempt",)


def test_gpu_hours_useful_and_lost(store):
    """Guards against an hour of hanging counted as work because the run succeeded in the end."""
    launched(store)
    silent = night.stalled(1, 7200.0, 3600.0)
    resumed = night.attempt(2, name="none", seconds=3600.0, resume_from="ckpt-50.pt", vitals=Vitals(first_step=50.0))
    store.commit(night.moved(
        night.run(0, S.SUCCEEDED, silent, resumed),
        night.run(1, S.FAILED, night.attempt(name="code", seconds=1800.0)),
        night.run(2, S.RUNNING, night.attempt()),
    ))  # fmt: skip
    report = ask(store)
    assert report.gpu_hours == {"useful": 2.0, "lost": 1.5}
    assert report.gpu_hours_lost == {"stall.output": 1.0, "code": 0.5}


def test_unbounded_runs_are_a_warning(store):
    """Guards against a timeout of "none", typed once, that nobody remembers."""
    policy = Policy(resources=Resources(gpus=1), limits=Limits(timeout=None))
    found = night.campaign(2, policy=policy)
    store.commit(night.launch(found, [night.row(0), night.row(1, unbounded=True)]))
    whole, rows = ask(store).warnings
    assert whole.startswith('limits.timeout is "none"')
    assert rows.startswith("1 row says")


def test_the_list_of_campaigns(store):
    """Guards against a list in which last night's campaign is at the end."""
    launched(store, 2)
    other = night.campaign(1, id="cat-0000000000", counts={"succeeded": 1}, state=CampaignState.SUCCEEDED)
    store.commit(night.launch(other))
    assert [(c.campaign, c.state, c.counts) for c in campaigns(store, "/r")] == [
        ("cat-0000000000", "succeeded", {"succeeded": 1}), (night.ID, "active", {"pending": 2}),
    ]  # fmt: skip


def test_what_is_not_there_is_said_to_be_so(store):
    """Guards against an empty page for a campaign that was never launched here."""
    with pytest.raises(NoSuchThing, match="no campaign"):
        status(store, "nope", supervisor=WATCHED, root="/r")
