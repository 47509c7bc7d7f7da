"""`[stop] command`: work that lives elsewhere is ended with its attempt, and never stands in the way of its end."""

import errno
import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from campaign_world import Ground, ground, lines
from keeper_world import alive, await_that, processes_of

from overnight.executors.stop_commands import OUTPUT_BYTES, Carried, StopCommands, carry_out
from overnight.model.run import StopCommand

__all__ = ["ground"]

# Waits for a container, as `docker run` does; ends well when that has ended.
CLIENT = (
    "echo $$ > client; for n in 1 2 3 4 5 6 7 8 9 10; do echo $n; done; "
    'while kill -0 $(cat "$1") 2>/dev/null; do sleep 0.05; done'
)


@pytest.fixture
def container(ground: Ground) -> Iterator[tuple[int, Path]]:
    """A process that is nobody's child here, and the file that names it."""
    with subprocess.Popen(["sleep", "600"], env={}) as process:
        told = ground.file("container", str(process.pid))
        threading.Thread(target=process.wait, daemon=True).start()  # reaped at once, as by the daemon of containers
        yield process.pid, told
        process.kill()


def told(ground: Ground, campaign: str, when: str, n: int = 1) -> dict[str, Any]:
    path = ground.attempt(campaign, "run-1", n) / "evidence" / f"stop-{when}.json"
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def stalling(*stop: object, timeout: str = "30s") -> list[object]:
    return [
        "--name", "c", "--set", "limits.heartbeat=1s", "--set", "limits.grace=300ms", "--set", "retry.max_attempts=1",
        "--set", f"stop.command={json.dumps([str(word) for word in stop])}", "--set", f"stop.timeout={timeout}", "--",
    ]  # fmt: skip


def test_a_container_is_stopped_and_its_clients_good_end_is_no_success(
    ground: Ground, container: tuple[int, Path]
) -> None:
    """A hung training in a container: `docker stop` ended it, its client said 0, and the run had succeeded."""
    pid, file = container
    # As `docker stop`, whose client has ended by then.
    waits = "while kill -0 $(cat client) 2>/dev/null; do sleep 0.02; done"
    stop = f"kill $(cat {file}) && echo stopped $0 $1; echo $CUSTOM; {waits}"
    words = stalling("sh", "-c", stop, "{attempt_id}", "{run_id}")
    campaign = ground.launch(*words, "sh", "-c", CLIENT, "x", file, env=ground.env | {"CUSTOM": "of the shell"})
    await_that(lambda: ground.counts(campaign) == {"failed": 1})
    (attempt,) = ground.summary(campaign, "run-1")["attempts"]
    assert (attempt["class"], attempt["ended_by"], attempt["exit_code"]) == ("stall.output", "stall", 0)
    assert not alive(pid)
    before, after = told(ground, campaign, "before"), told(ground, campaign, "after")
    told_id = f"{campaign}.run-1.1.{hashlib.sha256(str(ground.root).encode()).hexdigest()[:6]}"
    assert before["output"] == f"stopped {told_id} run-1\nof the shell\n"
    assert (before["code"], before["timed_out"], after["over"]) == (0, False, True)
    assert ground.summary(campaign, "run-1")["flags"] == []
    assert {"stop-before.json", "stop-after.json", "tail.txt"} <= set(attempt["evidence"])


def test_one_that_hangs_is_killed_whole_and_stops_nobody(ground: Ground) -> None:
    """A docker daemon that did not answer, and a stalled run that kept its GPU because of that."""
    sleeps = [f"sleep {seconds}.{os.getpid()}" for seconds in (601, 602, 603, 604)]
    hangs = "echo trying; setsid {} & env -i {} & trap '' TERM; {}".format(*sleeps)
    words = stalling("sh", "-c", hangs, timeout="2s")
    campaign = ground.launch(*words, "sh", "-c", f"for n in 1 2 3 4 5 6 7 8 9 10; do echo $n; done; {sleeps[3]}")
    await_that(lambda: ground.counts(campaign) == {"failed": 1}, seconds=60)  # all that hangs would for ten minutes
    before, after = told(ground, campaign, "before"), told(ground, campaign, "after")
    assert before["timed_out"] and after["timed_out"] and before["output"] == "trying\n"
    summary = ground.summary(campaign, "run-1")
    assert summary["flags"] == ["stop.failed"] and summary["failure"]["class"] == "stall.output"
    for left in sleeps:
        await_that(lambda left=left: not processes_of(left.replace(" ", "\0")))


