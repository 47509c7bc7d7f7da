"""Looks: what the probe says of a live attempt's files."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from overnight.model.codec import replace
from overnight.ports import Cursor, Look, LookOrder, Mark, RunRef
from overnight.probes import look as look_module
from overnight.probes.look import FileProbe, signature_of


class Attempt:
    """An attempt's directory, and a probe that goes on from its last cursor."""

    def __init__(self, tmp_path: Path) -> None:
        self.dir, self.out = tmp_path / "attempts" / "1", tmp_path / "out"
        self.dir.mkdir(parents=True)
        self.out.mkdir()
        self.log = self.dir / "output.log"
        self.probe = FileProbe()
        self.order = LookOrder(RunRef("c", "r"), 1, str(self.dir), str(self.out), None, Cursor())

    def write(self, text: str | bytes) -> None:
        with self.log.open("ab") as file:
            file.write(text if isinstance(text, bytes) else text.encode())

    def look(self) -> Look:
        look = self.probe.look(self.order)
        self.order = replace(self.order, cursor=look.cursor)
        for known in self.probe._attempts.values():
            known.walk_due = known.save_due = 0.0  # walks are not what is rationed here
        return look


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    return Attempt(tmp_path)


def test_nothing_yet(attempt: Attempt) -> None:
    """Between fork and claim there is no log: that is neither life nor a fault."""
    for _ in range(2):
        look = attempt.look()
        assert (look.life, look.lines, look.problem) == (False, 0, None)
        (attempt.dir / "started").touch()


def test_output_is_life_and_silence_is_not(attempt: Attempt) -> None:
    """The whole point: a silent log must be told from a growing one, without anybody's clock."""
    attempt.write("hello\n")
    assert attempt.look().life
    os.utime(attempt.log, (0, 0))  # a clock far off
    assert not attempt.look().life
    attempt.write("iter 5: loss 2.5\n")
    look = attempt.look()
    assert look.life
    assert look.mark == look.first == Mark(5, None, {"loss": 2.5})
    assert look.lines == 1
    assert look.cursor.lines == 2


def test_a_marker_cut_in_two_by_a_look(attempt: Attempt) -> None:
    """`iter 12` read as `iter 1` was a fall, and then an advance that never was."""
    attempt.write("iter 1")
    assert attempt.look().mark is None
    attempt.write("2: loss 2.5\niter 13")
    look = attempt.look()
    assert look.mark == Mark(12, None, {"loss": 2.5})
    assert look.cursor.tail == b"iter 13"


def test_bars_count_as_lines_and_markers(attempt: Attempt) -> None:
    """A program that draws only a bar never reached its tenth line."""
    attempt.write(b"".join(b"\r  1%%| | %d/500 [00:01" % n for n in range(10, 22)))
    look = attempt.look()
    assert look.lines >= 11
    assert look.mark == Mark(20, 500)


def test_binary_output(attempt: Attempt) -> None:
    """Bytes that are no text are output like any other."""
    attempt.write(b"\x00\xff\xfe\n" * 10 + b"step 7 \xff loss 1.5\n")
    assert attempt.look().mark == Mark(7, None, {"loss": 1.5})


def test_a_truncated_log_is_read_anew(attempt: Attempt) -> None:
    """A person's `> output.log` left the cursor beyond the end, and the run silent for ever."""
    attempt.write("iter 100: loss 1\n" * 50)
    attempt.look()
    os.truncate(attempt.log, 0)
    assert attempt.look().life
    attempt.write("iter 101: loss 1\n")
    look = attempt.look()
    assert look.mark is not None
    assert look.mark.step == 101


def test_a_replaced_log_is_read_anew(attempt: Attempt) -> None:
    """A log rotated under us has another inode, and perhaps the same size."""
    attempt.write("iter 100: loss 1\n")
    attempt.look()
    other = attempt.dir / "other"
    other.write_bytes(b"iter 200: loss 1\n")
    other.rename(attempt.log)
    look = attempt.look()
    assert look.mark is not None
    assert look.mark.step == 200


