"""Evidence: what a stalled attempt was doing, saved from real processes."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from overnight import nvidia
from overnight.model.run import Attempt, Process, Slot
from overnight.model.states import AttemptState
from overnight.model.time import Moment
from overnight.ports import AttemptRef, RunRef
from overnight.probes import FileProbe, evidence

HANGS = """
import socket, subprocess, sys, threading
def waits_for_a_collective():
    words = ["setsid", "sh", "-c", "echo here; read never"]  # no exec behind its word: it stays what it is
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    print("ready", child.pid, listener.getsockname()[1], flush=True)
    threading.Event().wait()
waits_for_a_collective()
"""


class Hanging(NamedTuple):
    """A Python that hangs on a socket, and a child of it that left its session."""

    pid: int
    child: int
    port: int


def _ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    with subprocess.Popen([sys.executable, "-c", HANGS], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        _, child, port = process.stdout.readline().split()
        yield Hanging(process.pid, int(child), int(port))
        os.kill(int(child), 9)
        process.kill()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """py-spy takes seconds on a machine that is busy with other things."""
    for name in ("ALL_SECONDS", "HURRIED_SECONDS", "STACK_SECONDS", "GPU_SECONDS"):
        monkeypatch.setattr(evidence, name, 50.0)


@pytest.fixture(autouse=True)
def without_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This host's own driver has no say here."""
    monkeypatch.setattr(nvidia, "_nvml", lambda: None)
    tool(tmp_path / "no driver", "nvidia-smi", "exit 9")
    monkeypatch.setenv("PATH", str(tmp_path / "no driver"), prepend=os.pathsep)


def target(folder: Path, pid: int, start_ticks: int, gpu_ids: tuple[str, ...] = ()) -> AttemptRef:
    folder.mkdir(parents=True, exist_ok=True)
    process = Process("h", "", "", 0, pid, start_ticks)
    attempt = Attempt(1, 1, AttemptState.RUNNING, 1, Slot("s", (), gpu_ids), Moment(0, 0), process=process)
    return AttemptRef(RunRef("c", "r"), attempt, str(folder))


def test_a_pipe_in_the_place_of_the_log_is_not_waited_for(tmp_path: Path) -> None:
    """Its last lines were waited for until the ceiling, and the GPU with them."""
    folder = tmp_path / "1"
    with subprocess.Popen(["sleep", "60"]) as process:
        order = target(folder, process.pid, _ticks(process.pid))
        os.mkfifo(folder / "output.log")
        began = time.monotonic()
        assert "processes.json" in evidence.save_evidence(order)
        assert time.monotonic() - began < evidence.ALL_SECONDS / 2
        process.kill()


def index(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "evidence" / "evidence.json").read_text())
    return document


def tool(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_stacks_and_processes_of_the_whole_tree(tmp_path: Path, hanging: Hanging) -> None:
    """In the morning a stall's log said nothing: which line hung, and in which process, was gone with the kill."""
    pid, child, _ = hanging
    (tmp_path / "output.log").write_text("".join(f"line {n}\n" for n in range(1000)))
    names = FileProbe().save_evidence(target(tmp_path, pid, _ticks(pid)))
    assert {"evidence.json", "processes.json", "tail.txt", f"stacks-{pid}.txt"} <= set(names)
    assert "waits_for_a_collective" in (tmp_path / "evidence" / f"stacks-{pid}.txt").read_text()
    document = json.loads((tmp_path / "evidence" / "processes.json").read_text())
    found = {process["pid"]: process for process in document["processes"]}
    assert {pid, child} <= set(found)
    assert found[child]["cmdline"] == ["sh", "-c", "echo here; read never"]
    assert found[pid]["state"] in "SRD" and found[pid]["rss_kib"] > 0 and "wchan" in found[pid]
    assert document["whole"] is True and index(tmp_path)["notes"] == []
    tail = (tmp_path / "evidence" / "tail.txt").read_text().splitlines()
    assert (len(tail), tail[-1]) == (200, "line 999")


def test_sockets_are_told_with_their_peers(tmp_path: Path, hanging: Hanging) -> None:
    """A run that hung on a connection to the data server: whose, and in which state, nobody knew afterwards."""
    pid, _, port = hanging
    FileProbe().save_evidence(target(tmp_path, pid, _ticks(pid)))
    (process,) = [
        each for each in json.loads((tmp_path / "evidence" / "processes.json").read_text())["processes"]
        if each["pid"] == pid
    ]  # fmt: skip
    states = {(each["state"], each["local"] == f"127.0.0.1:{port}", each["peer"]) for each in process["sockets"]}
    assert ("LISTEN", True, None) in states
    assert ("ESTABLISHED", False, f"127.0.0.1:{port}") in states


def test_what_is_complete_is_not_written_again(tmp_path: Path, hanging: Hanging) -> None:
    """A supervisor killed behind the evidence: its successor wrote the stacks of a tree that was half ended over it."""
    pid, _, _ = hanging
    names = FileProbe().save_evidence(target(tmp_path, pid, _ticks(pid)))
    (tmp_path / "evidence" / "tail.txt").write_text("of the first time")
    before = (tmp_path / "evidence" / f"stacks-{pid}.txt").stat()
    assert set(FileProbe().save_evidence(target(tmp_path, pid, _ticks(pid)))) >= set(names)
    assert (tmp_path / "evidence" / f"stacks-{pid}.txt").stat().st_mtime_ns == before.st_mtime_ns
    assert (tmp_path / "evidence" / "tail.txt").read_text() == "of the first time"


def test_what_a_killed_supervisor_left_is_written_anew(tmp_path: Path, hanging: Hanging) -> None:
    """Half an evidence, taken for the whole."""
    pid, _, _ = hanging
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "processes.json").write_text("{")
    (tmp_path / "evidence" / "tail.txt.tmp").write_text("half")
    FileProbe().save_evidence(target(tmp_path, pid, _ticks(pid)))
    assert json.loads((tmp_path / "evidence" / "processes.json").read_text())["whole"]