def test_a_successor_stops_it_again(ground: Ground, container: tuple[int, Path]) -> None:
    """A supervisor killed in the middle of `docker stop`, and a container that trained on until morning."""
    pid, file = container
    stop = f"echo x >> tries; [ $(wc -l < tries) = 1 ] && sleep 605.{os.getpid()}; kill $(cat {file})"
    campaign = ground.launch(*stalling("sh", "-c", stop), "sh", "-c", CLIENT, "x", file)
    await_that(lambda: lines(ground.work / "tries") == ["x"])
    term = ground.holder["term"]
    os.kill(ground.supervisor(), 9)
    ground.in_control(term)
    await_that(lambda: ground.counts(campaign) == {"failed": 1})
    await_that(lambda: not alive(pid))
    assert len(lines(ground.work / "tries")) == 3, "cut off, once more, and when the tree was gone"
    assert ground.summary(campaign, "run-1")["failure"]["class"] == "stall.output"
    await_that(lambda: not processes_of(f"sleep\x00605.{os.getpid()}"))


def test_work_that_outlives_its_command_is_ended_too(ground: Ground, container: tuple[int, Path]) -> None:
    """`docker run` killed by the out-of-memory killer: its container went on beside the next attempt."""
    pid, file = container
    words = stalling("sh", "-c", f"kill $(cat {file})")
    campaign = ground.launch(*words, "sh", "-c", "echo fine")
    await_that(lambda: ground.counts(campaign) == {"succeeded": 1})
    await_that(lambda: not alive(pid))
    assert ground.summary(campaign, "run-1")["flags"] == []
    assert not (ground.attempt(campaign, "run-1") / "evidence" / "stop-before.json").exists()


# --- one command -------------------------------------------------------------------------------------------


def carried(tmp_path: Path, *argv: str, seconds: float = 10.0) -> Carried:
    (tmp_path / "env.json").write_text(json.dumps({"argv": ["x"], "cwd": str(tmp_path), "set": {"MINE": "1"}}))
    return carry_out(str(tmp_path), "before", StopCommand(argv, seconds), f"{tmp_path}.1")


def test_one_that_prints_for_ever_costs_no_memory(tmp_path: Path) -> None:
    """A stop command in a loop, and the supervisor with it out of memory."""
    said = carried(tmp_path, "sh", "-c", "echo first; exec yes", seconds=1.5)
    assert said.timed_out and said.output.startswith("first\ny\n") and "bytes left out" in said.output
    assert len(said.output) < OUTPUT_BYTES + 100


def test_one_that_cannot_be_run_is_said(tmp_path: Path) -> None:
    """docker not on the PATH of the launching shell."""
    said = carried(tmp_path, "no-such-program")
    assert said.failed and "FileNotFoundError" in said.problem
    (tmp_path / "env.json").unlink()
    assert carry_out(str(tmp_path), "after", StopCommand(("true",), 1.0), f"{tmp_path}.1").failed


def test_what_it_leaves_in_the_background_is_ended(tmp_path: Path) -> None:
    """A daemon of a stop command, one more after each stall."""
    leaves = "(setsid sh -c 'echo $$ > pid; exec sleep 600' &); until [ -s pid ]; do sleep 0.02; done"
    said = carried(tmp_path, "sh", "-c", f"{leaves}; cat pid; echo done $MINE")
    pid, *rest = said.output.split()
    assert (rest, said.code, said.failed) == (["done", "1"], 0, False)
    assert not alive(int(pid))


def test_many_are_carried_out_a_few_at_a_time(tmp_path: Path) -> None:
    """A cancelled campaign of a thousand containers: a thousand threads at once, or only the first eight stopped."""
    commands = StopCommands()
    over: list[bool] = []
    for number in range(40):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "env.json").write_text(json.dumps({"argv": ["x"], "cwd": str(tmp_path)}))
        stop = StopCommand(("sh", "-c", f"exit {number % 2}"), 10.0)
        commands.run(str(folder), "before", stop, f"{folder}.1", over.append)
    await_that(lambda: len(over) == 40)
    assert sorted(over) == [False] * 20 + [True] * 20


def test_one_idle_thread_is_not_enough_for_two(tmp_path: Path) -> None:
    """Eight attempts stalled together: the end of each waited for the stop commands of those before it, half a minute
    each, because a thread of an hour ago was idle when they were ordered."""
    commands = StopCommands()
    over: list[bool] = []

    def run(name: str, script: str) -> None:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "env.json").write_text(json.dumps({"argv": ["x"], "cwd": str(tmp_path)}))
        commands.run(str(folder), "before", StopCommand(("sh", "-c", script), 10.0), f"c.{name}.1", over.append)

    run("earlier", "true")
    await_that(lambda: len(over) == 1)
    for own, other in (("a", "b"), ("b", "a")):  # each ends when the other has begun
        run(own, f"touch {own}.begun; until [ -e {other}.begun ]; do sleep 0.02; done")
    await_that(lambda: len(over) == 3)
    assert over == [False] * 3


def test_one_that_nobody_can_wait_for_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor was left to follow a stop command with: it ran on, without a limit."""

    def none_left(pid: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", none_left)
    said = carried(tmp_path, "sh", "-c", f": {tmp_path}; sleep 600")
    assert said.failed and "Too many open files" in said.problem
    assert not processes_of(str(tmp_path))
