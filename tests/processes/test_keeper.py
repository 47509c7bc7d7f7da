"""The keeper with real shims and a test for its supervisor: starts, orphans, its own death."""

import contextlib
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from keeper_world import (
    PATIENCE_SECONDS,
    World,
    alive,
    await_that,
    exit_record,
    prepare,
    read_when_there,
    world,
)

from overnight.shim import shim

Make = Callable[..., World]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes worlds that are closed after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **more: stack.enter_context(world(tmp_path, **more))


def held(path: Path) -> bool:
    """Whether somebody holds the lock on this file."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_a_slot_is_busy_as_long_as_its_attempt(tmp_path: Path, make: Make) -> None:
    """A slot that is free while its run lives gets a second run: both run out of memory."""
    here = make()
    folder = prepare(tmp_path / "1", ["sh", "-c", "ls /proc/self/fd > seen; while ! test -e go; do sleep 0.01; done"])
    with (tmp_path / "slot").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        here.start(folder, [lock.fileno()])
        forked = here.message("forked", folder)
    read_when_there(folder / "seen")
    assert held(tmp_path / "slot")
    pidfd = here.pidfds[forked["pid"]]
    assert shim.process_start_ticks(forked["pid"]) == forked["start_ticks"]
    (folder / "go").touch()
    here.ended(folder)
    assert not held(tmp_path / "slot")
    with pytest.raises(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, 0)
    assert (folder / "seen").read_text().split() == ["0", "1", "2", "3"]
    assert exit_record(folder)["code"] == 0


def test_a_shim_holds_nothing_of_the_keepers(tmp_path: Path, make: Make) -> None:
    """A shim that inherited the keeper's lock or socket would keep the next keeper out all night."""
    here = make()
    folder = prepare(tmp_path / "1", ["sleep", "300"], grace=0.1)
    here.start(folder)
    pid = here.message("forked", folder)["pid"]
    await_that((folder / "started").exists)
    mine = ("/dev/null", str(here.state / "keeper.log"), str(folder))

    def others() -> list[str]:
        """What is open in it beside that. What it has inherited stays; on its way to the command it opens and closes
        files of its own."""
        found = []
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        return [each for each in found if not each.startswith(mine)]

    await_that(lambda: not others())
    assert os.getsid(pid) == pid


def test_a_burst_of_starts_answers_all(tmp_path: Path, make: Make) -> None:
    """After an outage a thousand runs start in one turn; who waits for whom must not become a deadlock."""
    here = make()
    folders = [tmp_path / "missing" / str(n) for n in range(1000)]
    for folder in folders:
        here.start(folder)  # nothing is read meanwhile
    for folder in folders:
        pid = here.message("forked", folder)["pid"]
        ended = here.message("shim_ended", folder)
        assert (ended["pid"], ended["status"]) == (pid, shim.NEVER_BEGAN << 8)
        with contextlib.suppress(KeyError):
            os.close(here.pidfds.pop(pid))


ESCAPED = """
import os, signal, sys
if os.fork() == 0:
    os.setsid()
    os.execve("/bin/sh", ["sh", "-c", "trap '' TERM; echo $$ >> %s; while :; do sleep 100; done"], {})
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
open("%s", "a").write(f"{os.getpid()}\\n")
while True:
    signal.pause()
"""


def test_the_tree_of_a_killed_shim_is_ended(tmp_path: Path, make: Make) -> None:
    """The OOM killer took the shim; its trainer and a helper without session or environment went on."""
    here = make(orphans={"grace": 0.3, "every": 0.05})
    listed = tmp_path / "pids"
    other = prepare(tmp_path / "2", ["sleep", "300"], grace=0.1)
    here.start(other)
    folder = prepare(tmp_path / "1", [sys.executable, "-S", "-c", ESCAPED % (listed, listed)])
    here.start(folder)
    pid = here.message("forked", folder)["pid"]
    tree = await_that(lambda: listed.exists() and len(found := listed.read_text().split()) == 2 and found)
    signal.pidfd_send_signal(here.pidfds[pid], signal.SIGKILL)
    ended = here.message("shim_ended", folder)
    assert os.WTERMSIG(ended["status"]) == signal.SIGKILL
    assert len(ended["orphans"]) == 1 and str(ended["orphans"][0]) in tree
    await_that(lambda: not any(alive(int(each)) for each in tree))
    assert not (folder / "exit").exists()
    assert alive(here.message("forked", other)["pid"])
    assert str(folder) in here.log()


def test_a_start_without_its_locks_is_refused(tmp_path: Path, make: Make) -> None:
    """Out of descriptors, the locks of a start were dropped: the run ran on a slot that looked free."""
    here = make()
    folder = prepare(tmp_path / "1", ["true"])
    with (tmp_path / "slot").open("w") as lock:
        here.start(folder, [lock.fileno()] * 200)  # more than the keeper takes
    failed = here.message("fork_failed", folder)
    assert failed["errno"] and failed["message"]
    assert not (folder / "started").exists()