def test_another_process_of_that_number_is_left_alone(tmp_path: Path, hanging: Hanging) -> None:
    """A number used again named a stranger's processes and command lines in a run's evidence."""
    pid, _, _ = hanging
    (tmp_path / "output.log").write_text("x\n")
    assert FileProbe().save_evidence(target(tmp_path, pid, _ticks(pid) + 1)) == ("evidence.json", "tail.txt")
    assert "its shim is not there" in index(tmp_path)["notes"][0]


def test_stacks_that_may_not_be_read_are_said_so(
    tmp_path: Path, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No stacks and no word why: ptrace was not permitted, and one line of sysctl would have changed that."""
    pid, _, _ = hanging
    monkeypatch.setattr(evidence, "_py_spy", lambda: str(tmp_path / "bin" / "py-spy"))
    tool(tmp_path / "bin", "py-spy", "echo 'Permission Denied: Try running again with elevated permissions'; exit 1")
    FileProbe().save_evidence(target(tmp_path / "a", pid, _ticks(pid)))
    assert index(tmp_path / "a")["notes"] == [
        f"no stacks of {pid}: reading them is not permitted (kernel.yama.ptrace_scope, or no CAP_SYS_PTRACE)"
    ]
    monkeypatch.setattr(evidence, "_py_spy", lambda: None)
    FileProbe().save_evidence(target(tmp_path / "b", pid, _ticks(pid)))
    assert index(tmp_path / "b")["notes"] == ["no stacks: py-spy is not installed (pip install 'overnight[stacks]')"]


def test_a_dump_that_hangs_is_given_up(tmp_path: Path, hanging: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stuck py-spy or nvidia-smi must not keep the stalled run on its GPUs."""
    for name in ("py-spy", "nvidia-smi"):
        tool(tmp_path / "bin", name, "exec sleep 600")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setattr(evidence, "_py_spy", lambda: str(tmp_path / "bin" / "py-spy"))
    monkeypatch.setattr(evidence, "STACK_SECONDS", 0.3)
    monkeypatch.setattr(evidence, "GPU_SECONDS", 0.3)
    start = time.monotonic()
    pid, _, _ = hanging
    names = FileProbe().save_evidence(target(tmp_path / "a", pid, _ticks(pid), gpu_ids=("0",)))
    assert time.monotonic() - start < 20
    assert "processes.json" in names
    assert "no answer" in (tmp_path / "a" / "evidence" / f"stacks-{pid}.txt").read_text()
    assert any("no driver told" in note for note in index(tmp_path / "a")["notes"])


def test_a_process_that_cannot_be_read_keeps_nothing_else_back(
    tmp_path: Path, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process stuck in the kernel: reading its command line hung for ever, and with it the end of the run."""
    pid, child, _ = hanging
    real, hangs = evidence.describe, threading.Event()

    def describe(pid: int) -> dict[str, object]:
        if pid == child:
            hangs.wait()
        return real(pid)

    monkeypatch.setattr(evidence, "describe", describe)
    monkeypatch.setattr(evidence, "ALL_SECONDS", 3.0)
    try:
        FileProbe().save_evidence(target(tmp_path, pid, _ticks(pid)))
        document = json.loads((tmp_path / "evidence" / "processes.json").read_text())
        assert document["whole"] is False
        assert next(each for each in document["processes"] if each["pid"] == pid)["state"] in "SRD"
        assert "not everything answered in time" in index(tmp_path)["notes"]
    finally:
        hangs.set()


def test_a_thousand_at_once_do_not_wait_for_each_others_stacks(
    tmp_path: Path, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that hung for an hour: every run stalled, and the last one was ended at noon."""
    pid, _, _ = hanging
    (tmp_path / "output.log").write_text("last words\n")
    monkeypatch.setattr(evidence, "_full", threading.BoundedSemaphore(1))
    assert evidence._full.acquire(blocking=False)
    names = FileProbe().save_evidence(target(tmp_path, pid, _ticks(pid)))
    assert set(names) == {"evidence.json", "processes.json", "tail.txt"}
    assert "others was being saved" in index(tmp_path)["notes"][0]


def test_use_and_memory_of_the_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who held the GPU's memory is known only while it is held."""
    tool(tmp_path / "bin", "nvidia-smi", "echo '0, GPU-aaaa, H100, 70000, 81559, 97, 61, 0'")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    names = FileProbe().save_evidence(target(tmp_path / "a", 2**22 + 5, 1, gpu_ids=("0",)))
    assert "gpus.json" in names
    document = json.loads((tmp_path / "a" / "evidence" / "gpus.json").read_text())
    assert document["gpus_of_the_attempt"] == ["0"]
    (gpu,) = document["gpus"]
    assert (gpu["uuid"], gpu["memory_used"], gpu["utilization"]) == ("GPU-aaaa", 70000 * 2**20, 97)


def test_nothing_can_be_written(tmp_path: Path, hanging: Hanging) -> None:
    """A full or broken disk is no reason not to end a stalled run."""
    pid, _, _ = hanging
    place = target(tmp_path / "a", pid, _ticks(pid))
    (tmp_path / "a" / "evidence").write_text("in the way")
    assert FileProbe().save_evidence(place) == ()
