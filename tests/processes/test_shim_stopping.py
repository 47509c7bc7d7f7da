"""How the shim ends a tree: by request, at the bound, and after a command that left something behind."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from types import SimpleNamespace

import pytest
from keeper_world import (
    PATIENCE_SECONDS,
    SHIM,
    alive,
    await_that,
    exit_record,
    prepare,
    read_when_there,
    run_shim,
    set_bound,
)

from overnight.shim import shim

Shim = Popen[bytes]


@pytest.fixture
def shims() -> Iterator[list[Shim]]:
    """Shims of a test; those that a failure left are ended with all that is below them."""
    started: list[Shim] = []
    yield started
    for each in started:
        if each.poll() is None:
            for below in list(shim.descendants(each.pid)):
                shim.send(below.pid, below.start_ticks, signal.SIGKILL)
            each.kill()
            each.wait()


def pids(path: Path, count: int) -> list[int]:
    """Numbers that processes have written, one a line."""
    lines = await_that(lambda: path.exists() and len(found := path.read_text().split()) >= count and found)
    return [int(each) for each in lines]


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


TRAINER = """
import os, signal, sys
request, answer = os.pipe(), os.pipe()
worker = os.fork()
if worker == 0:
    open("pids", "a").write(f"{os.getpid()}\\n")
    while os.read(request[0], 1):
        os.write(answer[1], b"rest of the epoch")
    os._exit(0)

def save(*_):
    os.write(request[1], b".")
    data = os.read(answer[0], 100)
    open("checkpoint.tmp", "wb").write(data)
    os.rename("checkpoint.tmp", "checkpoint")
    sys.exit(0)

signal.signal(signal.SIGTERM, save)
while not os.path.exists("pids"):
    pass
open("ready", "w").write("yes")
while True:
    signal.pause()
"""


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_stopped_trainer_saves_with_its_workers(tmp_path: Path, shims: list[Shim], wrapped: bool) -> None:
    """TERM to the whole group killed the data workers first, and the checkpoint being saved was lost.

    The same under a shell that dies of TERM and leaves the trainer to the shim.
    """
    command = ["sh", "-c", '"$@"; echo never', "sh", *python(TRAINER)] if wrapped else python(TRAINER)
    folder = prepare(tmp_path / "1", command, grace=10.0)
    shims.append(run_shim(folder))
    read_when_there(folder / "ready")
    shims[0].terminate()
    record = exit_record(folder)
    assert (folder / "checkpoint").read_text() == "rest of the epoch"
    assert (record["stopped"], record["aborted"], record["swept"]) == ("request", False, 0)
    assert (record["code"], record["signal"]) == ((None, "SIGTERM") if wrapped else (0, None))


DEAF = """
trap '' TERM
for n in 1 2 3; do sh -c 'trap "" TERM; echo $$ >> pids; while :; do sleep 100; done' & done
echo $$ >> pids
while :; do sleep 100; done
"""


def test_a_tree_that_ignores_term_is_killed_whole(tmp_path: Path, shims: list[Shim]) -> None:
    """A stall's remedy is worth nothing while one deaf process keeps the GPU memory."""
    folder = prepare(tmp_path / "1", ["sh", "-c", DEAF], grace=0.2)
    shims.append(run_shim(folder))
    tree = pids(folder / "pids", 4)
    shims[0].terminate()
    record = exit_record(folder)
    assert not any(map(alive, tree))
    assert (record["signal"], record["stopped"]) == ("SIGKILL", "request")
    assert record["swept"] >= 4


DAEMON = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        open(PIDS, "a").write(f"{os.getpid()}\\n")
        while True:
            signal.pause()
    os._exit(0)
os.wait()
while not os.path.exists(PIDS) or not os.path.getsize(PIDS):
    pass
