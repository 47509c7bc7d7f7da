"""The database as a file: killed, cut short, full, damaged, of another version, read while written."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import night
import pytest

from overnight.model.codec import replace
from overnight.model.requests import Answer
from overnight.model.states import RunState
from overnight.ports import Batch, RunRef, StoreError
from overnight.store import ReadStore, SqliteStore, StoreFault
from overnight.store.ballast import BALLAST_BYTES, Ballast
from overnight.store.schema import migrations

S = RunState
HERE = Path(__file__).parent


def start(store, rows=50):
    found = night.campaign(rows)
    store.commit(night.launch(found))
    return found


def turn(found, position):
    """A turn that touches every kind of thing, all telling the same number."""
    counts = {"pending": found.runs_total - position - 1, "succeeded": position + 1}
    done = night.run(position, S.SUCCEEDED, night.attempt(name="none"))
    return night.moved(
        done, campaigns={found.id: replace(found, counts=counts)}, meta={"turn": str(position)},
        answers={f"q{position}": Answer(True)}, durable=position % 3 == 0,
    )  # fmt: skip


def check_whole(store):
    """The number of turns that are there, each whole, none missing; -1: not even the launch."""
    if not store.campaign_ids():
        return -1
    record = store.campaign(night.ID)
    turns = int(store.meta("turn") or -1) + 1
    assert record.counts.get("succeeded", 0) == turns
    assert store.positions(night.ID, states=["succeeded"]) == list(range(turns))
    assert len(store.pending(night.ID)) == record.runs_total - turns
    assert len(store.recent(night.ID, 1000)) == turns
    assert [store.answer(f"q{i}") is not None for i in range(turns + 1)] == [True] * turns + [False]
    return turns


WRITER = """
    import os, signal, sys
    sys.path[:0] = [{here!r}]
    import night, test_store_files as t
    from overnight.store import SqliteStore
    store = SqliteStore(sys.argv[1])
    found = t.start(store)
    if sys.argv[2] != "go":
        store.commit(t.turn(found, 0))
        real = store._write
        def write(batch):
            real(batch)
            if sys.argv[2] == "before":
                os.kill(os.getpid(), signal.SIGKILL)
        store._write = write
        store.commit(t.turn(found, 1))
        os.kill(os.getpid(), signal.SIGKILL)
    for position in range(found.runs_total):
        store.commit(t.turn(found, position))
        print(position, flush=True)
