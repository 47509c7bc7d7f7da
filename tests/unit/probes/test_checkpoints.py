"""Checkpoints: which one a run is resumed from."""

import os
from collections.abc import Collection
from pathlib import Path

import pytest

from overnight.probes.checkpoints import whole


def make(path: Path, data: bytes = b"x", at: int | None = None) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    if at is not None:
        os.utime(path, (at, at))
    return str(path)


def newest(pattern: str, complete: str | None = None, excluded: Collection[str] = ()) -> str | None:
    """What a run would be resumed from."""
    found = whole(pattern, complete, excluded, settle_seconds=0)
    return found[0] if found else None


def test_the_highest_number_wins_over_the_newest_file(tmp_path: Path) -> None:
    """A copy of an old checkpoint is the newest file."""
    make(tmp_path / "ckpt_1000.pt", at=100)
    make(tmp_path / "ckpt_200.pt", at=900)
    make(tmp_path / "ckpt_last.pt", at=999)
    found = whole(f"{tmp_path}/ckpt_*.pt", settle_seconds=0)
    assert [os.path.basename(path) for path in found] == ["ckpt_1000.pt", "ckpt_200.pt", "ckpt_last.pt"]


def test_without_numbers_the_newest(tmp_path: Path) -> None:
    """Two unnumbered checkpoints take turns in some programs."""
    make(tmp_path / "a.pt", at=100)
    last = make(tmp_path / "b.pt", at=200)
    assert newest(f"{tmp_path}/*.pt") == last


def test_numbers_of_folders_that_the_pattern_fixes_say_nothing(tmp_path: Path) -> None:
    """`runs/s7/…` is a seed, not a step."""
    low = make(tmp_path / "run7" / "checkpoint-5" / "model.pt")
    high = make(tmp_path / "run7" / "checkpoint-10" / "model.pt")
    assert whole(f"{tmp_path}/run7/checkpoint-*/model.pt", settle_seconds=0) == (high, low)


def test_incomplete_folders_are_passed_over(tmp_path: Path) -> None:
    """A killed run left half a sharded checkpoint, and every retry died of loading it."""
    make(tmp_path / "checkpoint-100" / "model.bin")
    make(tmp_path / "checkpoint-100" / "trainer_state.json")
    make(tmp_path / "checkpoint-200" / "model.bin")
    make(tmp_path / "tmp-checkpoint-300" / "trainer_state.json")
    (tmp_path / "checkpoint-400").mkdir()
    pattern = f"{tmp_path}/*checkpoint-*"
    assert newest(pattern, "trainer_state.json") == str(tmp_path / "checkpoint-100")
    assert newest(pattern) == str(tmp_path / "checkpoint-200")


def test_empty_and_unfinished_files_are_passed_over(tmp_path: Path) -> None:
    """A full disk leaves zero bytes under the right name."""
    good = make(tmp_path / "ckpt-1.pt")
    make(tmp_path / "ckpt-2.pt", b"")
    make(tmp_path / "ckpt-3.pt.tmp")
    assert whole(f"{tmp_path}/ckpt*", settle_seconds=0) == (good,)


def test_one_that_still_changes_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload or a slow writer still had the file open."""
    good, growing = make(tmp_path / "ckpt-1.pt"), make(tmp_path / "ckpt-2.pt")

    def meanwhile(seconds: float) -> None:
        assert seconds == 0.1
        with open(growing, "ab") as file:
            file.write(b"more")

    monkeypatch.setattr("overnight.probes.checkpoints.time.sleep", meanwhile)
    assert whole(f"{tmp_path}/ckpt-*.pt") == (good,)


def test_links_are_followed_and_excluded_ones_skipped(tmp_path: Path) -> None:
    """`latest` pointed to the checkpoint that would not load; excluding the link would exclude its successors."""
    old, new = make(tmp_path / "step_1" / "w.pt"), make(tmp_path / "step_2" / "w.pt")
    link = tmp_path / "latest.pt"
    link.symlink_to(new)
    assert newest(str(link)) == new
    assert newest(str(link), excluded=[new]) is None
    link.unlink()
    link.symlink_to(old)
    assert newest(str(link), excluded=[new]) == old
    link.unlink()
    link.symlink_to(tmp_path / "gone.pt")
    assert newest(str(link)) is None


def test_nothing_is_there(tmp_path: Path) -> None:
    """The first attempt died before its first checkpoint: that is a start from nothing, not an error."""
    assert newest(f"{tmp_path}/none/ckpt.pt") is None
    assert newest(f"{tmp_path}/none/ckpt-*.pt") is None


def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path: Path) -> None:
    """A stale mount made a run begin again from scratch, over its own checkpoints."""
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(OSError, match="symbolic links"):
        newest(f"{loop}/ckpt-*.pt")
