"""Who replaces a supervisor, when, and who does not."""

import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from keeper_world import PATIENCE_SECONDS, World, alive, await_that, exit_record, prepare, read_when_there, world

from overnight.keeper.respawn import TAKEN, Respawn
from overnight.keeper.watch import BeatWatch
from overnight.shim.shim import host_identity, process_start_ticks

Make = Callable[..., World]
FAULT, KILLED, TERMINATED, CRASHED = 1 << 8, 9, 15, 11


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes worlds that are closed after the test."""
    with ExitStack() as stack:
        yield lambda **more: stack.enter_context(world(tmp_path, **more))


def scripted(code: str) -> list[str]:
    """A supervisor that runs this code; `state`, `watch_only` and `lives` (how many have been) are given."""
    head = """
import json, os, signal, sys, time
state = sys.argv[sys.argv.index("--state") + 1]
watch_only = "--watch-only" in sys.argv
with open(state + "/lives", "a") as file:
    file.write("watch-only " if watch_only else "full ")
lives = len(open(state + "/lives").read().split())
"""
    return [sys.executable, "-S", "-c", head + code]


def test_a_killed_supervisor_is_back_at_once_every_time(tmp_path: Path, make: Make) -> None:
    """Killed a thousand times it must still start runs: only its own faults count."""
    here = make()
    folder = prepare(tmp_path / "1", ["sleep", "300"], grace=0.1)
    here.start(folder)
    shim_pid = here.message("forked", folder)["pid"]
    for turn in range(12):
        before = here.supervisor_pid
        os.kill(before, signal.SIGTERM if turn % 2 else signal.SIGKILL)
        here.answer_the_door()
        assert here.supervisor_pid != before and not here.watch_only
    assert alive(shim_pid)


def test_a_keeper_without_descriptors_waits_for_some(make: Make) -> None:
    """The host had no descriptor left in the second in which a supervisor was to be replaced: its keeper died of it,
    and nobody watched any more."""
    here = make()
    limits = resource.prlimit(here.keeper.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(here.keeper.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    os.kill(here.supervisor_pid, signal.SIGKILL)
    await_that(lambda: "could not be started" in here.log())
    resource.prlimit(here.keeper.pid, resource.RLIMIT_NOFILE, limits)
    here.answer_the_door()
    assert here.keeper.poll() is None


def test_a_supervisor_that_meant_to_stop_ends_the_keeper(tmp_path: Path, make: Make) -> None:
    """`supervisor stop` ends no run, and nobody brings the supervisor back."""
    code = """
import socket
wire = socket.socket(fileno=int(sys.argv[sys.argv.index("--keeper-fd") + 1]))
wire.send(json.dumps({"op": "start", "dir": FOLDER}).encode())
assert json.loads(wire.recv(9999))["op"] == "forked"
while not os.path.exists(FOLDER + "/started"):
    pass
sys.exit(0)
"""
    folder = prepare(tmp_path / "1", ["sh", "-c", "while ! test -e go; do sleep 0.01; done; exit 8"])
    here = make(supervisor=scripted(code.replace("FOLDER", repr(str(folder)))))
    assert here.keeper.wait(PATIENCE_SECONDS) == 0
    assert alive(json.loads((folder / "started").read_text())["pid"])
    (folder / "go").touch()
    assert exit_record(folder)["code"] == 8
    assert (here.state / "lives").read_text().split() == ["full"]


def test_a_supervisor_that_keeps_failing_only_watches(make: Make) -> None:
    """A fault that kills each supervisor while it starts runs must not burn the night's runs one by one."""
    here = make(
        supervisor=scripted("signal.pause() if watch_only else os._exit(1)"),
        respawn={"first": 0.01, "longest": 0.05, "apart": 0.0},
    )
    await_that(lambda: (here.state / "lives").exists() and "watch-only" in (here.state / "lives").read_text())
    assert (here.state / "lives").read_text().split() == ["full"] * 10 + ["watch-only"]
    assert "only watches" in here.log()


BEATS = """
with open(f"/proc/{os.getpid()}/stat") as file:
    started = int(file.read().rpartition(")")[2].split()[19])
beat = 0
while True:
    beat += 1
    line = json.dumps(HOST | {"pid": os.getpid(), "start_ticks": started, "term": 1, "beat": beat})
    with open(state + "/lock.tmp", "w") as file:
        file.write(line.ljust(511) + "\\n")
    os.rename(state + "/lock.tmp", state + "/lock")
    if beat == 3:
        open(state + f"/pid{lives}", "w").write(str(os.getpid()))
    time.sleep(0.02)
"""


