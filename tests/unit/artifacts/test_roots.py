"""Where a root's state lives, and how later commands find it."""

import errno
import os
import stat
from pathlib import Path

import pytest

from overnight.artifacts import filesystems, roots
from overnight.artifacts.filesystems import fs_type, is_local
from overnight.artifacts.finding import KnownRoot, known_roots
from overnight.artifacts.roots import attempts_home, find_state_dir, remember_root, state_dir
from overnight.model.manifest import Refusal

MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:40 / /mnt/nfs rw - nfs4 server:/x rw
31 30 0:41 / /mnt/nfs/local rw - xfs /dev/sdb1 rw
32 22 0:42 / /mnt/with\\040space rw shared:1 - fuse.sshfs host:/y rw
33 22 0:43 / /mnt/twice rw - ext4 /dev/sdc1 rw
34 22 0:44 / /mnt/twice rw - lustre x@tcp:/l rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "local"),
    [
        ("/home/x", "ext4", True),
        ("/mnt/nfs/runs", "nfs4", False),
        ("/mnt/nfs/local/runs", "xfs", True),
        ("/mnt/nfsx", "ext4", True),
        ("/mnt/with space/a", "fuse.sshfs", False),
        ("/mnt/twice/a", "lustre", False),
    ],
)
def test_which_file_systems_are_local(tmp_path: Path, path: str, kind: str, local: bool) -> None:
    """SQLite on NFS: two hosts each held the lock, and the database was torn."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert fs_type(path, str(mounts)) == kind
    assert is_local(path, str(mounts)) is local


def test_unknown_file_systems_are_local(tmp_path: Path) -> None:
    """A container without /proc/self/mountinfo must still run."""
    assert is_local("/x", str(tmp_path / "none"))
    assert filesystems.fs_type("/proc/self") == "proc"


def test_links_are_followed_up_to_a_server_and_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`realpath` of a root on a dead file server: whoever asked where it was slept until the server came back."""
    mounts = tmp_path / "mountinfo"
    server = tmp_path / "server"
    mounts.write_text(
        MOUNTS + f"40 22 0:50 / {server} rw - nfs4 host:/z rw\n41 22 0:51 / {server}/disk rw - xfs /d rw\n"
    )
    (tmp_path / "data").symlink_to("more")
    (tmp_path / "more").symlink_to(server)
    (tmp_path / "round").symlink_to("round")
    asked: list[str] = []
    readlink = os.readlink

    def recorded(path: str) -> str:
        asked.append(path)
        return readlink(path)

    monkeypatch.setattr(os, "readlink", recorded)
    assert fs_type(str(tmp_path / "data" / "runs" / "x"), str(mounts)) == "nfs4"
    assert filesystems.served_from(str(tmp_path / "data"), str(mounts)) == str(server)
    assert fs_type(str(tmp_path / "data" / "disk"), str(mounts)) == "xfs"
    assert is_local(str(tmp_path / "round" / "x"), str(mounts))
    assert not [path for path in asked if path.startswith(str(server))]


def test_a_server_that_does_not_answer_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One dead mount among the roots of a user, and `status` hung for all of them, deaf to Ctrl-C."""
    assert filesystems.answers(str(tmp_path)) and filesystems.answers(str(tmp_path / "missing"))
    monkeypatch.setattr(filesystems, "_ASK", ["/bin/sh", "-c", "exec sleep 5"])
    assert not filesystems.answers(str(tmp_path), 0.05)


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every path called `…/nfs/…` is on a server."""
    monkeypatch.setattr(roots, "is_local", lambda path: "/nfs" not in path)


def test_state_is_in_a_local_root(tmp_path: Path) -> None:
    """The usual case; nobody else may read the requests and secrets in it."""
    previous = os.umask(0)
    try:
        state = state_dir(tmp_path / "root", {})
    finally:
        os.umask(previous)
    assert state == tmp_path / "root" / ".state"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert state_dir(tmp_path / "root", {}) == state
    assert find_state_dir(tmp_path / "root") is None  # no database yet
    (state / "overnight.db").touch()
    assert find_state_dir(tmp_path / "root") == state
    assert not (tmp_path / "root" / roots.POINTER).exists()
    assert attempts_home(tmp_path / "root", state) == tmp_path / "root"


def test_a_moved_root_keeps_its_state(tmp_path: Path) -> None:
    """A renamed folder was taken for somebody else's."""
    state_dir(tmp_path / "a", {})
    (tmp_path / "a").rename(tmp_path / "b")
    assert state_dir(tmp_path / "b", {}) == tmp_path / "b" / ".state"


