"""Trees that do not want to end: the shim ends them whole, and says so only when nothing is left."""

import os
import signal
from pathlib import Path

import pytest
from keeper_world import alive, await_that, exit_record, prepare, processes_of, run_shim
from test_shim_stopping import Shim, pids, python, shims

from overnight.shim.shim import process_stat

__all__ = ["shims"]

# Each generation forks the next and is gone: no list of processes is true for longer than a fork takes.
RUNNERS = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for n in range(4):
    if os.fork() == 0:
        open("begun", "a").write("x")
        while True:
            if {apart}:
                os.setsid()
            if os.fork():
                os._exit(0)
while True:
    signal.pause()
"""


@pytest.mark.parametrize("apart", [False, True])
def test_processes_that_fork_faster_than_they_are_listed(tmp_path: Path, shims: list[Shim], apart: bool) -> None:
    """A fork bomb of a data loader: killed one by one, and each had a child before its turn came."""
    folder = prepare(tmp_path / "1", python(RUNNERS.format(apart=apart) + f"# {tmp_path}"), grace=0.2)
    shims.append(run_shim(folder))
    await_that(lambda: (folder / "begun").exists() and len((folder / "begun").read_text()) == 4)
    shims[0].terminate()
    assert exit_record(folder)["stopped"] == "request"
    assert not processes_of(f"# {tmp_path}")


STANDING = """
trap 'echo saved > saved; exit 0' TERM
sh -c 'echo $$ >> pids; while :; do sleep 0.05; done' &
(trap "" TERM; echo $$; exec sh -c 'echo $$ >> pids; trap "" TERM; while :; do sleep 0.05; done') &
echo $$ >> pids
while :; do sleep 0.05; done
"""


def test_a_tree_that_stands_still_is_ended_whole(tmp_path: Path, shims: list[Shim]) -> None:
    """`kill -STOP` of a whole training to free the GPU for a minute, forgotten: none of it could hear anything."""
    folder = prepare(tmp_path / "1", ["sh", "-c", STANDING], grace=3.0)
    shims.append(run_shim(folder))
    tree = pids(folder / "pids", 3)
    for pid in tree:
        os.kill(pid, signal.SIGSTOP)
    await_that(lambda: all((stat := process_stat(pid)) and stat.state == "T" for pid in tree))
    shims[0].terminate()
    record = exit_record(folder)
    assert (record["code"], record["stopped"]) == (0, "request")
    assert (folder / "saved").exists(), "the command itself was woken to save"
    assert not any(map(alive, tree))


SOMEBODY_ELSE = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.getuid() == 0:
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
    os.closerange(3, 100)
    os.environ.clear()
    print("user", os.getuid(), flush=True)
    while True:
        signal.pause()
    os._exit(0)
while True:
    signal.pause()
"""


def test_whoever_became_another_user_in_a_session_of_his_own_is_ended(tmp_path: Path, shims: list[Shim]) -> None:
    """A service that dropped its rights and left its session, with the port of the next run in its hands."""
    folder = prepare(tmp_path / "1", python(SOMEBODY_ELSE + f"# {tmp_path}"), grace=0.2)
    shims.append(run_shim(folder))
    log = folder / "output.log"
    await_that(lambda: log.exists() and "user" in log.read_text())
    tree = processes_of(f"# {tmp_path}")
    assert len(tree) == 2
    shims[0].terminate()
    assert exit_record(folder)["stopped"] == "request"
    assert not any(map(alive, tree))


LEADERLESS = """
import ctypes, os, signal, threading, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGABRT, signal.SIG_IGN)

def goes_on():
    while True:
        open("beat", "w").write(str(time.monotonic()))
        time.sleep(0.02)

open("pids", "w").write(str(os.getpid()))
threading.Thread(target=goes_on).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_process_whose_first_thread_has_ended_is_no_dead_process(tmp_path: Path, shims: list[Shim]) -> None:
    """A zombie by its state, whose other threads computed on: taken for dead, and the next run put beside it."""
    folder = prepare(tmp_path / "1", python(LEADERLESS), grace=0.2)
    shims.append(run_shim(folder))
    pid = pids(folder / "pids", 1)[0]
    await_that(lambda: (stat := process_stat(pid)) and stat.state == "Z" and (folder / "beat").exists())
    before = (folder / "beat").stat().st_mtime_ns
    await_that(lambda: (folder / "beat").stat().st_mtime_ns > before)
    assert not (folder / "exit").exists()
    shims[0].terminate()
    record = exit_record(folder)
    assert (record["signal"], record["stopped"]) == ("SIGKILL", "request")
    assert process_stat(pid) is None
