"""Bringing the keeper up, and watching the supervisor from a waiting client."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from standin import write_lock

from overnight.shim.shim import host_identity
from overnight.supervisor import keep

HOLDER = """
import json, os, sys, time
with open("/proc/self/stat") as file:
    ticks = int(file.read().rpartition(")")[2].split()[19])
own = {"pid": os.getpid(), "start_ticks": ticks, "term": 1, "beat": 1}
with open(sys.argv[1] + "/lock", "w") as file:
    file.write(json.dumps(json.loads(sys.argv[2]) | own).ljust(511) + "\\n")
time.sleep(60)
"""


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that does nothing, to play the supervisor."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


class FakeClock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def keeper_that_holds(state: Path, before: str = "") -> list[str]:
    """A keeper's command that writes the lock as itself."""
    return [sys.executable, "-S", "-c", before + HOLDER, str(state), json.dumps(host_identity())]


def test_a_live_supervisor_is_left_alone(tmp_path: Path) -> None:
    """Guards against every `status`-like command starting another keeper."""
    write_lock(tmp_path)
    keep.ensure_keeper(tmp_path, tmp_path, command=["/nonexistent"], within_seconds=0.1)
    assert not (tmp_path / keep.KEEPER_LOG).exists()


def test_a_dead_one_is_replaced_by_a_process_of_nobody(tmp_path: Path) -> None:
    """Guards against a keeper that dies with the terminal, or stays the notebook's zombie child."""
    write_lock(tmp_path, pid=2**22 - 1, ticks=1)
    keep.ensure_keeper(tmp_path, tmp_path, command=keeper_that_holds(tmp_path))
    holder = keep.holder_of(tmp_path)
    assert holder is not None
    fields = Path(f"/proc/{holder.pid}/stat").read_text().rpartition(")")[2].split()
    try:
        assert Path(f"/proc/{holder.pid}/cwd").resolve() == Path("/")
        assert int(fields[3]) != int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[3]), "own session"
        assert fields[1] != str(Path("/proc/self").resolve().name), "not our child"
    finally:
        assert keep.kill_exactly(holder)


def test_none_coming_up_names_the_log_and_its_last_line(tmp_path: Path) -> None:
    """Guards against a silent wait, when the installation is broken."""
    with pytest.raises(keep.CannotSupervise) as problem:
        keep.ensure_keeper(tmp_path, tmp_path, command=["sh", "-c", "echo cannot import x"], within_seconds=2.0)
    assert "keeper.log is: cannot import x" in problem.value.message
    assert str(tmp_path / "supervisor.log") in (problem.value.hint or "")


GOES_FIRST = """
import os, sys
if not os.path.exists(sys.argv[1] + "/came"):
    sys.exit(open(sys.argv[1] + "/came", "w").close())
"""


def test_a_keeper_that_left_for_anothers_sake_is_brought_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against nobody after a restart: the new keeper found the old one, which a busy machine let run so late
    that it had not yet seen that its supervisor was asked to go, and left; then the old one went."""
    monkeypatch.setattr(keep, "KEEPER_WITHIN_SECONDS", 1.0)
    keep.ensure_keeper(tmp_path, tmp_path, command=keeper_that_holds(tmp_path, GOES_FIRST))
    holder = keep.holder_of(tmp_path)
    assert holder is not None
    assert keep.kill_exactly(holder)


def test_a_wish_is_whole_whenever_it_is_looked_at(tmp_path: Path) -> None:
    """Guards against a `--wait` that took a restart for a stop, since it looked while the wish was being written."""
    over = threading.Event()

    def restarts() -> None:
        while not over.is_set():
            keep.wish_handed_over(tmp_path, "ada")
            keep.forget_stopped(tmp_path)

    restarting = threading.Thread(target=restarts)
    restarting.start()
    try:
        seen: list[keep.Wish] = []
        while len(seen) < 300:
            seen += [wish for wish in [keep.wish_of(tmp_path)] if wish is not None]
    finally:
        over.set()
        restarting.join()
    assert {wish.handed_over for wish in seen} == {True}


def test_a_reused_pid_is_not_the_supervisor(tmp_path: Path, sleeper: "subprocess.Popen[bytes]") -> None:
    """Guards against killing, or trusting, whoever got the number next."""
    write_lock(tmp_path, pid=sleeper.pid, ticks=1)
    holder = keep.holder_of(tmp_path)
    assert holder is not None
    assert not keep.lives(holder)
    assert not keep.kill_exactly(holder)
    assert sleeper.poll() is None


def test_one_that_stands_still_is_killed_by_our_own_clock(tmp_path: Path, sleeper: "subprocess.Popen[bytes]") -> None:
    """Guards against a supervisor that hangs (in a dead file system, SIGSTOPped) with its keeper dead too."""
    clock = FakeClock()
    write_lock(tmp_path, pid=sleeper.pid)
    overseer = keep.Overseer(tmp_path, tmp_path, clock=clock)
    for _ in range(35):
        assert overseer.look() is None
        clock.now += 1
    words = overseer.look()
    assert words is not None
    assert "stood still" in words
    assert sleeper.wait(10) == -signal.SIGKILL


def test_one_that_moves_is_not_killed(tmp_path: Path, sleeper: "subprocess.Popen[bytes]") -> None:
    """Guards against killing a slow supervisor: any movement of its counter starts the count anew."""
    clock = FakeClock()
    overseer = keep.Overseer(tmp_path, tmp_path, clock=clock)
    for second in range(120):
        write_lock(tmp_path, pid=sleeper.pid, beat=second // 29)
        assert overseer.look() is None
        clock.now += 1
    assert sleeper.poll() is None


def test_our_own_absence_is_not_its_silence(tmp_path: Path, sleeper: "subprocess.Popen[bytes]") -> None:
    """Guards against a watch that was suspended (Ctrl-Z, laptop lid) killing a healthy supervisor on waking."""
    clock = FakeClock()
    write_lock(tmp_path, pid=sleeper.pid)
    overseer = keep.Overseer(tmp_path, tmp_path, clock=clock)
    assert overseer.look() is None
    clock.now += 3600
    assert overseer.look() is None
    clock.now += 1
    assert overseer.look() is None
    assert sleeper.poll() is None


def test_the_wish_to_stay_down_is_respected(tmp_path: Path) -> None:
    """Guards against `supervisor stop` being undone at once by a `watch` in another terminal."""
    keep.wish_stopped(tmp_path, "ada@box")
    overseer = keep.Overseer(tmp_path, tmp_path, command=["/nonexistent"])
    assert overseer.look() is None
    assert keep.is_stopped(tmp_path)
    keep.forget_stopped(tmp_path)
    keep.forget_stopped(tmp_path)
    assert not keep.is_stopped(tmp_path)


def test_the_next_look_brings_a_dead_one_back(tmp_path: Path) -> None:
    """Guards against a night without supervisor because its keeper died, too."""
    overseer = keep.Overseer(tmp_path, tmp_path, command=keeper_that_holds(tmp_path))
    assert overseer.look() == "the supervisor was gone; it is back"
    holder = keep.holder_of(tmp_path)
    assert holder is not None
    assert keep.lives(holder)
    assert keep.kill_exactly(holder)


@pytest.mark.parametrize("data", [b"", b"\0" * 512, b"{", b'{"pid": "x"}', b"\xff"])
def test_a_torn_lock_is_nobody(tmp_path: Path, data: bytes) -> None:
    """Guards against a traceback from a lock file that is just being written."""
    (tmp_path / "lock").write_bytes(data)
    assert keep.holder_of(tmp_path) is None
