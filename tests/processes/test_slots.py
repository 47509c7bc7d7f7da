"""Slots of the host: locks that real processes fight for, inherit and lose by dying."""

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from keeper_world import SOURCE, await_that

from overnight.executors.gpus import Memory, MemoryWatch
from overnight.executors.slot_files import SlotFiles, slots_home
from overnight.executors.slots import FOREIGN_SECONDS, SlotBook
from overnight.model.run import Slot
from overnight.ports import Busy, Placement, RunRef, SlotRequest

FOREIGN_BYTES = Memory(0).foreign
TWO = (("0", "GPU-aaaa"), ("1", "GPU-bbbb"))

ATTEMPT = (RunRef("c", "r"), 1, "c.r.1")


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SlotBook]:
    made = SlotBook(tmp_path / "slots")
    yield made
    made.close()


def got(answer: Placement | Busy) -> Slot:
    assert isinstance(answer, Placement), answer
    return answer.slot


def refused(answer: Placement | Busy) -> Busy:
    assert isinstance(answer, Busy), answer
    return answer


def holder(slots: Path, device: tuple[str, str]) -> subprocess.Popen[str]:
    """Another process that takes a GPU and lives."""
    code = f"""
import signal, sys
from overnight.executors.slots import SlotBook
from overnight.ports import SlotRequest
from pathlib import Path
book = SlotBook(Path({str(slots)!r}))
book.acquire(SlotRequest("theirs-0123456789", 1, ({device!r},)))
print("locked", flush=True)
signal.pause()
"""
    env = os.environ | {"PYTHONPATH": str(SOURCE)}
    child = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "locked\n"
    return child


def end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


def test_processes_that_take_slots_at_once_never_share_one(tmp_path: Path) -> None:
    """Two supervisors of two users that started on the same GPU in the same second."""
    code = f"""
import json, sys
from pathlib import Path
from overnight.executors.slots import SlotBook
from overnight.ports import SlotRequest
book = SlotBook(Path({str(tmp_path / "slots")!r}))
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps([book.acquire(SlotRequest("c", 0)).slot.name for _ in range(25)]), flush=True)
sys.stdin.readline()
"""
    env = os.environ | {"PYTHONPATH": str(SOURCE)}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(4)
    ]
    found: list[str] = []
    for child in children:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        assert child.stdout is not None
        found += json.loads(child.stdout.readline())
    for child in children:
        child.communicate("done\n")
    assert sorted(found, key=lambda name: int(name[4:])) == [f"cpu:{n}" for n in range(100)]


def test_a_slot_is_held_by_whoever_inherited_it_and_freed_by_death_alone(tmp_path: Path, book: SlotBook) -> None:
    """A busy GPU given away because the supervisor that had taken it was restarted."""
    slot = got(book.acquire(SlotRequest("ours-0123456789", 0)))
    locks = book.take(slot, *ATTEMPT)
    assert isinstance(locks, list)
    child = subprocess.Popen(["sleep", "1000"], pass_fds=locks)
    for fd in locks:
        os.close(fd)
    other = SlotBook(tmp_path / "slots")
    assert got(other.acquire(SlotRequest("c", 0))).name == "cpu:1"
    assert "c (run r, attempt 1) of " in str(other.take(slot, *ATTEMPT))
    child.send_signal(signal.SIGKILL)
    child.wait()
    locks = other.take(slot, *ATTEMPT)
    assert isinstance(locks, list)
    for fd in locks:
        os.close(fd)
    other.close()


def test_what_our_own_attempts_hold_is_named_by_its_run(tmp_path: Path, book: SlotBook) -> None:
    """`why` said that a GPU was held by "an attempt", and which of forty it was took another command to find."""
    whole = got(book.acquire(SlotRequest("theirs", 1, TWO)))
    half = got(book.acquire(SlotRequest("halves", 0.5, TWO)))
    locks = [*_taken(book, whole, RunRef("theirs", "s7")), *_taken(book, half, RunRef("halves", "s8"))]
    assert "GPU 0 is held by theirs (run s7, attempt 1) of " in refused(book.acquire(SlotRequest("c", 1, TWO))).words
    other = got(book.acquire(SlotRequest("halves", 0.5, TWO)))
    locks += _taken(book, other, RunRef("halves", "s9"))
    words = refused(book.acquire(SlotRequest("halves", 0.5, TWO[1:]))).words
    assert "GPU 1 is held by halves (run s8, attempt 1) of " in words and "(run s9, attempt 1)" in words
    for fd in locks:
        os.close(fd)