os._exit(9)
"""


def test_nobody_leaves_by_a_double_fork(tmp_path: Path, shims: list[Shim]) -> None:
    """A daemonised helper of the last run held the port of the next."""
    code = DAEMON.replace("PIDS", repr(str(tmp_path / "pids")))
    folder = prepare(tmp_path / "1", python(code), grace=0.3)
    shims.append(run_shim(folder))
    record = exit_record(folder)
    assert not alive(pids(tmp_path / "pids", 1)[0])
    assert (record["code"], record["stopped"], record["swept"]) == (9, None, 1)


def test_what_is_left_behind_may_end_by_itself(tmp_path: Path, shims: list[Shim]) -> None:
    """A logger that flushes on TERM gets the time to, though its command is gone."""
    script = "sh -c 'trap \"echo flushed > flushed; exit\" TERM; echo > ready; while :; do sleep 0.05; done' & "
    folder = prepare(tmp_path / "1", ["sh", "-c", script + "while ! test -e ready; do sleep 0.01; done; exit 4"])
    shims.append(run_shim(folder))
    record = exit_record(folder)
    assert (record["code"], record["swept"]) == (4, 0)
    assert (folder / "flushed").exists()


def test_a_script_that_signals_its_group_spares_the_shim(tmp_path: Path, shims: list[Shim]) -> None:
    """`trap 'kill 0' EXIT` is in half of all launch scripts; it must not look like a stop request."""
    folder = prepare(tmp_path / "1", ["bash", "-c", "trap 'trap - TERM; kill 0' EXIT; sleep 300 & exit 3"])
    shims.append(run_shim(folder))
    record = exit_record(folder)
    assert record["stopped"] is None


HUNG = """
import faulthandler, os, signal
faulthandler.enable()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def waits_for_a_collective():
    open("pids", "w").write(str(os.getpid()))
    while True:
        signal.pause()
waits_for_a_collective()
"""


PATIENT = """
import sys
sys.path.insert(0, sys.argv[1])
import shim
shim.STACKS_SECONDS = 20.0  # on a busy machine printing takes longer than the second that a hang is worth
sys.exit(shim.main(sys.argv[2:]))
"""


def test_a_hung_python_prints_its_stacks(tmp_path: Path, shims: list[Shim]) -> None:
    """Without the stacks of a hang nobody can say next morning where it hung."""
    folder = prepare(tmp_path / "1", python(HUNG), grace=0.1)
    shims.append(Popen([sys.executable, "-c", PATIENT, SHIM.parent, folder], start_new_session=True))
    pids(folder / "pids", 1)
    shims[0].terminate()
    record = exit_record(folder)
    assert (record["signal"], record["aborted"], record["swept"]) == ("SIGABRT", True, 0)
    assert "waits_for_a_collective" in (folder / "output.log").read_text()
    assert not list(folder.glob("core*"))


def test_a_second_request_shortens_the_grace(tmp_path: Path, shims: list[Shim]) -> None:
    """Cancelled with an hour of grace by mistake: `cancel` again must not wait that hour."""
    folder = prepare(
        tmp_path / "1", ["sh", "-c", "trap 'echo > asked' TERM; echo > ready; while :; do sleep 0.05; done"], grace=3600
    )
    shims.append(run_shim(folder))
    await_that((folder / "ready").exists)
    shims[0].terminate()
    await_that((folder / "asked").exists)
    set_bound(folder, None, 0.1)
    shims[0].terminate()
    record = exit_record(folder)
    assert (record["stopped"], record["signal"]) == ("request", "SIGKILL")


def test_other_signals_do_not_end_the_shim(tmp_path: Path, shims: list[Shim]) -> None:
    """Ctrl-C and a closed terminal reach everything that was started from it."""
    folder = prepare(tmp_path / "1", ["sh", "-c", "while ! test -e go; do sleep 0.01; done; exit 6"])
    shims.append(run_shim(folder))
    await_that((folder / "started").exists)
    for each in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT):
        shims[0].send_signal(each)
    (folder / "go").touch()
    record = exit_record(folder)
    assert (record["code"], record["stopped"]) == (6, None)


def test_a_stopped_process_is_woken_to_save(tmp_path: Path, shims: list[Shim]) -> None:
    """A trainer suspended with Ctrl-Z or SIGSTOP does not see SIGTERM until it is continued."""
    script = "trap 'echo saved > saved; exit 0' TERM; echo $$ > pids; while :; do sleep 0.05; done"
    folder = prepare(tmp_path / "1", ["sh", "-c", script])
    shims.append(run_shim(folder))
    pid = pids(folder / "pids", 1)[0]
    os.kill(pid, signal.SIGSTOP)
    shims[0].terminate()
    assert exit_record(folder)["code"] == 0
    assert (folder / "saved").exists()


def test_the_bound_holds_with_nobody_watching(tmp_path: Path, shims: list[Shim]) -> None:
    """Supervisor and keeper died in the evening: the run must not burn GPUs until somebody looks."""
    folder = prepare(tmp_path / "1", ["sleep", "300"], seconds=0.2, margin=0.3, grace=1.0)
    shims.append(run_shim(folder))
    record = exit_record(folder)
    assert (record["stopped"], record["signal"]) == ("bound", "SIGTERM")
    assert record["seconds"] >= 0.5


def test_a_bound_replaced_in_time_lets_the_run_go_on(tmp_path: Path, shims: list[Shim]) -> None:
    """`amend` gave more time, and the shim ended the run by the old bound all the same."""
    amends = "mv amended bound; exec sleep 2.5"  # the command itself, for the shim has read the old one by then
    folder = prepare(tmp_path / "1", ["sh", "-c", amends], seconds=1.0, margin=1.0)
    (folder / "amended").write_text('{"seconds": null, "grace": 5.0}')
    shims.append(run_shim(folder))
    record = exit_record(folder)
    assert (record["code"], record["stopped"]) == (0, None)


def test_frozen_hours_are_not_running_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container was paused over the day: in the evening its runs had "reached their timeout" and were given up."""
    clock = [100.0]

    def frozen(signals: object, seconds: float) -> None:
        clock[0] += seconds + 3600.0

    monkeypatch.setattr(shim, "time", SimpleNamespace(monotonic=lambda: clock[0], time=time.time))
    monkeypatch.setattr(shim.signal, "sigtimedwait", frozen)
    attempt = shim._Attempt(os.open(tmp_path, os.O_RDONLY))
    monkeypatch.setattr(attempt, "reap", lambda: None)
    attempt.wait(110.0)
    assert attempt.now() == 110.0
    attempt.raw, attempt.ended = 0, clock[0]
    record = attempt.record()
    assert (record["seconds"], record["ended_mono"] - record["started_mono"]) == (10.0, 3610.0)


