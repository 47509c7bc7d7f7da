"""What a launch freezes on disk."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from overnight.artifacts import write_launch_env, write_manifest, write_revision
from overnight.model.manifest import Refusal


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_the_manifest_is_frozen(tmp_path: Path) -> None:
    """A manifest replaced under a campaign's name made last week's results answer for this week's."""
    path = write_manifest(str(tmp_path), "c-1", b"{}")
    assert write_manifest(str(tmp_path), "c-1", b"{}") == path
    assert mode(path) == 0o444
    with pytest.raises(Refusal, match="other contents"):
        write_manifest(str(tmp_path), "c-1", b"[]")
    assert Path(path).read_bytes() == b"{}"
    assert sorted(os.listdir(Path(path).parent)) == ["manifest.json", "runs"]


def test_revisions_are_frozen(tmp_path: Path) -> None:
    """They are chained by digest: one changed byte breaks the chain of all later ones."""
    path = write_revision(str(tmp_path), "c-1", 2, b"two")
    assert Path(path) == tmp_path / "campaigns" / "c-1" / "revisions" / "2.json"
    assert mode(path) == 0o444
    with pytest.raises(Refusal):
        write_revision(str(tmp_path), "c-1", 2, b"too")


def test_the_environment_is_private_and_whole(tmp_path: Path) -> None:
    """The launching shell's tokens are in it; and a PATH with bytes that are no text must survive."""
    previous = os.umask(0)
    try:
        path = write_launch_env(str(tmp_path), "c-1", {"TOKEN": "s", "ODD": "\udcff"})
        write_launch_env(str(tmp_path), "c-1", {"TOKEN": "t", "ODD": "\udcff"})
    finally:
        os.umask(previous)
    assert mode(path) == 0o600
    assert mode(os.path.dirname(path)) == 0o700
    assert json.loads(Path(path).read_bytes()) == {"TOKEN": "t", "ODD": "\udcff"}


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file replaced by an empty one because the disk was full: the campaign's environment was gone."""
    path = write_launch_env(str(tmp_path), "c-1", {"A": "1"})

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_launch_env(str(tmp_path), "c-1", {"A": "2"})
    assert json.loads(Path(path).read_bytes()) == {"A": "1"}
    assert os.listdir(os.path.dirname(path)) == ["c-1.env"]