def _taken(book: SlotBook, slot: Slot, ref: RunRef) -> list[int]:
    locks = book.take(slot, ref, 1, f"{ref.campaign}.{ref.run_id}.1")
    assert isinstance(locks, list)
    return locks


def test_several_gpus_are_taken_together_or_not_at_all(tmp_path: Path, book: SlotBook) -> None:
    """Two runs of two GPUs that each held one and waited for the other's until morning."""
    other = holder(tmp_path / "slots", TWO[1])
    answer = refused(book.acquire(SlotRequest("c", 2, TWO)))
    assert "GPU 1 is held by theirs-0123456789 of " in answer.words and f"pid {other.pid}" in answer.words
    assert not answer.only_avoided
    first = got(book.acquire(SlotRequest("c", 1, TWO)))
    assert first == Slot("gpu:0", ("gpu-GPU-aaaa",), ("0",))
    book.release(first)
    end(other)
    assert got(book.acquire(SlotRequest("c", 2, TWO))) == Slot("gpu:0,1", ("gpu-GPU-aaaa", "gpu-GPU-bbbb"), ("0", "1"))
    assert "asked for" in refused(book.acquire(SlotRequest("c", 3, TWO))).words


def test_a_gpu_is_shared_by_as_many_as_fit_and_with_nobody_who_wants_it_whole(tmp_path: Path, book: SlotBook) -> None:
    """A whole-GPU run started beside two halves, and all three out of memory."""
    one = (TWO[0],)
    halves = [got(book.acquire(SlotRequest("c", 0.5, one))) for _ in range(2)]
    assert [half.name for half in halves] == ["gpu:0#0", "gpu:0#1"]
    assert all(half.gpu_ids == ("0",) for half in halves)
    assert "GPU 0" in refused(book.acquire(SlotRequest("c", 0.5, one))).words
    other = SlotBook(tmp_path / "slots")
    refused(other.acquire(SlotRequest("d", 1, one)))
    refused(other.acquire(SlotRequest("d", 0.5, one)))
    book.release(halves[0])
    refused(other.acquire(SlotRequest("d", 1, one)))
    assert got(other.acquire(SlotRequest("d", 0.5, one))).name == "gpu:0#0"
    other.close()
    book.release(halves[1])
    whole = got(book.acquire(SlotRequest("c", 1, one)))
    refused(book.acquire(SlotRequest("c", 0.5, one)))
    book.release(whole)


def test_suspect_slots_are_left_out_and_named_as_the_only_ones(book: SlotBook) -> None:
    """A run that was sent back, four times, to the GPU that had failed it."""
    assert got(book.acquire(SlotRequest("c", 1, TWO, avoid=("gpu:0",)))).name == "gpu:1"
    answer = refused(book.acquire(SlotRequest("c", 1, TWO, avoid=("gpu:0",))))
    assert answer.only_avoided and "suspect" in answer.words
    assert refused(book.acquire(SlotRequest("c", 2, TWO, avoid=("gpu:0,1",)))).only_avoided is False
    assert got(book.acquire(SlotRequest("c", 0, avoid=("cpu:0", "cpu:1")))).name == "cpu:2"


def test_a_gpu_that_somebody_computes_on_without_a_lock_is_waited_for(tmp_path: Path) -> None:
    """A notebook of a colleague on the same GPU: out of memory at the first step, retried all night."""
    used = {"GPU-aaaa": FOREIGN_BYTES + 1, "GPU-bbbb": FOREIGN_BYTES}
    answers: list[None] = []
    now = [0.0]
    memory = MemoryWatch(
        lambda: answers.append(None), lambda: {uuid: Memory(n) for uuid, n in used.items()}, lambda: now[0]
    )
    book = SlotBook(tmp_path / "slots", memory, lambda: now[0])
    assert "being looked at" in refused(book.acquire(SlotRequest("c", 2, TWO))).words
    await_that(lambda: answers)
    answer = refused(book.acquire(SlotRequest("c", 2, TWO)))
    assert "somebody outside of Overnight uses 1.0 GiB of the memory of GPU 0" in answer.words
    slot = got(book.acquire(SlotRequest("c", 1, TWO)))
    assert slot.name == "gpu:1"
    book.release(slot)
    used["GPU-aaaa"] = 0
    now[0] = FOREIGN_SECONDS + 0.1  # who waits has it looked at anew, long before an answer is old
    refused(book.acquire(SlotRequest("c", 2, TWO)))
    await_that(lambda: len(answers) == 2)
    assert got(book.acquire(SlotRequest("c", 2, TWO))).name == "gpu:0,1"
    book.close()


