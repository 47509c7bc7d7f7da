"""Four kinds of stall, each on real processes: noticed, its evidence saved, its tree ended whole, resumed."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from campaign_world import Ground, ground, lines
from keeper_world import alive, await_that, exit_record

from overnight.executors.slot_files import SlotFiles
from overnight.model.requests import Cancel
from overnight.supervisor import inbox

__all__ = ["ground"]

LIMIT = 3.0  # seconds: of silence, or without an advance
NOTICED = 2.0  # seconds after it, at most: DESIGN 9

# Saves each step; stalls at step 12 of its first attempt in the way that its row says. `quiet` tells since when it has
# done nothing more that a limit counts, but for that step.
TRAINER = """
import os, signal, subprocess, sys, time
kind, out, resume = sys.argv[1], sys.argv[2], sys.argv[3:]
pids = os.path.join(out, "pids")

def tell_pid():
    with open(pids, "a") as file:
        file.write(f"{os.getpid()}\\n")

def prepares():
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

def stalls():
    while True:
        if kind == "printing":
            print("waiting for the data server", flush=True)
        time.sleep(0.2)

first = 1 + int(open(resume[0]).read()) if resume else 1
if resume:
    print("resumed behind", first - 1, flush=True)
for step in range(first, 21):
    if step == 12 and not resume:
        prepares()
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
        "--set", "limits.grace=1s", "--set", "retry.backoff.first=100ms", "--set", "checkpoint.path={out_dir}/ckpt",
        "--set", "checkpoint.resume=['{checkpoint}']", "--", sys.executable, "train.py", kind, "{out_dir}",
    )  # fmt: skip
    await_that(lambda: ground.counts(campaign) == {"succeeded": 1}, seconds=40)
    first, second = ground.summary(campaign, "run-1")["attempts"]
    assert first["class"] == ("stall.progress" if kind == "printing" else "stall.output")
    assert first["ended_by"] == "stall"
    assert first["signal"] == ("SIGABRT" if kind == "deaf" else "SIGTERM")

    index = evidence(ground, campaign, "evidence.json")
    noticed = index["at"] - index["seconds"]
    assert LIMIT - 0.05 <= noticed - float((ground.out(campaign, "run-1") / "quiet").read_text()) <= LIMIT + NOTICED
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
    asked, env = slow_driver(ground)
    hang = ["--", "sh", "-c", "for n in 1 2 3 4 5 6 7 8 9 10; do echo $n; done; exec sleep 600"]
    cancelled = ground.launch("--name", "b", *hang, env=env)
    await_that(lambda: len(lines(ground.attempt(cancelled, "run-1") / "output.log")) == 10)
    stalled = ground.launch(
        "--name", "a", "--set", "limits.heartbeat=1s", "--set", "retry.max_attempts=1", *hang, env=env
    )
    await_that(lambda: "overnight.supervisor" in "".join(lines(asked)))
    # As a client would, but at once: the driver has three seconds.
    inbox.submit(ground.state, Cancel(id=inbox.new_request_id(), by="a person", campaign=cancelled))
    await_that(lambda: ground.counts(cancelled) == {"cancelled": 1})
    await_that(lambda: ground.counts(stalled) == {"failed": 1})
    index = evidence(ground, stalled, "evidence.json")
    assert index["seconds"] > 2.5, "its driver was not asked"
    assert exit_record(ground.attempt(cancelled, "run-1"))["ended_wall"] < index["at"]


def slow_driver(ground: Ground, until: str = "never") -> tuple[Path, dict[str, str]]:
    """A driver that does not answer until there is a file of that name beside it. The file that names who has asked
    it, and an environment with it."""
    tools = ground.base / "tools"
    tools.mkdir()
    tells = f"tr '\\0' ' ' < /proc/$PPID/cmdline >> {tools}/asked"
    (tools / "nvidia-smi").write_text(f"#!/bin/sh\n[ -e {tools}/{until} ] || {{ {tells}; exec sleep 600; }}\n")
    (tools / "nvidia-smi").chmod(0o755)
    return tools / "asked", ground.env | {"PATH": f"{tools}:/usr/bin:/bin"}


def test_a_supervisor_killed_over_the_evidence_harms_nothing(ground: Ground) -> None:
    """A stalled run that nobody ended, because whoever had begun to was killed in the middle of it."""
    asked, env = slow_driver(ground, until="fast")
    ground.file("train.py", TRAINER)
    campaign = ground.launch(
        "--set", "limits.heartbeat=2s", "--set", "retry.backoff.first=100ms", "--set", "checkpoint.path={out_dir}/ckpt",
        "--set", "checkpoint.resume=['{checkpoint}']", "--", sys.executable, "train.py", "silent", "{out_dir}",
        env=env,
    )  # fmt: skip
    await_that(lambda: "overnight.supervisor" in "".join(lines(asked)))
    assert not (folder(ground, campaign) / "evidence.json").exists()
    (asked.parent / "fast").touch()
    term = ground.holder["term"]
    os.kill(ground.supervisor(), 9)
    ground.in_control(term)
    await_that(lambda: ground.counts(campaign) == {"succeeded": 1})
    assert evidence(ground, campaign, "evidence.json")["files"]
    assert len(ground.summary(campaign, "run-1")["attempts"]) == 2