def test_a_supervisor_that_stands_still_is_replaced(make: Make) -> None:
    """Stopped by SIGSTOP, or hung in a call that never returns: alive is not the same as watching."""
    here = make(
        supervisor=scripted(BEATS.replace("HOST", repr(host_identity()))),
        watch={"every": 0.1, "still": 3.0, "again": 0.1},
    )
    first = int(read_when_there(here.state / "pid1"))
    os.kill(first, signal.SIGSTOP)
    second = int(read_when_there(here.state / "pid2"))
    assert not alive(first)
    assert alive(second)
    assert "stood still" in here.log()


def test_the_steps_of_the_back_off() -> None:
    """At once three times, then 1 s … 60 s; ten in ten minutes leave a watcher, for good."""
    rules = Respawn(apart=0.0)
    delays = [rules.ended(FAULT, 0.5, now) for now in range(12)]
    assert delays == [0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert rules.watch_only
    assert rules.ended(CRASHED, 700.0, 10_000.0) == 0
    assert rules.watch_only


def test_ten_faults_in_a_week_are_no_storm() -> None:
    """One crash a night must not disarm the supervisor in the second week."""
    rules = Respawn()
    assert [rules.ended(CRASHED, 86_400.0, night * 86_400.0) for night in range(30)] == [0.0] * 30
    assert not rules.watch_only


@pytest.mark.parametrize("status", [KILLED, TERMINATED])
def test_deaths_from_outside_never_count(status: int) -> None:
    """Somebody's `kill`, or the OOM killer: not the supervisor's fault, however often."""
    rules = Respawn()
    assert {rules.ended(status, 5.0, float(now)) for now in range(100)} == {0.0}
    assert not rules.watch_only
    assert rules.ended(status, 0.0, 100.0) == pytest.approx(0.2)  # no storm


def test_an_end_that_was_meant_is_final() -> None:
    """Exit code 0, and only that, is a wish."""
    assert Respawn().ended(0, 1.0, 1.0) is None
    assert Respawn().ended(FAULT, 1.0, 1.0) is not None


class Lock:
    """`<state>/lock` as this very process would write it, and a clock."""

    def __init__(self, path: Path) -> None:
        self.path, self.now, self.beat = path, 1000.0, 0
        self.pid, self.start_ticks = os.getpid(), process_start_ticks(os.getpid())
        self.watch = BeatWatch(str(path))

    def write(self, **change: object) -> None:
        self.beat += 1
        record = host_identity() | {"pid": self.pid, "start_ticks": self.start_ticks, "term": 1, "beat": self.beat}
        self.path.write_text(json.dumps(record | change).ljust(511) + "\n")

    def look(self, seconds: float = 5.0) -> bool:
        self.now += seconds
        return self.watch.stands_still(self.now, self.pid, self.start_ticks)


def test_a_counter_that_stands_still_is_seen_twice(tmp_path: Path) -> None:
    """One look is no proof: 30 s without a turn, and again 5 s later."""
    lock = Lock(tmp_path / "lock")
    lock.write()
    assert [lock.look() for _ in range(8)] == [False] * 7 + [True]
    lock.write()
    assert not lock.look()


def test_a_keeper_that_slept_begins_to_count_anew(tmp_path: Path) -> None:
    """After a suspend both woke up together; the keeper looked first and killed a healthy supervisor."""
    lock = Lock(tmp_path / "lock")
    lock.write()
    assert [lock.look() for _ in range(7)] == [False] * 7
    assert not lock.look(3600.0)
    assert [lock.look() for _ in range(7)] == [False] * 6 + [True]


@pytest.mark.parametrize("change", [{"pid": 1}, {"start_ticks": 7}, {"boot": "another"}, {"pidns": "another"}])
def test_somebody_elses_counter_kills_nobody(tmp_path: Path, change: dict[str, object]) -> None:
    """A stale lock file names a pid of the last boot, which is somebody else's now."""
    lock = Lock(tmp_path / "lock")
    lock.write(**change)
    assert not any(lock.look() for _ in range(30))


@pytest.mark.parametrize("text", [None, "", "{", "[]"])
def test_no_counter_kills_nobody(tmp_path: Path, text: str | None) -> None:
    """A supervisor that is still starting has written nothing yet."""
    lock = Lock(tmp_path / "lock")
    if text is not None:
        lock.path.write_text(text)
    assert not any(lock.look() for _ in range(30))


def test_one_that_found_another_in_its_place_is_no_fault() -> None:
    """Two keepers left for each other's sake, and nobody was there; ten such starts must not end in watch-only."""
    respawn = Respawn()
    delays = [respawn.ended(TAKEN << 8, 0.3, at) for at in range(12)]
    assert delays[:4] == [0.25, 0.5, 1.0, 2.0] and delays[-1] == 5.0
    assert respawn.contended and not respawn.watch_only
    assert respawn.ended(KILLED, 10.0, 100.0) == 0.0 and not respawn.contended
    assert respawn.ended(0, 10.0, 200.0) is None