def test_memory_is_looked_at_after_an_attempt_and_not_before_its_end(tmp_path: Path) -> None:
    """The next run refused (or let in) by a reading from the time of the last one."""
    now = [0.0]
    readings = [{"GPU-aaaa": Memory(0)}, {"GPU-aaaa": Memory(5)}]
    answers: list[None] = []
    memory = MemoryWatch(lambda: answers.append(None), lambda: readings.pop(0), lambda: now[0])
    assert memory.used("GPU-aaaa", 0.0) == (False, None)
    await_that(lambda: len(answers) == 1)
    assert memory.used("GPU-aaaa", 0.0) == (True, Memory(0))
    now[0] = 5.0
    assert memory.used("GPU-aaaa", 4.0) == (False, None)
    await_that(lambda: len(answers) == 2)
    assert memory.used("GPU-aaaa", 4.0) == (True, Memory(5))


def test_a_host_that_cannot_tell_has_no_memory_check() -> None:
    """A box without nvidia-smi on which nothing ever started."""
    answers: list[None] = []
    memory = MemoryWatch(lambda: answers.append(None), lambda: None)
    assert memory.used("GPU-aaaa", 0.0) == (False, None)
    await_that(lambda: answers)
    assert memory.used("GPU-aaaa", time.monotonic()) == (True, None)


