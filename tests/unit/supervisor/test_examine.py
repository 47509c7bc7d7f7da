"""What an attempt left, put together: how it ended, what it was about, what it must have left."""

import shutil
from pathlib import Path

import pytest

from overnight.model.classes import Classification
from overnight.model.run import Attempt, ExitRecord, Slot
from overnight.model.states import AttemptState
from overnight.model.time import Moment
from overnight.ports import ExamineOrder, RunRef
from overnight.probes import FileProbe, whole
from overnight.supervisor.examine import MOUNT_LATE, FileExaminer

START = Moment(1000.0, 1_700_000_000.0, "boot")


class Left:
    """The files of an attempt that has ended."""

    def __init__(self, base: Path) -> None:
        self.run_dir = base / "runs" / "lr3-s0"
        self.out, self.folder = self.run_dir / "out", self.run_dir / "attempts" / "1"
        for folder in (self.out, self.folder):
            folder.mkdir(parents=True)
        (self.folder / "started").touch()

    def examined(self, log: str | None, record: ExitRecord | None, required: tuple[str, ...] = ()) -> Classification:
        """`log` None: there is none."""
        if log is not None:
            (self.folder / "output.log").write_text(log)
        attempt = Attempt(1, 1, AttemptState.ENDED, 1, Slot("cpu:0"), START, started=START, ended=START, exit=record)
        order = ExamineOrder(
            RunRef("bat-1", "lr3-s0"), attempt, str(self.run_dir), str(self.out), str(self.folder), None, required,
        )  # fmt: skip
        return FileExaminer(FileProbe(), whole).examine(order).classification


@pytest.fixture
def left(tmp_path: Path) -> Left:
    return Left(tmp_path)


def missing(path: Path) -> str:
    return (
        "Traceback (most recent call last):\n"
        '  File "train.py", line 3, in <module>\n    shards = open_shards(path)\n'
        f"FileNotFoundError: [Errno 2] No such file or directory: '{path}'\n"
    )


def test_a_success_that_left_nothing_is_none(left: Left) -> None:
    """A trainer that swallowed its error and ended with 0 was counted among the results."""
    found = left.examined("done\n", ExitRecord(code=0, raw=0), required=("summary.csv",))
    assert (found.name, found.message) == ("artifact.missing", "exited 0 without summary.csv")
    (left.out / "summary.csv").write_text("loss\n2.1\n")
    assert left.examined("done\n", ExitRecord(code=0, raw=0), required=("summary.csv",)).name == "none"


def test_what_is_missing_on_a_mount_that_is_late_may_come(left: Left, tmp_path: Path) -> None:
    """After a reboot runs started before the data set's volume was mounted, and a whole sweep failed for good."""
    late, there = tmp_path / "datasets", tmp_path / "local"
    for folder in (late, there):
        folder.mkdir()
    (there / "other.bin").touch()
    failed = ExitRecord(code=1, raw=256)
    found = left.examined(missing(late / "train.bin"), failed)
    assert (found.name, found.about) == ("data.missing", str(late / "train.bin")) and MOUNT_LATE in found.flags
    found = left.examined(missing(there / "train.bin"), failed)
    assert found.name == "data.missing" and MOUNT_LATE not in found.flags


@pytest.mark.parametrize(
    "record",
    [
        ExitRecord(error="OSError: [Errno 122] Disk quota exceeded", error_kind="prepare", errno=122),
        ExitRecord(code=1, raw=256),
        ExitRecord(recorded=False, stopped="request"),
    ],
)
def test_an_attempt_without_a_directory_has_a_class(left: Left, record: ExitRecord) -> None:
    """A quota kept the attempt's directory from being made; a person removed the folder of another. Both runs were
    "being verified" for ever."""
    shutil.rmtree(left.run_dir)
    found = left.examined(None, record)
    assert found.name == ("disk.full" if record.errno else "unknown")


def test_a_log_beyond_its_own_limit_is_nobody_elses(left: Left) -> None:
    """One run's endless warnings held it "until judged", as if two more could have met the same volume."""
    found = left.examined("x\n", ExitRecord(signal="SIGXFSZ", raw=25))
    assert (found.name, found.about) == ("disk.full", "")


def test_its_own_name_is_not_what_a_run_failed_of(left: Left) -> None:
    """Three runs with one bug, small-s1, base-s1 and large-s1, failed "differently", and scouts never came in."""
    found = left.examined(
        'Traceback (most recent call last):\n  File "train.py", line 9, in <module>\n    main()\n'
        "RuntimeError: lr3-s0: shape mismatch in head-lr3-s0 of lr3-s0.\n",
        ExitRecord(code=1, raw=256),
    )
    assert (found.name, found.about) == ("code", "RuntimeError: {run_id}: shape mismatch in head-{run_id} of {run_id}.")


def test_a_shim_that_died_without_a_record_proves_nothing(left: Left) -> None:
    """Somebody's `killall python3` took the shim: its run was called a crash of the program."""
    found = left.examined("iter 3: loss 2.0\n", ExitRecord(recorded=False))
    assert (found.name, found.rule) == ("unknown", "shim-died")
