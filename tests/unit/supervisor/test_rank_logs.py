"""Logs by rank: only this attempt's, only the run's, never without end."""

import glob
import os
from pathlib import Path

import pytest

from overnight.core import ending
from overnight.model.policy import OwnRules
from overnight.model.run import Attempt, ExitRecord, Slot
from overnight.model.states import AttemptState
from overnight.model.time import Moment
from overnight.ports import ExamineOrder, RunRef
from overnight.probes import FileProbe
from overnight.supervisor import rank_logs as module
from overnight.supervisor.examine import RULES_UNREADABLE, FileExaminer
from overnight.supervisor.rank_logs import rank_logs

OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n"
LATE = (
    "Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7) ran for 600000 milliseconds before timing out\n"
)
BEGAN = 1_000_000.0


class World:
    """A run's folder with one attempt that began at `BEGAN`."""

    def __init__(self, base: Path) -> None:
        self.run = base / "runs [1]" / "r0"
        self.attempt = self.run / "attempts" / "1"
        self.attempt.mkdir(parents=True)
        (self.run / "out").mkdir()
        self.file(self.attempt / "started", "{}", 0)

    def file(self, path: Path, text: str, after: float) -> Path:
        """A file last written to so many seconds after the attempt's beginning."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (BEGAN + after, BEGAN + after))
        return path

    def found(self, *patterns: str) -> list[str]:
        out = glob.escape(str(self.run / "out"))
        return [name for name, _ in rank_logs([f"{out}/{each}" for each in patterns], str(self.run), str(self.attempt))]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_torchruns_folders_are_found_first_to_fall_silent_first(world: World) -> None:
    """Of two ranks' errors the one was taken that came half an hour after the other."""
    for rank, after in ((0, 900), (1, 30), (2, 901)):
        world.file(world.run / f"out/logs/none_x8k2/attempt_0/{rank}/stderr.log", "x", after)
    assert world.found("logs/**/*.log") == [
        f"out/logs/none_x8k2/attempt_0/{rank}/stderr.log" for rank in (1, 0, 2)
    ]  # fmt: skip
    assert world.found("logs/*/attempt_[0-9]/1/stderr.log") == ["out/logs/none_x8k2/attempt_0/1/stderr.log"]


def test_what_an_earlier_attempt_left_is_not_this_ones(world: World) -> None:
    """The second attempt failed of a full disk, and was called out of memory by the first one's log."""
    world.file(world.run / "out" / "rank-0.log", OOM, -1)
    world.file(world.run / "out" / "rank-1.log", "x", 1)
    assert world.found("rank-*.log", "rank-1.log") == ["out/rank-1.log"]
    (world.attempt / "started").unlink()
    assert world.found("rank-*.log") == []


def test_pipes_links_out_of_the_run_folders_and_empty_files_are_left_alone(world: World, tmp_path: Path) -> None:
    """Opening a pipe that nobody writes to never returned."""
    out = world.run / "out"
    os.mkfifo(out / "pipe.log")
    world.file(tmp_path / "elsewhere.log", OOM, 5)
    (out / "link.log").symlink_to(tmp_path / "elsewhere.log")
    (out / "loop").symlink_to(out)
    (out / "folder.log").mkdir()
    world.file(out / "empty.log", "", 5)
    world.file(out / ".hidden.log", "x", 5)
    world.file(out / "good.log", "x", 5)
    assert world.found("**/*.log", "../../../../*.log") == ["out/good.log"]


def test_the_newest_within_bounds_are_taken(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand ranks' logs, or one of a terabyte, held the examination up."""
    for rank in range(80):
        world.file(world.run / "out" / f"rank-{rank}.log", "x" * 10, rank + 1)
    assert world.found("rank-*.log") == [f"out/rank-{rank}.log" for rank in range(16, 80)]
    monkeypatch.setattr(module, "TOTAL_BYTES", 25)
    assert world.found("rank-*.log") == ["out/rank-78.log", "out/rank-79.log"]


def test_a_folder_without_end_is_not_walked_to_its_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set of ten million files lay below {out_dir}."""
    for number in range(50):
        world.file(world.run / "out" / f"a{number:02}" / "x.bin", "x", 5)
    world.file(world.run / "out" / "z" / "rank.log", "x", 5)
    assert world.found("**/*.log") == ["out/z/rank.log"]
    monkeypatch.setattr(module, "ENTRIES_MOST", 40)
    assert world.found("**/*.log") == []


def order(world: World, **changes: object) -> ExamineOrder:
    attempt = Attempt(
        n=1, epoch=1, state=AttemptState.ENDED, revision=1, code="c0de", slot=Slot("cpu:0", (), ()),
        planned=Moment(0.0, 0.0, "boot"), exit=ExitRecord(code=1, raw=256, seconds=1.0),
    )  # fmt: skip
    assert ending.ended_by(attempt) == "itself"
    base: dict[str, object] = {
        "ref": RunRef("c", "r0"), "attempt": attempt, "run_dir": str(world.run), "out_dir": str(world.run / "out"),
        "attempt_dir": str(world.attempt), "pattern": None, "required": (),
    }  # fmt: skip
    return ExamineOrder(**{**base, **changes})


def test_the_rank_that_failed_is_named_as_evidence(world: World) -> None:
    """torchrun sent the failing rank's stderr to a file of its own, and the run was `unknown`."""
    world.file(world.attempt / "output.log", "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n", 9)
    world.file(world.run / "out/logs/0/stderr.log", LATE, 8)
    world.file(world.run / "out/logs/3/stderr.log", f"fine\n{OOM}", 5)
    examiner = FileExaminer(FileProbe(), lambda *order: ())
    pattern = f"{glob.escape(str(world.run))}/out/logs/**/*.log"
    found = examiner.examine(order(world, logs=(pattern,))).classification
    assert (found.name, found.consequences) == ("oom.gpu", ("nccl.timeout",))
    assert found.evidence is not None
    assert (found.evidence.file, found.evidence.line) == ("out/logs/3/stderr.log", 2)


def test_the_campaigns_own_rules_decide_and_unreadable_ones_stop_nothing(world: World) -> None:
    """A campaign outlived an update that no longer knew one of its rules' classes: its runs were held as `internal`."""
    world.file(world.attempt / "output.log", "ledger: budget gone\n", 9)
    examiner = FileExaminer(FileProbe(), lambda *order: ())
    text = '[gone]\nclass = "config"\nfind = ["budget gone"]\n'
    found = examiner.examine(order(world, rules=OwnRules("mine.toml", "", text))).classification
    assert (found.name, found.rule, found.flags) == ("config", "own:gone", ())
    assert found.evidence is not None and found.evidence.file == "attempts/1/output.log"
    unread = OwnRules("mine.toml", "", text.replace("config", "gone.class"))
    found = examiner.examine(order(world, rules=unread)).classification
    assert (found.name, found.flags) == ("unknown", (RULES_UNREADABLE,))