def test_a_removed_log_is_unknown_not_silence(attempt: Attempt) -> None:
    """Somebody cleaned up logs; the run went on writing into the void and was killed as stalled."""
    attempt.write("iter 100: loss 1\n")
    attempt.look()
    attempt.log.unlink()
    look = attempt.look()
    assert look.problem is not None
    assert "removed" in look.problem


def test_a_new_log_in_its_place_proves_no_silence(attempt: Attempt) -> None:
    """logrotate moved the log away and made a new one: the run went on writing into the old one, and was ended as
    stalled because the new one did not grow."""
    attempt.write("iter 100: loss 1\n")
    attempt.look()
    attempt.log.rename(attempt.dir / "output.log.1")
    attempt.write("")
    assert attempt.look().life
    for _ in range(2):
        look = attempt.look()
        assert look.problem is not None and "replaced" in look.problem
    attempt.write("iter 200: loss 1\n")  # it opens its log anew, as some do
    assert attempt.look().problem is None
    (attempt.out / "grows").write_text("x")
    attempt.look()
    (attempt.out / "grows").write_text("xx")
    assert attempt.look().life


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_log_proves_no_silence(attempt: Attempt, make: Callable[[Path], None]) -> None:
    """A pipe in the place of the log has no size: a healthy run was ended as stalled."""
    attempt.write("iter 100: loss 1\n")
    attempt.look()
    attempt.log.unlink()
    make(attempt.log)
    for _ in range(2):
        look = attempt.look()
        assert look.problem is not None and "no regular file" in look.problem


def test_a_file_system_that_does_not_answer_is_unknown(attempt: Attempt) -> None:
    """A stale handle is no silence: nothing may be killed for it."""
    attempt.log.symlink_to(attempt.log)  # ELOOP stands for every error but "not there"
    look = attempt.look()
    assert look.problem is not None
    assert not look.life
    assert look.cursor == Cursor()