"""


def writer(path, how):
    code = textwrap.dedent(WRITER).format(here=str(HERE))
    return subprocess.Popen([sys.executable, "-c", code, str(path), how], stdout=subprocess.PIPE)


@pytest.mark.parametrize(("how", "turns"), [("before", 1), ("after", 2)])
def test_killed_around_a_commit(tmp_path, how, turns):
    """Guards against half a turn after SIGKILL between the writes and the commit, or a whole one forgotten."""
    path = tmp_path / "overnight.db"
    assert writer(path, how).wait(30) == -signal.SIGKILL
    reader = ReadStore(path)  # first a reader, with the dead writer's files as they lie
    assert check_whole(reader) == turns
    reader.close()
    store = SqliteStore(path)
    assert check_whole(store) == turns
    store.commit(turn(store.campaign(night.ID), turns))
    store.close()


@pytest.mark.parametrize("after", [0, 3, 11, 30])
def test_killed_anywhere(tmp_path, after):
    """Guards against a state that only a kill at some odd instant shows: what was reported committed is there."""
    path = tmp_path / "overnight.db"
    with writer(path, "go") as process:
        for _ in range(after + 1):
            process.stdout.readline()
        process.kill()
    store = SqliteStore(path)
    assert check_whole(store) >= after + 1
    store.close()


def test_a_log_cut_short_at_any_place_gives_whole_turns(tmp_path):
    """Guards against a power cut in the middle of a commit: a prefix of turns, never a part of one."""
    path = tmp_path / "overnight.db"
    store = SqliteStore(path)
    found = start(store)
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for position in range(8):
        store.commit(turn(found, position))
    log = Path(f"{path}-wal").read_bytes()
    seen = set()
    for cut in [*range(0, len(log), len(log) // 40), len(log) - 1, len(log)]:
        copy = tmp_path / f"cut-{cut}.db"
        shutil.copy(path, copy)
        Path(f"{copy}-wal").write_bytes(log[:cut])
        again = SqliteStore(copy)
        seen.add(check_whole(again))
        again.close()
    store.close()
    assert seen == set(range(9))


def test_killed_while_the_schema_is_made(tmp_path, monkeypatch):
    """Guards against a first start killed half-way leaving a database that no later start can use."""
    path = tmp_path / "overnight.db"
    monkeypatch.setattr("overnight.store.schema._statements", lambda name: ["CREATE TABLE half (a)", "nonsense"])
    with pytest.raises(StoreError):
        SqliteStore(path)
    monkeypatch.undo()
    store = SqliteStore(path)
    start(store, 1)
    assert not store._db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'half'").fetchall()
    store.close()


FULL = """
    import sys
    sys.path[:0] = [{here!r}]
    import night, test_store_files as t
    from overnight.store import SqliteStore, StoreFault
    from pathlib import Path
    folder = Path(sys.argv[1])
    store = SqliteStore(folder / "overnight.db")
    found = t.start(store)
    filler = folder / "filler"
    position = 0
    with filler.open("wb", 0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    try:
        while True:
            store.commit(t.turn(found, position))
            position += 1
    except StoreFault as fault:
        print(fault.kind, "|", fault)
    assert t.check_whole(store) == position, "while it is full"
    filler.unlink()
    store.commit(t.turn(found, position))
    assert t.check_whole(store) == position + 1, "when there is room again"
    store.close()
    print("went on")
"""


def test_a_full_disk_changes_nothing_and_passes(tmp_path):
    """Guards against a full disk breaking the database, or the writer's connection, for good. A real file
    system without a free block, in a namespace of its own."""
    code = textwrap.dedent(FULL).format(here=str(HERE))
    shell = 'mount -t tmpfs -o size=2m none "$1" && exec "$2" -c "$3" "$1"'
    flags = ["-m"] if os.geteuid() == 0 else ["-r", "-m"]
    done = subprocess.run(
        ["unshare", *flags, "sh", "-c", shell, "sh", str(tmp_path), sys.executable, code],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, went_on = done.stdout.splitlines()
    assert said.startswith(("SQLITE_FULL | the disk", "SQLITE_IOERR_SHMSIZE | the disk"))
    assert went_on == "went on"


def test_a_bounded_database_changes_nothing_and_passes():
    """Guards against a batch that ran out of room leaving its first half behind."""
    store = SqliteStore(":memory:")
    found = start(store, 4)
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreFault, match="is full") as caught:
        store.commit(replace(turn(found, 0), manifests={found.id: bytes(1_000_000)}))
    assert "free space" in caught.value.hint
    assert check_whole(store) == 0
    store._db.execute("PRAGMA max_page_count = 1000000")
    store.commit(turn(found, 0))
    assert check_whole(store) == 1


def test_a_damaged_file_is_named(tmp_path):
    """Guards against a traceback, or a silent fresh start, when the disk has lost something."""
    path = tmp_path / "overnight.db"
    store = SqliteStore(path)
    start(store)
    store.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes(4000) + whole[4100:])
    for opening in (SqliteStore, ReadStore):
        with pytest.raises(StoreFault, match=r"damaged|no database") as caught:
            opening(path).campaigns()
        assert "overnight rebuild" in caught.value.hint
    path.write_bytes(b"this is no database at all" * 100)
    for opening in (SqliteStore, ReadStore):
        with pytest.raises(StoreFault, match="is no database"):
            opening(path)


def test_a_newer_database_is_refused(tmp_path):
    """Guards against an old installation on the same root rewriting what it does not understand."""
    path = tmp_path / "overnight.db"
    SqliteStore(path).close()
    newer = migrations()[-1][0] + 1
    with sqlite3.connect(path) as raw:
        raw.execute(f"PRAGMA user_version = {newer}")
    raw.close()
    before = path.read_bytes()
    for opening in (SqliteStore, ReadStore):
        with pytest.raises(StoreFault, match=f"newer overnight .schema {newer}"):
            opening(path)
    assert path.read_bytes() == before


def test_somebody_elses_database_is_refused(tmp_path):
    """Guards against OVERNIGHT_STATE pointing to another program's folder."""
    path = tmp_path / "overnight.db"
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE precious (a)")
    raw.close()
    with pytest.raises(StoreFault, match="something else"):
        SqliteStore(path)


def test_no_database_and_an_empty_one(tmp_path):
    """Guards against reading making a database where none was."""
    with pytest.raises(StoreFault, match="there is no database"):
        ReadStore(tmp_path / "overnight.db")
    (tmp_path / "overnight.db").touch()
    with pytest.raises(StoreFault, match="is empty"):
        ReadStore(tmp_path / "overnight.db")
    assert (tmp_path / "overnight.db").stat().st_size == 0


def test_a_reader_neither_waits_for_the_writer_nor_stops_it(tmp_path):
    """Guards against `status` blocking on a busy night, and a suspended `status` blocking the supervisor."""
    path = tmp_path / "odd %41?name#.db"
    store = SqliteStore(path)
    found = start(store)
    reader = ReadStore(path)
    with reader.snapshot():
        assert check_whole(reader) == 0
        for position in range(5):
            store.commit(turn(found, position))
        assert check_whole(reader) == 0  # all of it is of one moment
    assert check_whole(reader) == 5
    store._db.execute("BEGIN IMMEDIATE")  # in the middle of a commit
    assert check_whole(reader) == 5
    store._db.execute("ROLLBACK")
    with pytest.raises(StoreFault, match="cannot be written"):
        reader._ask("DELETE FROM run")
    store.close()
    assert check_whole(reader) == 5  # nobody writes
    reader.close()
    assert check_whole(ReadStore(path)) == 5


def test_a_reader_where_nothing_can_be_written(tmp_path):
    """Guards against `status` failing on a mount that is read-only, where readers can share no index."""
    path = tmp_path / "overnight.db"
    store = SqliteStore(path)
    start(store)
    store.close()
    code = f"from overnight.store import ReadStore; print(ReadStore({str(path)!r}).campaign_ids())"
    shell = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$2" -c "$3"'
    flags = ["-m"] if os.geteuid() == 0 else ["-r", "-m"]
    done = subprocess.run(
        ["unshare", *flags, "sh", "-c", shell, "sh", str(tmp_path), sys.executable, code],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == f"['{night.ID}']", done.stderr


def test_a_second_writer_is_told(tmp_path, monkeypatch):
    """Guards against two supervisors writing by turns when a lock has failed."""
    monkeypatch.setattr("overnight.store.sqlite.BUSY_SECONDS", 0.0)
    path = tmp_path / "overnight.db"
    store, other = SqliteStore(path), SqliteStore(path)
    start(store)
    store._db.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreFault, match="somebody else is writing"):
        other.commit(Batch(meta={"a": "b"}))
    store._db.execute("ROLLBACK")
    other.commit(Batch(meta={"a": "b"}))
    assert store.meta("a") == "b"


def test_old_answers_go(tmp_path, monkeypatch):
    """Guards against a database that grows with every request for years."""
    path = tmp_path / "overnight.db"
    store = SqliteStore(path)
    with monkeypatch.context() as patch:
        patch.setattr("overnight.store.sqlite.time.time", lambda: 1000.0)
        store.commit(Batch(answers={"old": Answer(True)}))
    store.commit(Batch(answers={"new": Answer(True)}))
    store.close()
    store = SqliteStore(path)
    assert (store.answer("old"), store.answer("new")) == (None, Answer(True))
    store.close()


def test_durable_means_synced(tmp_path):
    """Guards against a start that a power cut forgets: the run would be started twice."""
    store = SqliteStore(tmp_path / "overnight.db")
    found = start(store)
    modes = []
    real = store._write
    store._write = lambda batch: (modes.append(store._db.execute("PRAGMA synchronous").fetchone()[0]), real(batch))
    for position in range(4):
        store.commit(turn(found, position))
    assert modes == [2, 1, 1, 2]  # FULL, NORMAL
    assert store.run(RunRef(night.ID, "r3")).state == S.SUCCEEDED
    store.close()


def test_ballast_is_taken_on_where_there_is_room_and_thrown_off_once(tmp_path):
    """The last states of a night found no room on a full disk."""
    path, clock = str(tmp_path / "ballast"), [0.0]
    ballast = Ballast(path, lambda: clock[0])
    assert not ballast.throw_off()
    clock[0] = 61.0
    ballast.take_on()
    assert os.stat(path).st_size == BALLAST_BYTES and os.stat(path).st_blocks * 512 >= BALLAST_BYTES
    assert ballast.throw_off() and os.stat(path).st_size == 0
    assert not ballast.throw_off()
    ballast.take_on()  # not at once again: the disk was full a moment ago
    assert os.stat(path).st_size == 0
    clock[0] = 200.0
    ballast.take_on()
    assert os.stat(path).st_size == BALLAST_BYTES


def test_ballast_makes_room_for_the_last_states(tmp_path, monkeypatch):
    """A disk filled up at three: what had ended by then was forgotten, and ran once more in the morning."""
    store = SqliteStore(tmp_path / "overnight.db")
    found = start(store, 3)
    known, ballast = store._commit, tmp_path / "ballast"
    assert ballast.stat().st_size == BALLAST_BYTES

    def full(batch):
        if ballast.stat().st_size:
            raise StoreFault("the disk is full", kind="SQLITE_FULL")
        known(batch)

    monkeypatch.setattr(store, "_commit", full)
    store.commit(turn(found, 0))
    assert store.meta("turn") == "0" and ballast.stat().st_size == 0

    def still_full(batch):
        raise StoreFault("the disk is full", kind="SQLITE_FULL")

    monkeypatch.setattr(store, "_commit", still_full)
    with pytest.raises(StoreFault):  # thrown off once: there is nothing more to give
        store.commit(turn(found, 1))
    store.close()
