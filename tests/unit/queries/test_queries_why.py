"""What `why` says."""

import night
import pytest

from overnight.executors.slot_files import SlotFiles
from overnight.model.campaign import Device, StoryEntry
from overnight.model.codec import replace
from overnight.model.reports import NoSuchThing, SupervisorReport
from overnight.model.states import AttemptState, RunState
from overnight.ports import Batch
from overnight.queries import status, why, why_campaign
from overnight.store import SqliteStore

S = RunState


@pytest.fixture
def store():
    store = SqliteStore(":memory:")
    yield store
    store.close()


def test_a_failed_run(store):
    """Guards against a failure without its rule, its evidence and its next step."""
    store.commit(night.launch(night.campaign(3)))
    failed = night.run(1, S.FAILED, night.attempt(name="code"), words="code: what code said; never tried again")
    store.commit(night.moved(failed))
    report = why(store, night.ID, "r1")
    assert (report.state, report.words, report.rule) == ("failed", failed.words, "rule-code")
    assert report.next == f"overnight retry {night.ID} r1"
    (attempt,) = report.attempts
    assert (attempt.failure_class, attempt.evidence, attempt.exit_code, attempt.ended_by) == (
        "code", "log:3: boom", 1, "itself",
    )  # fmt: skip
    assert [(line.event, line.state, line.run_id) for line in report.story] == [("Moved", "failed", "r1")]


def test_a_queued_run_knows_its_place(store):
    """Guards against "pending" as the only answer to "why does it not run?"."""
    found = night.campaign(4, gpus=0)
    store.commit(night.launch(found, [night.row(0), night.row(1), night.row(2), night.row(3, priority=1)]))
    running = night.run(0, S.RUNNING, night.attempt())
    found = replace(found, counts={"pending": 3, "running": 1}, words="gpu:0 is held by eve's campaign")
    store.commit(night.moved(running, campaigns={found.id: found}))
    words = why(store, night.ID, "r2").words
    assert words.startswith("2 runs are before it; 1 of at most 1 attempt side by side runs now")
    assert words.endswith("gpu:0 is held by eve's campaign")
    assert why(store, night.ID, "r3").words.startswith("it is next")
    store.commit(Batch(campaigns={found.id: replace(found, paused=True, paused_why="ada paused it")}))
    paused = why(store, night.ID, "r2")
    assert "the campaign is paused (ada paused it)" in paused.words
    assert paused.next == f"overnight resume {night.ID}"


def test_a_lost_run_and_a_good_one(store):
    """Guards against advice to retry what may still run."""
    store.commit(night.launch(night.campaign(3)))
    lost = night.run(0, S.RUNNING, night.attempt(state=AttemptState.LOST), words="attempt 1 is lost: no word")
    store.commit(night.moved(lost, night.run(1, S.SUCCEEDED, night.attempt(name="none"))))
    assert why(store, night.ID, "r0").next == f"overnight logs {night.ID} r0"
    good = why(store, night.ID, "r1")
    assert (good.next, good.attempts[0].failure_class) == (None, None)
    with pytest.raises(NoSuchThing) as caught:
        why(store, night.ID, "r11")
    assert caught.value.hint == "did you mean r1?"


def test_a_campaign(store):
    """Guards against a held campaign that does not say what it waits for."""
    found = night.campaign(2)
    store.commit(night.launch(found))
    words = "two attempts of r0 stalled at the same place"
    said = StoryEntry(night.ID, "", night.moment(1), "Said", "", "", words)
    held = replace(found, counts={"held": 1, "pending": 1}, words="auth is shown by three runs")
    store.commit(night.moved(night.run(0, S.HELD, cause="auth"), campaigns={found.id: held}, story=[said]))
    report = why_campaign(store, night.ID)
    assert report.words == "auth is shown by three runs: 1 held, 1 pending"
    assert report.next == f"overnight resume {night.ID}"
    assert [(line.words, line.run_id) for line in report.story] == [(words, "")]


def test_a_quarantined_gpu_needs_a_person(store, tmp_path, monkeypatch):
    """Guards against seven GPUs that work on while the eighth waits for somebody to be told."""
    monkeypatch.setenv("OVERNIGHT_SLOTS_DIR", str(tmp_path))
    devices = (Device("3", "GPU-aaaa"), Device("4", "GPU-bbbb"))
    found = night.campaign(2, devices=devices)
    store.commit(night.launch(found))
    watched = SupervisorReport(alive=True, pid=77)
    assert status(store, night.ID, supervisor=watched, root="/r").needs == ()
    SlotFiles(tmp_path).mark("quarantine", "gpu-GPU-bbbb", "gpu:4", "9.0 GiB of its memory are in use")
    (need,) = status(store, night.ID, supervisor=watched, root="/r").needs
    assert (need.what, need.command) == ("GPU 4 is quarantined", "overnight slots release 4")
    assert "9.0 GiB of its memory are in use" in need.why
    assert why_campaign(store, night.ID).next == "overnight slots release 4"
    assert why(store, night.ID, "r1").next == "overnight slots release 4"
    store.commit(Batch(campaigns={found.id: replace(found, ended=night.moment(9))}))
    assert status(store, night.ID, supervisor=watched, root="/r").needs == (), "of no concern to what is over"
