"""Four kinds of stall, each on real processes: noticed, its evidence saved, its tree ended whole, resumed."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from campaign_world import Ground, ground, lines
from keeper_world import alive, await_that

from overnight.executors.slot_files import SlotFiles

__all__ = ["ground"]

LIMIT = 3.0  # seconds: of silence, or without an advance
NOTICED = 2.0  # seconds after it, at most: DESIGN 9

# Saves each step; stalls at step 12 of its first attempt in the way that its row says. `quiet.N` tells when it last
# did what a limit counts.
TRAINER = """
import os, signal, subprocess, sys, time
kind, out, resume = sys.argv[1], sys.argv[2], sys.argv[3:]
pids = os.path.join(out, "pids")

def tell_pid():
    with open(pids, "a") as file:
        file.write(f"{os.getpid()}\\n")

def stalls():
    tell_pid()
    if kind == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen(["sh", "-c", "trap '' TERM INT HUP; echo $$ >> $0; while :; do sleep 0.1; done", pids])
    if kind == "daemon" and os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.environ.clear()
            os.chdir("/")
            tell_pid()
            os.closerange(0, 100)
            while True:
                time.sleep(0.1)
        os._exit(0)
    if kind == "daemon":
        os.wait()
    with open(os.path.join(out, "quiet"), "w") as file:
        file.write(str(time.time()))
    while True:
        if kind == "printing":
            print("waiting for the data server", flush=True)
        time.sleep(0.2)

first = 1 + int(open(resume[0]).read()) if resume else 1
if resume:
    print("resumed behind", first - 1, flush=True)
for step in range(first, 21):
    with open(os.path.join(out, "ckpt.tmp"), "w") as file:
        file.write(str(step))
    os.rename(os.path.join(out, "ckpt.tmp"), os.path.join(out, "ckpt"))
    print(f"step {step}/20 loss {1 / step:.3f}", flush=True)
    if step == 12 and not resume:
        stalls()
    time.sleep(0.02)
