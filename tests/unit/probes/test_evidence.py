"""Evidence: what a stalled attempt was doing, saved from real processes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from overnight.model.run import Attempt, Process, Slot
from overnight.model.states import AttemptState
from overnight.model.time import Moment
from overnight.ports import AttemptRef, RunRef
from overnight.probes import FileProbe, evidence

HANGS = """
import subprocess, sys, threading
def waits_for_a_collective():
    child = subprocess.Popen(["setsid", "sleep", "600"], stdout=subprocess.DEVNULL)
    print("ready", child.pid, flush=True)
    threading.Event().wait()
waits_for_a_collective()
"""


def _ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


@pytest.fixture
def hanging() -> Iterator[tuple[int, int]]:
    """A Python that hangs, and a child of it that left its session: (pid, pid)."""
    with subprocess.Popen([sys.executable, "-c", HANGS], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline().split()[1])
        yield process.pid, child
        os.kill(child, 9)
        process.kill()


def target(folder: Path, pid: int, start_ticks: int) -> AttemptRef:
    folder.mkdir(parents=True, exist_ok=True)
    process = Process("h", "", "", 0, pid, start_ticks)
    attempt = Attempt(1, 1, AttemptState.RUNNING, 1, Slot("cpu:0"), Moment(0, 0), process=process)
    return AttemptRef(RunRef("c", "r"), attempt, str(folder))


def test_stacks_and_processes_of_the_whole_tree(tmp_path: Path, hanging: tuple[int, int]) -> None:
    """In the morning a stall's log said nothing: which line hung, and in which process, was gone with the kill."""
    pid, child = hanging
    (tmp_path / "output.log").write_text("".join(f"line {n}\n" for n in range(1000)))
    names = FileProbe().save_evidence(target(tmp_path, pid, _ticks(pid)))
    assert {"processes.json", "tail.txt", f"stacks-{pid}.txt"} <= set(names)
    assert "waits_for_a_collective" in (tmp_path / "evidence" / f"stacks-{pid}.txt").read_text()
    document = json.loads((tmp_path / "evidence" / "processes.json").read_text())
    found = {process["pid"]: process for process in document["processes"]}
    assert {pid, child} <= set(found)
    assert found[child]["cmdline"] == ["sleep", "600"]
    assert found[pid]["state"] in "SR"
    assert found[pid]["rss_kib"] > 0
    assert document["whole"] is True
    tail = (tmp_path / "evidence" / "tail.txt").read_text().splitlines()
    assert (len(tail), tail[-1]) == (200, "line 999")


def test_another_process_of_that_number_is_left_alone(tmp_path: Path, hanging: tuple[int, int]) -> None:
    """A number used again named a stranger's processes and command lines in a run's evidence."""
    pid, _ = hanging
    (tmp_path / "output.log").write_text("x\n")
    assert FileProbe().save_evidence(target(tmp_path, pid, _ticks(pid) + 1)) == ("tail.txt",)


def test_a_dump_that_hangs_is_given_up(
    tmp_path: Path, hanging: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stuck py-spy or nvidia-smi must not keep the stalled run on its GPUs."""
    slow = tmp_path / "bin"
    slow.mkdir()
    for name in ("py-spy", "nvidia-smi"):
        (slow / name).write_text("#!/bin/sh\nexec sleep 600\n")
        (slow / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(slow), prepend=os.pathsep)
    monkeypatch.setattr(evidence.sys, "executable", str(tmp_path / "nowhere" / "python"))
    monkeypatch.setattr(evidence, "STACK_SECONDS", 0.3)
    monkeypatch.setattr(evidence, "GPU_SECONDS", 0.3)
    start = time.monotonic()
    pid, _ = hanging
    names = FileProbe().save_evidence(target(tmp_path / "a", pid, _ticks(pid)))
    assert time.monotonic() - start < 8
    assert "processes.json" in names
    assert "no answer" in (tmp_path / "a" / "evidence" / f"stacks-{pid}.txt").read_text()
    assert "no answer" in (tmp_path / "a" / "evidence" / "gpus.txt").read_text()


def test_memory_of_the_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who held the GPU's memory is known only while it is held."""
    (tmp_path / "nvidia-smi").write_text('#!/bin/sh\necho "asked $1"\n')
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    names = FileProbe().save_evidence(target(tmp_path / "a", 2**22 + 5, 1))
    assert names == ("gpus.txt",)
    assert "asked --query-compute-apps" in (tmp_path / "a" / "evidence" / "gpus.txt").read_text()


def test_nothing_can_be_written(tmp_path: Path, hanging: tuple[int, int]) -> None:
    """A full or broken disk is no reason not to end a stalled run."""
    pid, _ = hanging
    place = target(tmp_path / "a", pid, _ticks(pid))
    (tmp_path / "a" / "evidence").write_text("in the way")
    assert FileProbe().save_evidence(place) == ()
