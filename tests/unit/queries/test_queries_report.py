"""What ended badly in all campaigns, and what it cost."""

import night
import pytest

from overnight.model.codec import builtins, replace
from overnight.model.run import Process, Slot
from overnight.model.states import AttemptState, EndedBy, RunState
from overnight.queries.report import Ground, report
from overnight.store import SqliteStore

S = RunState
OTHER = "cat-zzzzzzzzzz"
HOUR = 3600.0


@pytest.fixture
def store():
    store = SqliteStore(":memory:")
    for name in (night.ID, OTHER):
        store.commit(night.launch(night.campaign(6, id=name)))
    yield store
    store.close()


def bad(n, name, hours, host="node7", gpu="0", **changes):
    process = Process(host, "b", "p", 1, 2, 3) if host else None
    slot = Slot(f"gpu:{gpu}", (f"gpu-{gpu}",), (gpu,))
    return night.attempt(n, name=name, seconds=hours * HOUR, process=process, slot=slot, **changes)


def a_night(store):
    fine = night.attempt(3, name="none")
    store.commit(night.moved(
        night.run(0, S.SUCCEEDED, bad(1, "network", 1), bad(2, "network", 2, "node8", "1"), fine),
        night.run(1, S.FAILED, bad(1, "oom.gpu", 4)),
        night.run(2, S.SUCCEEDED, night.attempt(name="none")),
        night.run(3, S.RUNNING, night.attempt()),
        replace(night.run(0, S.FAILED, bad(1, "network", 1.5)), campaign=OTHER),
    ))  # fmt: skip


def ask(store, by="class", **options):
    return report([Ground(store, "/r")], by=by, **options)


def test_by_class_over_all_campaigns(store):
    """Guards against a fault that costs a day a month and is five minutes of every campaign."""
    a_night(store)
    found = ask(store)
    assert [(line.name, line.attempts, line.runs, line.gpu_hours_lost) for line in found.lines] == [
        ("network", 3, 2, 4.5), ("oom.gpu", 1, 1, 4.0),
    ]  # fmt: skip
    assert (found.attempts, found.runs, found.gpu_hours_lost, found.campaigns) == (4, 3, 8.5, 2)
    assert builtins(found.lines[0].example) == {
        "campaign": night.ID, "run_id": "r0", "attempt": 2, "command": f"overnight why {night.ID} r0",
    }  # fmt: skip
    assert found.lines[0].last_at == "2025-10-09T10:56:40Z"


def test_by_host_slot_and_rule(store):
    """Guards against one bad GPU of eight, found by nobody because every campaign names another class."""
    a_night(store)
    assert [(line.name, line.attempts, line.gpu_hours_lost) for line in ask(store, "host").lines] == [
        ("node7", 3, 6.5), ("node8", 1, 2.0),
    ]  # fmt: skip
    assert [(line.name, line.host, line.gpu_hours_lost) for line in ask(store, "slot").lines] == [
        ("gpu:0", "node7", 6.5), ("gpu:1", "node8", 2.0),
    ]  # fmt: skip
    assert [line.name for line in ask(store, "rule").lines] == ["rule-network", "rule-oom.gpu"]


def test_what_is_not_known_is_called_so(store):
    """Guards against attempts that drop out of the sum because a field of theirs is empty or cannot be read."""
    attempt = bad(1, "network", 1, host=None)
    blank = replace(attempt, classification=replace(attempt.classification, rule=None))
    store.commit(night.moved(night.run(0, S.FAILED, blank), night.run(1, S.FAILED, bad(1, "network", 1))))
    store._db.execute("UPDATE run SET body = CAST('{' AS BLOB) WHERE id & 4294967295 = 1")
    for by in ("host", "rule"):
        (line,) = ask(store, by).lines
        assert (line.name, line.attempts, line.gpu_hours_lost) == ("unknown", 2, 2.0)


def test_since_counts_from_the_end_of_an_attempt(store):
    """Guards against last month's broken switch at the top of this week's report."""
    store.commit(night.moved(
        night.run(0, S.FAILED, bad(1, "network", 1)), night.run(1, S.FAILED, bad(1, "code", 3)),
    ))  # fmt: skip
    found = ask(store, since=night.moment(2 * HOUR))
    assert [line.name for line in found.lines] == ["code"]
    assert found.since == "2025-10-09T10:53:20Z"
    assert ask(store, since=night.moment(9 * HOUR)).lines == ()


def test_what_a_person_ended_is_no_failure(store):
    """Guards against `pause --now` and `cancel` heading the list of what goes wrong."""
    stopped = bad(1, "unknown", 1)
    record = replace(stopped.exit, code=None, signal="SIGTERM", raw=15, stopped="request")
    paused = replace(stopped, stop=EndedBy.PAUSE, exit=record)
    store.commit(night.moved(
        night.run(0, S.PENDING, paused), night.run(1, S.CANCELLED, bad(1, "cancelled", 1)),
        night.run(2, S.FAILED, night.stalled(1, HOUR, 0.0)),
        night.run(3, S.RUNNING, night.attempt(state=AttemptState.LOST)),
    ))  # fmt: skip
    assert [(line.name, line.attempts) for line in ask(store).lines] == [("stall.output", 1)]


def test_nothing_has_failed(store):
    """Guards against a report of a good week that is an error."""
    found = ask(store)
    assert (found.lines, found.attempts, found.gpu_hours_lost, found.campaigns) == ((), 0, 0.0, 2)
    assert report([], by="class").campaigns == 0


def test_one_campaign_under_two_roots_is_two_runs(store):
    """Guards against a run counted once because the same manifest was launched in two places."""
    a_night(store)
    both = report([Ground(store, "/r"), Ground(store, "/q")], by="class")
    assert (both.attempts, both.runs, both.roots) == (8, 6, ("/r", "/q"))