def test_a_removed_lock_file_excludes_nobody_by_mistake(tmp_path: Path, book: SlotBook) -> None:
    """A clean-up of /var/tmp between open and lock: two holders of one slot on two files of one name."""
    path = tmp_path / "slots" / "cpu-0"
    slot = got(book.acquire(SlotRequest("c", 0)))
    book.release(slot)
    real = fcntl.flock
    removed: list[Path] = []

    def flock(fd: int, how: int) -> None:
        if not removed:
            path.unlink()
            removed.append(path)
        real(fd, how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        again = got(book.acquire(SlotRequest("c", 0)))
    assert again == slot and path.exists()
    locks = book.take(again, *ATTEMPT)
    assert isinstance(locks, list)
    assert os.fstat(locks[0]).st_ino == path.stat().st_ino
    os.close(locks[0])


def open_the_way(tmp_path: Path) -> None:
    """Other users may pass through our folders."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)


def become_nobody() -> None:
    """Another user, where we may be one."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def test_all_users_share_the_directory_whoever_made_it(tmp_path: Path, book: SlotBook) -> None:
    """The second user of a box who could not start anything: Permission denied in a sticky directory."""
    slots = tmp_path / "slots"
    first = got(book.acquire(SlotRequest("c", 0)))
    assert stat.S_IMODE(slots.stat().st_mode) == 0o1777
    assert stat.S_IMODE((slots / "cpu-0").stat().st_mode) == 0o666
    book.release(first)
    open_the_way(tmp_path)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.umask(0o077)
            become_nobody()
            other = SlotBook(slots)
            names = [got(other.acquire(SlotRequest("d", 0))).name for _ in range(2)]
            code = 0 if names == ["cpu:0", "cpu:1"] else 2
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert stat.S_IMODE((slots / "cpu-1").stat().st_mode) == 0o666
    assert [got(book.acquire(SlotRequest("c", 0))).name for _ in range(2)] == ["cpu:0", "cpu:1"]


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A traceback in a supervisor's log, and a campaign that did not start and did not say why."""
    (tmp_path / "slots").write_text("no directory")
    answer = refused(SlotBook(tmp_path / "slots").acquire(SlotRequest("c", 0)))
    assert "cannot be used" in answer.words and str(tmp_path / "slots") in answer.words


def test_only_what_was_acquired_is_released(book: SlotBook) -> None:
    """An order of before a restart, given up, that freed the slot of the run which had got it since."""
    slot = got(book.acquire(SlotRequest("c", 0)))
    book.release(Slot(slot.name, slot.keys))
    assert got(book.acquire(SlotRequest("c", 0))).name == "cpu:1"
    book.release(slot)
    assert got(book.acquire(SlotRequest("c", 0))).name == "cpu:0"


def test_a_directory_that_was_tidied_away_is_made_again(tmp_path: Path, book: SlotBook) -> None:
    """A supervisor that could start nothing any more after somebody had cleaned /var/tmp."""
    book.release(got(book.acquire(SlotRequest("c", 0))))
    (tmp_path / "slots" / "cpu-0").unlink()
    (tmp_path / "slots").rmdir()
    assert got(book.acquire(SlotRequest("c", 0))).name == "cpu:0"


def test_the_directory_is_the_hosts_unless_said_otherwise() -> None:
    """Two roots of one user with a slots directory each: every GPU twice."""
    assert slots_home({}) == "/var/tmp/overnight-slots"
    assert slots_home({"OVERNIGHT_SLOTS_DIR": "/run/slots"}) == "/run/slots"


def test_many_slots_in_use_do_not_slow_the_next_one(book: SlotBook) -> None:
    """A dispatch that tried every lock of a thousand live attempts before each start."""
    slots = [got(book.acquire(SlotRequest("c", 0))) for _ in range(300)]
    opened = []
    real = os.open

    def counted(path: str, *more: int, **named: int) -> int:
        opened.append(path)
        return real(path, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", counted)
        assert got(book.acquire(SlotRequest("c", 0))).name == "cpu:300"
    assert len([path for path in opened if "cpu-" in str(path)]) <= 2
    book.release(slots[17])
    assert got(book.acquire(SlotRequest("c", 0))).name == "cpu:17"


def test_a_drained_gpu_is_given_to_nobody_until_the_drain_is_over(
    tmp_path: Path, book: SlotBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU that a colleague had been promised for the evening, and that the next run of the sweep took at seven."""
    files = SlotFiles(tmp_path / "slots")
    files.mark("drain", "gpu-GPU-aaaa", "gpu:0", "for the demo", time.time() + 3600.0)
    answer = refused(book.acquire(SlotRequest("c", 2, TWO)))
    assert "GPU 0 is drained by" in answer.words and "for the demo" in answer.words
    assert got(book.acquire(SlotRequest("c", 1, TWO))).name == "gpu:1"
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3601.0)
    assert got(book.acquire(SlotRequest("c", 1, TWO))).name == "gpu:0"


def test_a_quarantined_share_keeps_everybody_from_the_gpu(tmp_path: Path, book: SlotBook) -> None:
    """The other half of a GPU that had fallen off the bus, given to the next run and the next."""
    half = got(book.acquire(SlotRequest("c", 0.5, (TWO[0],))))
    book.quarantine(half, "Xid 79: it has fallen off the bus")
    book.quarantine(half, "it is suspect")
    other = SlotBook(tmp_path / "slots")
    for gpus in (0.5, 1.0):
        words = refused(other.acquire(SlotRequest("d", gpus, (TWO[0],)))).words
        assert "held by" in words if gpus == 1.0 else "GPU 0 is quarantined: Xid 79" in words
    book.release(half)
    words = refused(other.acquire(SlotRequest("d", 1, (TWO[0],)))).words
    assert "is quarantined: Xid 79" in words and "overnight slots release 0" in words


def test_a_mark_that_cannot_be_read_is_in_force(tmp_path: Path, book: SlotBook) -> None:
    """A torn file after a power cut, taken for leave to use the broken GPU."""
    got(book.acquire(SlotRequest("c", 0)))
    (tmp_path / "slots" / "gpu-GPU-aaaa.quarantine").write_bytes(b'{"slot": "gp')
    assert "cannot be read" in refused(book.acquire(SlotRequest("c", 1, (TWO[0],)))).words


def test_another_users_mark_holds_and_stays(tmp_path: Path, book: SlotBook) -> None:
    """A colleague's quarantine of a broken GPU, lifted by whoever wanted it most."""
    slots = tmp_path / "slots"
    SlotFiles(slots).mark("quarantine", "gpu-GPU-aaaa", "gpu:0", "Xid 79")
    SlotFiles(slots).mark("drain", "gpu-GPU-aaaa", "gpu:0", "")
    open_the_way(tmp_path)
    ours = os.getuid() != 0  # then there is nobody else whom we could be
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            become_nobody()
            files = SlotFiles(slots)
            assert "Xid 79" in refused(SlotBook(slots).acquire(SlotRequest("d", 1, (TWO[0],)))).words
            files.mark("quarantine", "gpu-GPU-aaaa", "gpu:0", "no harm")
            for act in (
                lambda: files.unmark("quarantine", "gpu-GPU-aaaa"),
                lambda: files.mark("drain", "gpu-GPU-aaaa", "gpu:0", "mine", time.time() + 1.0),
            ):
                try:
                    act()
                    assert ours
                except PermissionError:
                    assert not ours
            assert sorted(path.name for path in slots.iterdir() if ".drain." in path.name) == []
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    mark = SlotFiles(slots).marked("quarantine", "gpu-GPU-aaaa")
    assert ours or (mark is not None and mark.why == "Xid 79")