def test_a_remote_root_has_its_state_at_home(tmp_path: Path, remote: None) -> None:
    """And the next command, typed anywhere on this host with any environment, finds it."""
    root = tmp_path / "nfs" / "root"
    env = {"XDG_STATE_HOME": str(tmp_path / "home")}
    state = state_dir(root, env)
    assert state.parent == tmp_path / "home" / "overnight"
    assert find_state_dir(root) == state
    assert state_dir(root, {"XDG_STATE_HOME": "/elsewhere"}) == state
    assert attempts_home(root, state) == state / "attempts"


def test_no_local_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A diskless node: say so, and what to set, instead of a torn database next week."""
    monkeypatch.setattr(roots, "is_local", lambda path: False)
    with pytest.raises(Refusal, match="no local, writable place") as refused:
        state_dir(tmp_path / "root", {"XDG_STATE_HOME": str(tmp_path)})
    assert "OVERNIGHT_STATE" in (refused.value.hint or "")


def test_overnight_state_wins_and_is_found_again(tmp_path: Path) -> None:
    """Set in one shell and not in the next: both must mean the same supervisor."""
    root = tmp_path / "root"
    state = state_dir(root, {"OVERNIGHT_STATE": str(tmp_path / "mine")})
    assert state == tmp_path / "mine"
    (state / "overnight.db").touch()
    assert state_dir(root, {}) == state
    with pytest.raises(Refusal, match="OVERNIGHT_STATE names"):
        state_dir(root, {"OVERNIGHT_STATE": str(tmp_path / "other")})


def test_two_roots_cannot_share_a_state(tmp_path: Path) -> None:
    """One exported variable, two roots: two supervisors fought for one database."""
    env = {"OVERNIGHT_STATE": str(tmp_path / "state")}
    state_dir(tmp_path / "a", env)
    with pytest.raises(Refusal, match="is the state of"):
        state_dir(tmp_path / "b", env)


def test_a_root_that_cannot_be_written(tmp_path: Path) -> None:
    """A file in the way stands for every root that is not ours to write."""
    (tmp_path / "root").write_text("a file")
    with pytest.raises(Refusal, match="cannot be used"):
        state_dir(tmp_path / "root", {})


def test_a_full_disk_is_said_at_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an hour later by a supervisor that nobody sees."""

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Refusal, match="is full"):
        state_dir(tmp_path / "root", {})
    assert os.listdir(tmp_path / "root" / ".state") == []


def test_roots_are_remembered(tmp_path: Path) -> None:
    """The next morning, from another directory, the name alone must do."""
    env = {"XDG_STATE_HOME": str(tmp_path)}
    assert known_roots(env) == []
    for campaign in ("a-1", "b-2", "a-1"):
        assert remember_root(tmp_path / "root", campaign, env)
    host = os.uname().nodename
    root = str(tmp_path / "root")
    assert known_roots(env) == [KnownRoot(root, "a-1", host), KnownRoot(root, "b-2", host)]


def test_torn_lines_cost_only_themselves(tmp_path: Path) -> None:
    """A client killed while it wrote made every later campaign unknown."""
    env = {"XDG_STATE_HOME": str(tmp_path)}
    remember_root(tmp_path, "a-1", env)
    file = tmp_path / "overnight" / "roots.jsonl"
    with file.open("ab") as torn:
        torn.write(b'{"root": "/x", "camp')
    remember_root(tmp_path, "b-2", env)
    with file.open("ab") as torn:
        torn.write(b'[]\n\xff\n{"root": 1}\n')
    assert [known.campaign for known in known_roots(env)] == ["b-2", "a-1"]


def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch an hour for years."""
    monkeypatch.setattr(roots, "ROOTS_BYTES", 2000)
    monkeypatch.setattr(roots, "ROOTS_KEPT", 5)
    env = {"XDG_STATE_HOME": str(tmp_path)}
    for n in range(100):
        remember_root(tmp_path, f"c-{n}", env)
    known = known_roots(env)
    assert [k.campaign for k in known][:3] == ["c-99", "c-98", "c-97"]
    assert len(known) < 40


def test_a_home_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    """A read-only home in a container must not refuse a launch."""
    (tmp_path / "overnight").write_text("a file")
    env = {"XDG_STATE_HOME": str(tmp_path)}
    assert not remember_root(tmp_path, "a-1", env)
    assert known_roots(env) == []
