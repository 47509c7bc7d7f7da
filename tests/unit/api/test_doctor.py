"""`overnight doctor`: one line for each thing that spoils nights, each bounded."""

import json
import os
import re
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from overnight.api import doctor
from overnight.api.doctor import ground, rounds, watch
from overnight.api.places import Place
from overnight.cli.app import run
from overnight.executors.slot_files import SlotFiles
from overnight.model.health import Check, Health
from overnight.model.notices import Notice, NoticeKind
from overnight.model.time import Moment
from overnight.ports import Batch
from overnight.store import SqliteStore
from overnight.supervisor import keep


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A root with a database, and nobody's real files near."""
    root = tmp_path / "root"
    (root / ".state").mkdir(parents=True)
    SqliteStore(root / ".state" / "overnight.db").close()
    monkeypatch.setenv("OVERNIGHT_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("OVERNIGHT_SLOTS_DIR", str(tmp_path / "slots"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return Place(str(root), str(root / ".state"))


def named(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def test_every_question_has_a_line_and_nothing_is_left(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A healthy machine is said to be one, line by line; probes are removed."""
    before = sorted(place.root.rglob("*"))
    _, checks = doctor.examine(place.root_name)
    assert [check.name for check in checks] == [
        "root", "state", "database", "supervisor", "install", "logout", "slots", "gpus", "stacks", "shm", "limits",
        "cgroups", "clock", "notify",
    ]  # fmt: skip
    assert {named(checks, name).health for name in ("root", "state", "database", "supervisor", "clock")} == {Health.OK}
    assert [each for each in sorted(place.root.rglob("*")) if not each.name.endswith(("-wal", "-shm"))] == before
    code = run(["doctor", "--json", "--root", place.root_name])
    document = json.loads(capsys.readouterr().out)
    assert code == (4 if document["bad"] else 0)
    assert set(document["checks"][0]) == {"name", "health", "words", "hint"}


def test_a_root_that_is_not_there_yet_is_looked_at_where_it_would_be(tmp_path: Path, place: Place) -> None:
    """The doctor is asked before the first launch, too, and makes nothing."""
    _, checks = doctor.examine(str(tmp_path / "later"))
    assert named(checks, "root").health == Health.OK and "not made yet" in named(checks, "root").words
    assert not (tmp_path / "later").exists()


def test_what_hangs_is_one_line(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead NFS mount made the doctor hang, of all programs."""
    release = threading.Event()
    monkeypatch.setattr(watch, "slots", lambda: release.wait(30))
    began = time.monotonic()
    _, checks = rounds.examine(place.root_name, limit_seconds=2.0)
    release.set()
    assert time.monotonic() - began < 15
    assert (named(checks, "slots").health, named(checks, "slots").words) == (Health.BAD, "no answer within 2 s")
    assert named(checks, "root").health == Health.OK


def test_what_fails_is_one_line(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """One question's traceback hid thirteen answers."""
    monkeypatch.setattr(watch, "gpus", lambda: 1 // 0)
    assert "ZeroDivisionError" in named(doctor.examine(place.root_name)[1], "gpus").words


def test_a_damaged_database_is_found_before_the_night(place: Place) -> None:
    """Half the pages were zero; the file opened well, and the first commit of the night failed."""
    with sqlite3.connect(place.database) as connection:
        connection.execute("CREATE TABLE filler (words TEXT)")
        connection.executemany("INSERT INTO filler VALUES (?)", [("x" * 500,) for _ in range(500)])
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    size = os.path.getsize(place.database)
    with open(place.database, "r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * 8192)
    found = ground.database(place)
    assert found.health == Health.BAD and "rebuild" in found.hint


def test_a_database_of_a_newer_version_is_named(place: Place) -> None:
    """An older installation on the login node looked at what a newer one had written."""
    with sqlite3.connect(place.database) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    found = ground.database(place)
    assert found.health == Health.BAD and "newer" in found.words


def test_a_database_that_was_removed_is_named(place: Place) -> None:
    """Somebody tidied up; campaigns lay there that nobody knew any more."""
    (place.root / "campaigns" / "bat-1").mkdir(parents=True)
    (place.root / "campaigns" / "bat-1" / "manifest.json").write_text("{}")
    os.unlink(place.database)
    found = ground.database(place)
    assert found.health == Health.BAD and "rebuild" in found.hint


def test_a_full_volume_is_bad_and_a_small_one_a_warning(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The volume was full at two in the morning; at ten in the evening it had 300 MB left."""
    real = os.statvfs(place.root)

    def left(bytes_: int, inodes: int = 10**6) -> Health:
        class Found:
            f_frsize, f_bavail, f_files, f_favail = 1, bytes_, real.f_files or 1, inodes

        monkeypatch.setattr(os, "statvfs", lambda path: Found)
        return ground.room("root", place.root, local=False).health

    assert (left(10 << 20), left(300 << 20), left(10 << 30)) == (Health.BAD, Health.WARN, Health.OK)
    assert (left(10 << 30, inodes=500), left(10 << 30, inodes=5000)) == (Health.BAD, Health.WARN)


def test_a_root_that_cannot_be_written(place: Place) -> None:
    """A read-only mount is found by writing, not by its permissions."""
    found = ground.room("root", Path("/proc/sys"), local=False)
    assert found.health == Health.BAD and "writing" in found.words


def test_a_state_on_a_network_file_system_is_bad(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite on NFS: it works until it does not."""
    from overnight.artifacts import filesystems

    monkeypatch.setattr(filesystems, "fs_type", lambda path, *_: "nfs4")
    assert ground.room("state", place.state, local=True).health == Health.BAD
    assert ground.room("root", place.root, local=False).health == Health.OK


def test_a_clock_that_differs_from_the_file_servers(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file server an hour ahead: every `newer than` was wrong."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    found = ground.clock(place.root)
    assert found.health == Health.WARN and re.search(r" 36\d\d s behind$", found.words)


def test_nobody_watches_what_has_not_ended(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor said all was well, and nothing ran."""
    assert watch.supervisor(place).health == Health.OK
    monkeypatch.setattr(watch, "_unfinished", lambda where: 2)
    found = watch.supervisor(place)
    assert found.health == Health.BAD and found.hint == f"overnight supervisor start --root {place.root}"
    keep.wish_stopped(place.state, "ada")
    assert watch.supervisor(place).health == Health.WARN


def test_a_directory_of_slots_that_is_somebody_elses(place: Place, tmp_path: Path) -> None:
    """A link in /var/tmp with our name on it, planted by another user."""
    assert watch.slots().health == Health.OK, "not there yet"
    (tmp_path / "slots").symlink_to("/etc")
    assert watch.slots().health == Health.BAD
    (tmp_path / "slots").unlink()
    (tmp_path / "slots").mkdir()
    (tmp_path / "slots").chmod(0o777)
    assert watch.slots().health == Health.WARN
    (tmp_path / "slots").chmod(0o1777)
    (tmp_path / "slots" / "gpu-0.quarantine").write_text("{}")
    found = watch.slots()
    assert found.health == Health.WARN and "gpu-0 (quarantined)" in found.words


def test_a_drain_that_is_over_is_nothing_to_warn_of(place: Place, tmp_path: Path) -> None:
    """`doctor` named a GPU that had been back since eight, and `slots`, which it sent to, knew of nothing."""
    slot_files = SlotFiles(tmp_path / "slots")
    slot_files.mark("drain", "gpu-0", "gpu:0", "", time.time() - 1.0)
    assert watch.slots().health == Health.OK
    slot_files.mark("drain", "gpu-0", "gpu:0", "", time.time() + 3600.0)
    assert watch.slots().words == "taken out of use: gpu:0 (drained)"


def test_settings_with_addresses_that_others_may_read(place: Place, tmp_path: Path) -> None:
    """A webhook's address is its password."""
    path = tmp_path / "config.toml"
    path.write_text('[notify]\nwebhook = "https://example.org/SECRET"\n')
    path.chmod(0o644)
    found = watch.notify(place)
    assert found.health == Health.WARN and found.hint == f"chmod 600 {path}" and "SECRET" not in found.words
    path.chmod(0o600)
    assert watch.notify(place).health == Health.OK
    path.write_text("[notify]\nwebhok = 1\n")
    assert watch.notify(place).health == Health.BAD


def test_notices_that_nobody_took_are_said(place: Place, tmp_path: Path) -> None:
    """The webhook had answered 404 for a week."""
    (tmp_path / "config.toml").write_text('[notify]\ncommand = "true"\n')
    at = Moment(1.0, 1_700_000_000.0, "boot")
    owed = Notice("bat-1", "end", 1, NoticeKind.END, at, at, "ended", tries=3, words="webhook x: answered 404")
    store = SqliteStore(place.database)
    store.commit(Batch(notices={owed.key: owed}))
    store.close()
    found = watch.notify(place)
    assert found.health == Health.WARN and "bat-1/end/1: webhook x: answered 404" in found.words


def test_a_test_notice_goes_through_every_channel(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first notice ever sent was the one at four in the morning, and the token in it had expired."""
    path = tmp_path / "config.toml"
    path.write_text(f'[notify]\ntell = ["digest"]\ncommand = "cat > {tmp_path}/told"\n')
    run(["doctor", "--notify", "--json", "--root", place.root_name])
    told = [each for each in json.loads(capsys.readouterr().out)["checks"] if each["name"] == "test"]
    assert [each["health"] for each in told] == ["ok"]
    assert "overnight: a test" in (tmp_path / "told").read_text()
    path.write_text('[notify]\ncommand = "exit 7"\n')
    assert run(["doctor", "--notify", "--root", place.root_name]) == 4
    assert "exit 7" in capsys.readouterr().out
    path.write_text('[ping]\nurl = "http://127.0.0.1:9/"\n')
    assert run(["doctor", "--notify", "--root", place.root_name]) == 4
    assert "ping: not reached" in capsys.readouterr().out, "a dead man's switch with a typing error in it"
    path.unlink()
    assert run(["doctor", "--notify", "--root", place.root_name]) == 2
