"""A batch is whole or not at all, and comes back as it went in."""

import math

import night
import pytest

from overnight.model.campaign import StoryEntry
from overnight.model.codec import replace
from overnight.model.effects import FinishRun, StartAttempt
from overnight.model.requests import Answer
from overnight.model.run import Vitals
from overnight.model.states import AttemptState, RunState
from overnight.ports import Batch, RunRef, Store, StoreError
from overnight.store import SqliteStore
from overnight.store.faulty import Crashed, Fault, FaultyStore, at

S = RunState


@pytest.fixture
def store():
    store = SqliteStore(":memory:")
    yield store
    store.close()


def launched(store, rows=5, **changes):
    found = night.campaign(rows, **changes)
    store.commit(night.launch(found))
    return found


def test_rows_and_their_runs_in_one_batch(store):
    """Guards against a launch and its first starts being two transactions, with a crash between them."""
    batch = night.launch(night.campaign(3))
    started = night.run(1, S.RUNNING, night.attempt(state=AttemptState.SUBMITTING), owed=(StartAttempt(1),))
    batch.runs[RunRef(night.ID, "r1")] = started
    store.commit(batch)
    assert store.run(RunRef(night.ID, "r1")) == started
    assert [p.position for p in store.pending(night.ID)] == [0, 2]
    assert store.unfinished_runs() == [started]
    assert store.manifest(night.ID) == b"{}"
    assert store.revisions(night.ID) == [b'{"n":1}']


def test_a_run_that_never_moved_is_built_from_its_row(store):
    """Guards against 100,000 queued runs being written out as 100,000 records."""
    store.commit(night.launch(night.campaign(2), [night.row(0), night.row(1, priority=7)]))
    run = store.run_at(night.ID, 1)
    assert run == store.run(RunRef(night.ID, "r1"))
    assert (run.state, run.policy.priority, run.position, run.attempts) == (S.PENDING, 7, 1, ())
    assert store.spec(RunRef(night.ID, "r1")).params == {"seed": "1"}
    assert store.run_at(night.ID, 2) is None
    assert store.run(RunRef("other", "r1")) is None


def test_the_queue_is_in_the_planners_order(store):
    """Guards against @priority rows waiting behind the rest of the file."""
    rows = [night.row(0), night.row(1, priority=5), night.row(2, priority=-1), night.row(3, priority=5)]
    store.commit(night.launch(night.campaign(4), rows))
    assert [p.position for p in store.pending(night.ID)] == [1, 3, 0, 2]


def test_recovery_sees_all_that_is_open_or_owed(store):
    """Guards against an owed summary being forgotten because its run had ended already."""
    launched(store)
    owing = night.run(0, S.SUCCEEDED, night.attempt(name="none"), owed=(FinishRun(1),))
    waiting, held = night.run(1, S.WAITING, night.attempt(name="network")), night.run(2, S.HELD, cause="auth")
    done = night.run(3, S.SUCCEEDED, night.attempt(name="none"))
    store.commit(night.moved(owing, waiting, held, done))
    assert store.unfinished_runs() == [owing, waiting, held]
    store.commit(night.moved(replace(owing, owed=())))
    assert store.unfinished_runs() == [waiting, held]


def test_nothing_of_a_batch_that_cannot_be_stored_stays(store):
    """Guards against half a turn: a campaign's counts moved, its run not."""
    launched(store, 2)
    stranger = night.run(9, S.RUNNING, night.attempt())
    batch = night.moved(night.run(0, S.RUNNING, night.attempt()), stranger, meta={"key": "value"})
    with pytest.raises(StoreError, match="has no row 9"):
        store.commit(batch)
    assert store.run_at(night.ID, 0).state == S.PENDING
    assert store.meta("key") is None
    assert store.recent(night.ID, 5) == []
    store.commit(night.moved(night.run(0, S.RUNNING, night.attempt())))
    assert store.run_at(night.ID, 0).state == S.RUNNING


def test_a_campaign_that_was_rolled_back_is_unknown(store):
    """Guards against a cached number of a campaign whose transaction failed, given to the next campaign's runs."""
    bad = night.launch(night.campaign(1))
    bad.runs[RunRef(night.ID, "r7")] = night.run(7, S.RUNNING, night.attempt())
    with pytest.raises(StoreError):
        store.commit(bad)
    other = night.campaign(1, id="cat-0000000000")
    store.commit(night.launch(other))
    store.commit(night.launch(night.campaign(2)))
    assert [c.id for c in store.campaigns()] == ["cat-0000000000", night.ID]
    assert (len(store.pending(night.ID)), len(store.pending(other.id))) == (2, 1)


def test_a_row_twice_is_refused(store):
    """Guards against two runs of one name after `amend --runs` with an old file."""
    launched(store, 2)
    with pytest.raises(StoreError):
        store.commit(Batch(added={night.ID: [(2, night.row(1))]}))
    assert store.positions(night.ID) == [0, 1]