"""


@pytest.mark.parametrize("kind", ["silent", "printing", "deaf", "daemon"])
def test_a_stall_is_remedied_without_a_person(kind: str, ground: Ground) -> None:
    """A hang at two in the morning, found at nine: seven hours of a GPU, and no word of where it had hung."""
    ground.file("train.py", TRAINER)
    campaign = ground.launch(
        "--set", f"limits.heartbeat={LIMIT:.0f}s", "--set", f"limits.progress={LIMIT:.0f}s",
        "--set", "limits.grace=500ms", "--set", "retry.backoff.first=100ms", "--set", "checkpoint.path={out_dir}/ckpt",
        "--set", "checkpoint.resume=['{checkpoint}']", "--", sys.executable, "train.py", kind, "{out_dir}",
    )  # fmt: skip
    await_that(lambda: ground.counts(campaign) == {"succeeded": 1}, seconds=40)
    first, second = ground.summary(campaign, "run-1")["attempts"]
    assert first["class"] == ("stall.progress" if kind == "printing" else "stall.output")
    assert first["ended_by"] == "stall"
    assert first["signal"] == ("SIGABRT" if kind == "deaf" else "SIGTERM")

    index = evidence(ground, campaign, "evidence.json")
    noticed = index["at"] - index["seconds"]
    assert LIMIT - 0.3 <= noticed - float((ground.out(campaign, "run-1") / "quiet").read_text()) <= LIMIT + NOTICED
    assert {"evidence.json", "processes.json", "tail.txt"} <= set(first["evidence"])
    hung, *others = (int(pid) for pid in lines(ground.out(campaign, "run-1") / "pids"))
    assert "stalls (train.py" in (folder(ground, campaign) / f"stacks-{hung}.txt").read_text()
    seen = {process["pid"] for process in evidence(ground, campaign, "processes.json")["processes"]}
    assert {hung, *others} <= seen, "a daemon of it is of its tree"
    assert len(others) == (1 if kind in ("deaf", "daemon") else 0)
    assert "step 12/20" in (folder(ground, campaign) / "tail.txt").read_text()
    said = ground.overnight("why", campaign, "run-1").out
    assert f"stacks-{hung}.txt" in said

    assert [pid for pid in (hung, *others) if alive(pid)] == []
    assert second["resumed_from"].endswith("/ckpt")
    assert lines(ground.attempt(campaign, "run-1", 2) / "output.log")[:2] == [
        "resumed behind 12",
        "step 13/20 loss 0.077",
    ]
    slots = SlotFiles(ground.slots)
    assert [key for key in slots.known() if slots.held(key)[0]] == []


def folder(ground: Ground, campaign: str) -> Path:
    return ground.attempt(campaign, "run-1", 1) / "evidence"


def evidence(ground: Ground, campaign: str, name: str) -> Any:
    return json.loads((folder(ground, campaign) / name).read_text())


def test_slow_evidence_delays_no_other_stop(ground: Ground) -> None:
    """A stack dump that took ten seconds, and a cancelled run that kept its GPU for as long."""
    tools = ground.base / "tools"
    tools.mkdir()
    (tools / "nvidia-smi").write_text(f"#!/bin/sh\ntouch {tools}/asked\nexec sleep 600\n")
    (tools / "nvidia-smi").chmod(0o755)
    env = ground.env | {"PATH": f"{tools}:/usr/bin:/bin"}
    hang = ["--", "sh", "-c", "for n in 1 2 3 4 5 6 7 8 9 10; do echo $n; done; exec sleep 600"]
    first = ground.launch(
        "--name", "a", "--set", "limits.heartbeat=1s", "--set", "retry.max_attempts=1", *hang, env=env
    )
    second = ground.launch("--name", "b", *hang, env=env)
    await_that(lambda: (ground.attempt(second, "run-1") / "output.log").exists())
    (tools / "asked").unlink(missing_ok=True)
    await_that(lambda: (tools / "asked").exists())
    began = time.monotonic()
    ground.overnight("cancel", second)
    await_that(lambda: ground.counts(second) == {"cancelled": 1})
    assert ground.counts(first) == {"running": 1}, "its driver is still being asked"
    assert time.monotonic() - began < 3.0
    await_that(lambda: ground.counts(first) == {"failed": 1})


def test_a_supervisor_killed_over_the_evidence_harms_nothing(ground: Ground) -> None:
    """A stalled run that nobody ended, because whoever had begun to was killed in the middle of it."""
    tools = ground.base / "tools"
    tools.mkdir()
    (tools / "nvidia-smi").write_text(f"#!/bin/sh\n[ -e {tools}/fast ] || {{ touch {tools}/asked; exec sleep 600; }}\n")
    (tools / "nvidia-smi").chmod(0o755)
    ground.file("train.py", TRAINER)
    campaign = ground.launch(
        "--set", "limits.heartbeat=1s", "--set", "retry.backoff.first=100ms", "--set", "checkpoint.path={out_dir}/ckpt",
        "--set", "checkpoint.resume=['{checkpoint}']", "--", sys.executable, "train.py", "silent", "{out_dir}",
        env=ground.env | {"PATH": f"{tools}:/usr/bin:/bin"},
    )  # fmt: skip
    await_that(lambda: (ground.out(campaign, "run-1") / "quiet").exists())
    (tools / "asked").unlink(missing_ok=True)
    await_that(lambda: (tools / "asked").exists())
    assert not (folder(ground, campaign) / "evidence.json").exists()
    (tools / "fast").touch()
    term = ground.holder["term"]
    os.kill(ground.supervisor(), 9)
    ground.in_control(term)
    await_that(lambda: ground.counts(campaign) == {"succeeded": 1})
    assert evidence(ground, campaign, "evidence.json")["files"]
    assert len(ground.summary(campaign, "run-1")["attempts"]) == 2