@pytest.mark.parametrize("data", [b"{", b"[1]", b'{"op": "dance"}', b'{"op": "start"}', b"\xff"])
def test_a_word_it_does_not_know_ends_nothing(tmp_path: Path, make: Make, data: bytes) -> None:
    """A newer supervisor over an older keeper, after an update in the night."""
    here = make()
    assert here.wire is not None
    here.wire.send(data)
    folder = prepare(tmp_path / "1", ["true"])
    here.start(folder)
    here.ended(folder)
    assert exit_record(folder)["code"] == 0
    assert "means nothing here" in here.log()


def test_a_second_keeper_goes_quietly(make: Make) -> None:
    """Two clients bring the keeper back at the same moment: one keeper, one supervisor."""
    here = make()
    again = here.another_keeper(stderr=-1)
    assert again.communicate(timeout=PATIENCE_SECONDS)[1] == b""
    assert again.returncode == 0
    assert alive(here.supervisor_pid)


def test_runs_survive_the_keeper(tmp_path: Path, make: Make) -> None:
    """The keeper was killed: what runs goes on, is bounded and recorded, and a new keeper can begin."""
    here = make()
    folder = prepare(tmp_path / "1", ["sh", "-c", "while ! test -e go; do sleep 0.01; done; exit 8"])
    here.start(folder)
    pid = here.message("forked", folder)["pid"]
    await_that((folder / "started").exists)
    here.keeper.kill()
    here.keeper.wait()
    os.kill(here.supervisor_pid, signal.SIGKILL)
    assert alive(pid)
    here.keeper = here.another_keeper()
    here.answer_the_door()
    assert alive(here.supervisor_pid)
    (folder / "go").touch()
    assert exit_record(folder)["code"] == 8


def test_a_keeper_asked_to_end_leaves_the_runs(tmp_path: Path, make: Make) -> None:
    """systemd stops the unit at a logout or an update: nobody's run may end with it."""
    here = make()
    folder = prepare(tmp_path / "1", ["sh", "-c", "while ! test -e go; do sleep 0.01; done; exit 8"])
    here.start(folder)
    pid = here.message("forked", folder)["pid"]
    await_that((folder / "started").exists)
    here.keeper.terminate()
    assert here.keeper.wait(PATIENCE_SECONDS) == 0
    await_that(lambda: not alive(here.supervisor_pid))
    assert alive(pid)
    (folder / "go").touch()
    assert exit_record(folder)["code"] == 8


def test_shims_keep_their_limit_of_descriptors(tmp_path: Path, make: Make) -> None:
    """A program that closes every possible descriptor takes minutes when the keeper's high limit is handed on."""
    here = make()
    folder = prepare(tmp_path / "1", ["sh", "-c", "ulimit -n"])
    here.start(folder)
    here.ended(folder)
    expected = os.popen("ulimit -n").read()
    assert (folder / "output.log").read_text() == expected


def test_the_log_stays_short(tmp_path: Path, make: Make) -> None:
    """A log of respawns must not be what fills the disk; its newest words stay."""
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "keeper.log").write_text("an old line\n" * 200_000 + "the last line\n")
    here = make()
    assert len(here.log()) < 1_000_000
    assert here.log().startswith("an old line\n") and "the last line\n" in here.log()


def test_without_a_state_it_says_so(tmp_path: Path) -> None:
    """A traceback in a log that nobody opens is no answer."""
    import subprocess

    argv = [sys.executable, "-m", "overnight.keeper", "--state", tmp_path / "no", "--root", tmp_path]
    answer = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert answer.returncode == 4
    assert answer.stderr.startswith("error: ") and "\nhint: " in answer.stderr
    assert subprocess.run(argv[:3], capture_output=True, check=False).returncode == 2


def test_a_keeper_without_reader_drops_what_it_has_to_say(tmp_path: Path, make: Make) -> None:
    """The supervisor died with a thousand answers unread; its successor must not be greeted with them."""
    here = make()
    for n in range(300):
        here.start(tmp_path / "missing" / str(n))
    os.kill(here.supervisor_pid, signal.SIGKILL)
    old, here.wire = here.wire, None
    assert isinstance(old, socket.socket)
    old.close()
    here.answer_the_door()
    folder = prepare(tmp_path / "1", ["true"])
    here.start(folder)
    here.ended(folder)
    # Ends are news to whoever has adopted the run; that somebody else's start succeeded is not.
    assert [each["dir"] for each in here.arrived if each["op"] == "forked"] == [str(folder)]