def test_vitals_reach_the_live_attempt_they_are_of(store):
    """Guards against the progress of an old attempt being shown for the one that replaced it."""
    launched(store)
    ref = RunRef(night.ID, "r0")
    first = night.run(0, S.RUNNING, night.attempt(1))
    store.commit(night.moved(first, vitals={ref: Vitals(step=10.0)}))
    store.commit(Batch(vitals={ref: Vitals(step=20.0)}))
    assert store.run(ref).attempt.vitals.step == 20.0
    assert store.unfinished_runs()[0].attempt.vitals.step == 20.0
    second = night.run(0, S.RUNNING, night.attempt(1, name="network"), night.attempt(2))
    store.commit(night.moved(second))
    assert store.run(ref).attempt.vitals.step is None
    over = night.run(0, S.SUCCEEDED, night.attempt(1, name="network"), night.attempt(2, name="none"))
    store.commit(night.moved(over, vitals={ref: Vitals(step=99.0)}))  # a late look
    assert store.run(ref) == over


def test_a_loss_that_diverged_leaves_its_run_readable(store):
    """Guards against NaN, which JSON has no word for, making a live run unreadable after a restart."""
    launched(store)
    ref = RunRef(night.ID, "r0")
    vitals = Vitals(step=3.0, metrics={"loss": math.nan, "lr": 0.1, "norm": math.inf})
    store.commit(night.moved(night.run(0, S.RUNNING, night.attempt(vitals=vitals)), vitals={ref: vitals}))
    run = store.run(ref)
    assert (run.state, run.attempt.vitals.metrics) == (S.RUNNING, {"lr": 0.1})


def test_words_that_are_no_text_do_not_stop_the_turn(store):
    """Guards against one run's broken log line keeping every run's turn from being committed, for ever."""
    launched(store)
    odd = night.run(0, S.FAILED, night.attempt(name="code"), words="path \udcff.txt")
    store.commit(night.moved(odd, night.run(1, S.RUNNING, night.attempt())))
    assert store.run_at(night.ID, 0).words == "path ?.txt"
    assert store.run_at(night.ID, 1).state == S.RUNNING
    assert [e.words for e in store.story(RunRef(night.ID, "r0"))] == ["path ?.txt"]


def test_a_record_that_cannot_be_read_holds_its_run_alone(store):
    """Guards against one damaged record keeping the supervisor from starting at all."""
    launched(store)
    good = night.run(0, S.RUNNING, night.attempt())
    store.commit(night.moved(good, night.run(1, S.RUNNING, night.attempt())))
    store._db.execute("UPDATE run SET body = '{\"state\": 5}' WHERE id % 4294967296 = 1")
    first, second = store.unfinished_runs()
    assert first == good
    assert (second.run_id, second.state, second.cause) == ("r1", S.HELD, "internal")
    assert "cannot be read" in second.words


def test_positions_match_all_that_is_given(store):
    """Guards against `retry --class code` trying runs that failed otherwise, or succeeded."""
    launched(store, 6)
    store.commit(night.moved(
        night.run(1, S.FAILED, night.attempt(name="code")),
        night.run(2, S.FAILED, night.attempt(name="oom.gpu")),
        night.run(3, S.CANCELLED),
        night.run(4, S.SUCCEEDED, night.attempt(name="none")),
    ))  # fmt: skip
    ask = store.positions
    assert ask(night.ID) == [0, 1, 2, 3, 4, 5]
    assert ask(night.ID, states=["failed", "cancelled"]) == [1, 2, 3]
    assert ask(night.ID, states=["pending"]) == [0, 5]
    assert ask(night.ID, failure_class="code") == [1]
    assert ask(night.ID, failure_class="code", states=["cancelled"]) == []
    assert ask(night.ID, run_ids=["r5", "r1", "no such"]) == [1, 5]
    assert ask(night.ID, run_ids=["r5", "r1"], states=["failed"]) == [1]
    assert ask("no such") == []


def test_story_answers_and_meta(store):
    """Guards against a request being answered twice, or its answer lost, after a crash."""
    launched(store)
    ref = RunRef(night.ID, "r0")
    entry = StoryEntry(night.ID, "r0", night.moment(5), "RunPlanned", "pending", "running", "on gpu:0", 1, {"a": [1]})
    whole = StoryEntry(night.ID, "", night.moment(6), "Said", "", "", "a quiet phase")
    answer = Answer(True, "launched", campaign=night.ID, created=True)
    store.commit(Batch(story=[entry, whole], answers={"q1": answer}, meta={"recoveries": "2"}))
    assert store.story(ref) == [entry]
    assert store.story(RunRef(night.ID, "")) == [whole]
    assert store.recent(night.ID, 5) == [whole, entry]
    assert (store.answer("q1"), store.answer("q2")) == (answer, None)
    assert (store.meta("recoveries"), store.meta("none")) == ("2", None)


def test_planned_faults(store):
    """Guards against a fake that fails differently from the real thing: a full disk changes nothing and passes,
    a crash is no ordinary error."""
    plan = at({2: Fault.DISK_FULL, 3: Fault.CRASH_BEFORE, 4: Fault.CRASH_AFTER})
    faulty: Store = FaultyStore(store, plan)
    launched(faulty)
    batch = night.moved(night.run(0, S.RUNNING, night.attempt()))
    with pytest.raises(StoreError, match="full"):
        faulty.commit(batch)
    with pytest.raises(Crashed):
        faulty.commit(batch)
    assert faulty.run_at(night.ID, 0).state == S.PENDING
    with pytest.raises(Crashed):
        faulty.commit(batch)
    assert faulty.run_at(night.ID, 0).state == S.RUNNING