def test_much_new_output_is_skipped_to_its_end(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that grew by gigabytes while we were away must not be read whole by one look."""
    monkeypatch.setattr(look_module, "READ_BYTES", 10_000)
    for n in range(5000):
        attempt.write(f"iter {n}: loss 2.5\n")
    look = attempt.look()
    assert look.mark is not None
    assert look.mark.step == 4999
    assert look.first is not None
    assert look.first.step > 4000
    assert abs(look.lines - 5000) < 300  # estimated
    assert look.cursor.offset == look.cursor.size == attempt.log.stat().st_size


def test_the_unfinished_line_is_bounded(attempt: Attempt) -> None:
    """A program that never ends its line must not fill the cursor, which is kept in memory for each attempt."""
    attempt.write(b"x" * 300_000)
    assert len(attempt.look().cursor.tail) <= 65_536
    attempt.write(b"\niter 5: loss 1\n")
    look = attempt.look()
    assert look.lines == 2
    assert look.mark is not None
    assert look.mark.step == 5


def test_growth_of_a_file_is_life(attempt: Attempt) -> None:
    """A run that wrote only a large checkpoint for an hour was ended as silent."""
    attempt.write("start\n")
    attempt.look()
    assert not attempt.look().life
    assert not attempt.look().life
    deep = attempt.out / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "ckpt.pt").write_bytes(b"x" * 10)
    assert attempt.look().life
    assert not attempt.look().life
    with (deep / "ckpt.pt").open("ab") as file:
        file.write(b"y")
    assert attempt.look().life


@pytest.mark.parametrize(
    ("path", "life"),
    [
        ("wandb/run-1/output.log", False),
        ("mlruns/0/metrics/system", False),
        ("tensorboard/x", False),
        ("logs/events.out.tfevents.123.host", False),
        ("lightning_logs/version_0/metrics.csv", False),
        ("lightning_logs/version_0/checkpoints/epoch=1.ckpt", True),
        ("results/summary.csv", True),
    ],
)
def test_trackers_are_no_life(attempt: Attempt, path: str, life: bool) -> None:
    """A tracker's own thread goes on writing while the run hangs."""
    attempt.write("start\n")
    attempt.look()
    attempt.look()
    file = attempt.out / path
    file.parent.mkdir(parents=True)
    file.write_text("x")
    assert attempt.look().life is life


def test_the_walk_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten million small files under out/ must not make a look last minutes."""
    monkeypatch.setattr(look_module, "WALK_ENTRIES", 50)
    for n in range(200):
        (tmp_path / f"f{n}").touch()
    visited = 0
    weight = look_module._weight

    def counted(name: bytes, status: os.stat_result) -> int:
        nonlocal visited
        visited += 1
        return weight(name, status)

    monkeypatch.setattr(look_module, "_weight", counted)
    assert signature_of(str(tmp_path)) == signature_of(str(tmp_path))
    assert visited == 100


def test_an_adopted_log_keeps_its_form(attempt: Attempt) -> None:
    """After a supervisor's death the new one took an evaluation's bar for progress."""
    attempt.write("iter 100: loss 1\n")
    attempt.look()
    attempt.probe = FileProbe()  # the supervisor is a new process
    attempt.write(" 30%|███ | 150/500 [00:01<00:02]\n")
    look = attempt.look()
    assert look.life
    assert look.mark is None


def test_reading_a_log_again_counts_nothing_twice(attempt: Attempt) -> None:
    """The last look, at an ended attempt's whole log, added the steps of all epochs to those it had added before."""
    bars = [f"\r| {n}/100 [00:01" for epoch in range(3) for n in (5, 50, 100)]
    attempt.write("".join(bars) + "\n")
    live = attempt.look()
    again = attempt.probe.look(replace(attempt.order, cursor=Cursor()))
    assert again.mark == live.mark == Mark(300)
    assert again.first == Mark(5, 100)


def test_the_last_look_at_a_long_log_keeps_what_was_counted(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log too long to be read whole again lost its earlier epochs, and the run fell below its own best mark."""
    monkeypatch.setattr(look_module, "READ_BYTES", 10_000)
    for epoch in (1, 2, 3):
        attempt.write("".join(f"epoch {epoch} step {n} loss 2\n" for n in range(1, 301)))
        attempt.look()
    attempt.write("epoch 3 step 301 loss 2\n")
    look = attempt.probe.look(replace(attempt.order, cursor=Cursor()))
    assert look.mark is not None
    assert look.mark.step == 901


def test_a_rotated_log_keeps_what_was_counted(attempt: Attempt) -> None:
    """`copytruncate` in the third epoch looked like a fall of two."""
    attempt.write("epoch 1 step 100 loss 2\nepoch 2 step 100 loss 2\n" + "." * 100 + "\n")
    attempt.look()
    attempt.write("epoch 2 step 1 loss 2\n")
    os.truncate(attempt.log, 0)
    attempt.write("epoch 3 step 5 loss 2\n")
    look = attempt.look()
    assert look.mark is not None
    assert look.mark.step == 205


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A week of short runs must not grow the supervisor."""
    monkeypatch.setattr(look_module, "REMEMBERED", 3)
    probe = FileProbe()
    for n in range(10):
        folder = tmp_path / str(n)
        folder.mkdir()
        (folder / "output.log").write_text("x\n")
        order = LookOrder(RunRef("c", str(n)), 1, str(folder), str(tmp_path), None, Cursor())
        assert probe.look(order).life
    assert len(probe._attempts) == 3


def test_the_progress_file_is_believed_before_the_log(attempt: Attempt) -> None:
    """A program that counts tokens printed its batches too: two counts in one made it go to and fro."""
    attempt.write("iter 5000: loss 2\n")
    attempt.look()
    file = attempt.dir / "progress.json"
    file.write_text('{"step": 12, "total": 90, "metrics": {"loss": 1.5}}')
    look = attempt.look()
    assert look.said is not None and look.life
    assert look.mark == look.said.mark == Mark(12, 90, {"loss": 1.5})
    attempt.write("iter 5010: loss 2\n")
    look = attempt.look()
    assert (look.life, look.mark, look.said) == (True, None, None)
    assert not attempt.look().life


def test_a_phase_is_read_once(attempt: Attempt) -> None:
    """A phase that was read at each look was a sign of life each second, and a hang in it was never seen."""
    attempt.write("start\n")
    attempt.look()
    file = attempt.dir / "progress.json"
    file.write_text('{"phase": "eval", "quiet": "2h"}')
    look = attempt.look()
    assert look.said is not None
    assert (look.said.mark, look.said.phase, look.said.quiet) == (None, "eval", 7200.0)
    assert (attempt.look().life, attempt.look().said) == (False, None)
    other = attempt.dir / "other"
    other.write_text('{"phase": "eval", "quiet": "2h"}')
    other.rename(file)
    assert attempt.look().said is not None  # said once more


def test_a_progress_file_that_is_no_json_is_read_once(attempt: Attempt) -> None:
    """A file of garbage was parsed again at every look of the night."""
    attempt.write("start\n")
    (attempt.dir / "progress.json").write_text("{")
    attempt.look()
    assert attempt.order.cursor.progress != 0
    look = attempt.look()
    assert (look.life, look.said, look.problem) == (False, None, None)


def test_a_folder_in_the_place_of_the_progress_file_blinds_nobody(attempt: Attempt) -> None:
    """A script made a folder of that name, and its hang was never seen."""
    attempt.write("start\n")
    (attempt.dir / "progress.json").mkdir()
    assert attempt.look().problem is None
    attempt.write("iter 5: loss 1\n")
    look = attempt.look()
    assert (look.problem, look.mark) == (None, Mark(5, None, {"loss": 1}))


@pytest.mark.parametrize("change", ["new", "grown", "replaced", "again", "folder", "link"])
def test_a_changed_checkpoint_is_an_advance(attempt: Attempt, change: str) -> None:
    """A trainer that prints the same line for hours and saves all the while was ended as standing still."""
    first, second = attempt.out / "ckpt-1.pt", attempt.out / "ckpt-2.pt"
    first.write_bytes(b"1234")
    (attempt.out / "ckpt-deep.pt").mkdir()
    (attempt.out / "ckpt-last.pt").symlink_to(first)
    (attempt.out / "elsewhere").write_bytes(b"4321")
    attempt.order = replace(attempt.order, checkpoint=str(attempt.out / "ckpt-*.pt"))
    attempt.write("waiting\n")
    assert not attempt.look().saved  # it was there before
    attempt.write("waiting\n")
    assert not attempt.look().saved
    if change == "new":
        second.write_bytes(b"x")
    elif change == "grown":
        first.write_bytes(b"12345")
    elif change == "replaced":
        kept = first.stat()
        second.write_bytes(b"4321")
        second.rename(first)
        os.utime(first, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    elif change == "again":
        os.utime(first, (1, 1))
    elif change == "folder":
        (attempt.out / "ckpt-deep.pt" / "shard").write_bytes(b"x")
    else:
        (attempt.out / "ckpt-last.pt").unlink()
        (attempt.out / "ckpt-last.pt").symlink_to(attempt.out / "elsewhere")
    attempt.write("waiting\n")
    assert attempt.look().saved
    attempt.write("waiting\n")
    assert not attempt.look().saved


def test_silence_on_a_full_volume_is_not_known_to_be_silence(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight runs that could not write a line any more were ended for their silence, and resumed onto the full disk."""
    attempt.write("iter 5: loss 2.5\n")
    attempt.look()
    monkeypatch.setattr(look_module, "no_room", lambda path: f"the volume of {path} has 3 MiB left")
    assert attempt.look().problem == f"the volume of {attempt.dir} has 3 MiB left"
    attempt.write("iter 6: loss 2.4\n")
    look = attempt.look()
    assert look.life and look.problem is None, "who speaks lives, whatever the disk"