@pytest.mark.parametrize("text", ["", "{", '{"seconds": "soon"}', '{"seconds": NaN, "grace": 1}', "[]"])
def test_an_unreadable_bound_is_no_licence(tmp_path: Path, text: str) -> None:
    """A bound that cannot be read leaves the last one in force; at first that of a day."""
    (tmp_path / "bound").write_text(text)
    attempt = shim._Attempt(os.open(tmp_path, os.O_RDONLY))
    assert attempt.limit - attempt.started == pytest.approx(87_000)
    set_bound(tmp_path, 5, 1)
    attempt.read_bound()
    (tmp_path / "bound").write_text(text)
    attempt.read_bound()
    assert attempt.limit - attempt.started == pytest.approx(605)
    os.close(attempt.folder)


def test_a_suspended_night_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The laptop slept, the VM was frozen: the hours in which nothing ran are not the run's."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    attempt = shim._Attempt(os.open(tmp_path, os.O_RDONLY))

    def wake_late(_: object, asked: float) -> None:
        clock[0] += asked + late

    monkeypatch.setattr(signal, "sigtimedwait", wake_late)
    monkeypatch.setattr(attempt, "reap", lambda: None)
    late = 4.0  # a busy machine
    attempt.wait(attempt.now() + 10)
    assert attempt.now() == 1014.0
    late = 30_000.0
    attempt.wait(attempt.now() + 10)
    assert attempt.now() == 1024.0
    os.close(attempt.folder)


def test_descendants_without_the_kernels_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shims: list[Shim]
) -> None:
    """Kernels without CONFIG_PROC_CHILDREN exist; a tree must be found there as well."""
    folder = prepare(tmp_path / "1", ["sh", "-c", DEAF], grace=0.1)
    shims.append(run_shim(folder))
    tree = set(pids(folder / "pids", 4))
    listed = {each.pid for each in shim.descendants(shims[0].pid)}
    monkeypatch.setattr(shim, "_kernel_lists_children", lambda: False)
    scanned = {each.pid for each in shim.descendants(shims[0].pid)}
    assert tree <= listed and tree <= scanned
    shims[0].terminate()
    assert shims[0].wait(PATIENCE_SECONDS) == shim.RAN


def test_a_number_used_again_is_not_hit() -> None:
    """Pids are used again within minutes on a busy host: the signal must not reach a stranger."""
    start_ticks = shim.process_start_ticks(os.getpid())
    assert start_ticks is not None
    assert not shim.send(os.getpid(), start_ticks + 1, signal.SIGKILL)
    assert shim.send(os.getpid(), start_ticks, 0)
