"""Keeper and supervisor killed together: nobody is left who could know, and nothing is lost, doubled or harmed."""

import contextlib
import fcntl
import itertools
import os
import random
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign_world import Ground, end_at_once, ground, lines
from keeper_world import alive, await_that, processes_of
from test_supervisor_killed import begun, gated, let_go, none_harmed, sweep, told_once

from overnight.supervisor import units

__all__ = ["ground"]

RUNS, KILLS = 150, 30


def kill_both(ground: Ground) -> None:
    """SIGKILL whoever keeps and whoever supervises, at once. Of the dead the numbers may be others' by now."""
    ours = set(processes_of(str(ground.state)))
    end_at_once(*(pid for pid in (ground.keeper_pid(), int(ground.holder.get("pid", 0))) if pid in ours))


def cron_minute(ground: Ground) -> None:
    """What the installed line does, once, as cron would: by sh, from nowhere, with nothing."""
    line = units.cron_line(ground.root, ground.state, ground.env)
    command = line.removeprefix("* * * * * ").replace("\\%", "%")
    subprocess.run(["sh", "-c", command], env={"PATH": "/usr/bin:/bin"}, cwd="/", check=True, timeout=20)


def somebody_is_up(ground: Ground) -> None:
    """Wait for a supervisor; whoever fails here wants to know what they all said."""
    try:
        await_that(lambda: alive(int(ground.holder.get("pid", 0))))
    except AssertionError as late:
        raise AssertionError(f"{late}; {ground.holder}\n{ground.logs()}") from late


def test_at_any_instant(ground: Ground) -> None:
    """Guards against an instant (of a start, an end, a recovery, a fork) at which the death of both loses a run,
    starts one twice or harms a live one. Who brings them back: a command, cron's line, the same launch again; the
    next kill does not wait until they are up."""
    dice = random.Random(4)
    words = ["launch", "--json", "--slots", "4", *map(str, sweep(ground, RUNS))]
    campaign = str(ground.overnight(*words).document["campaign"])
    clients = []
    for way in itertools.islice(itertools.cycle(("start", "cron", "launch")), KILLS):
        select.poll().poll(dice.choice((1, 30, 120, 400)) * dice.random())  # the instant is chance's, not an event's
        kill_both(ground)
        if way == "cron":
            cron_minute(ground)
        else:
            clients.append(ground.start(*(["supervisor", "start"] if way == "start" else words)))
        # One in three comes while the others are still on their way up.
        if dice.random() < 0.67:
            somebody_is_up(ground)
    assert len(lines(ground.base / "told")) < 2 * RUNS, "it was over before the last kill"
    for client in clients:
        client.answer()  # whatever it said: it was killed under
    done = ground.overnight("launch", "--wait", *words[1:]).document
    assert (done["campaign"], done["counts"]) == (campaign, {"succeeded": RUNS}), ground.logs()
    told_once(ground, RUNS)
    assert {run["attempts"] for run in done["runs"]} == {1}


@pytest.mark.parametrize("seed", range(3))
def test_a_waiting_client_brings_both_back_however_often(ground: Ground, seed: int) -> None:
    """Guards against a `--wait` that revives once, and waits for ever after the second time."""
    dice = random.Random(seed)
    client = ground.start("launch", "--wait", "--json", "--slots", 2, *gated(ground, 5))
    begun(ground, 2)
    for _ in range(4):
        term = int(ground.holder["term"])
        select.poll().poll(300 * dice.random())
        kill_both(ground)
        ground.in_control(term, dice.choice((0, 1, 3)))
    let_go(ground)
    answer = client.answer()
    assert (answer.code, answer.document["counts"]) == (0, {"succeeded": 5}), answer.err
    none_harmed(ground, 5)


@contextlib.contextmanager
def leftover(ground: Ground) -> Iterator[int]:
    """Both are dead, and a leftover supervisor holds the root (here: the test holds its lock). The keeper that cron
    brings up finds it so."""
    ground.launch("--slots", 2, *gated(ground, 4))
    begun(ground, 2)
    kill_both(ground)
    await_that(lambda: not alive(ground.keeper_pid()) and not alive(ground.holder["pid"]))
    with (ground.state / "lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cron_minute(ground)
        await_that(lambda: "exit code 6" in (ground.state / "keeper.log").read_text())
        yield ground.keeper()


def test_a_lock_that_a_dead_keepers_child_still_holds_sends_no_new_keeper_away(ground: Ground) -> None:
    """Guards against nobody: the keeper was killed in the middle of a fork, the child had its lock for another moment,
    and the keeper that cron brought up in that moment left for the dead one's sake."""
    ground.overnight("launch", "--wait", "--", "true")  # a shim has its keeper's words
    kill_both(ground)
    await_that(lambda: not alive(ground.keeper_pid()) and not alive(ground.holder["pid"]))
    dead, term = ground.keeper_pid(), int(ground.holder["term"])
    with (ground.state / "keeper.lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cron_minute(ground)
        coming = await_that(lambda: [pid for pid in processes_of("overnight.keeper") if _of(pid, ground)])
        until = time.monotonic() + 0.5
        await_that(lambda: time.monotonic() > until)
        assert all(alive(pid) for pid in coming) and ground.keeper_pid() == dead
    ground.in_control(term)


def _of(pid: int, ground: Ground) -> bool:
    with contextlib.suppress(OSError):
        return os.fsencode(ground.state) in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def test_a_leftover_supervisor_and_a_new_keeper_do_not_leave_for_each_other(ground: Ground) -> None:
    """Guards against nobody: the leftover goes since a new keeper will bring up the next, the keeper that it spawns
    goes since another holds the lock, and that one had gone since its supervisor found the leftover."""
    term = int(ground.launch("--", "true") and ground.holder["term"])
    with leftover(ground) as keeper:
        assert alive(keeper)
    ground.in_control(term)
    assert ground.keeper() == keeper
    let_go(ground)
    await_that(lambda: len(lines(ground.base / "told")) == 8)
    none_harmed(ground, 4)


def test_a_stop_that_a_leftover_supervisor_heard_is_heard_by_the_new_keeper(ground: Ground) -> None:
    """Guards against a `supervisor stop` after which another one comes up."""
    with leftover(ground) as keeper:
        (ground.state / "stopped").write_text("a person\n")
    await_that(lambda: not alive(keeper))
    assert not alive(ground.holder["pid"])
    assert (ground.state / "supervisor.log").read_text().count(": term ") == 1, "another one came up"
    let_go(ground)  # what runs goes on
    await_that(lambda: len([line for line in lines(ground.base / "told") if line.startswith("ended")]) == 2)


def test_a_supervisor_that_fails_after_its_keeper_died_leaves_somebody(ground: Ground) -> None:
    """Guards against nobody: the keeper was killed, and what it had just started then failed of itself."""
    ground.launch("--", "true")
    kill_both(ground)
    await_that(lambda: not alive(ground.keeper_pid()) and not alive(ground.holder["pid"]))
    dead, database = ground.keeper_pid(), ground.state / "overnight.db"
    database.rename(ground.base / "aside")
    database.symlink_to(ground.base)  # what cannot be opened
    ours, theirs = socket.socketpair()
    words = ["--state", str(ground.state), "--root", str(ground.root), "--keeper-fd", str(theirs.fileno())]
    command = [sys.executable, "-P", "-m", "overnight.supervisor", *words]
    assert subprocess.run(command, env=ground.env, pass_fds=[theirs.fileno()], timeout=30).returncode == 1
    ours.close()
    theirs.close()
    await_that(lambda: ground.keeper_pid() != dead and alive(ground.keeper_pid()))
    term = int(ground.holder["term"])
    # Mended, it watches again; a storm of supervisors that fail would outrun whoever tidies up. In one step: one that
    # starts while there is no database at all goes for good.
    (ground.base / "aside").rename(database)
    ground.in_control(term)


def test_a_restart_hands_over_without_touching_a_run(ground: Ground) -> None:
    """Guards against an update in the middle of a night that ends, repeats or forgets what runs; five in a row."""
    campaign = ground.launch("--slots", 3, *gated(ground, 6))
    begun(ground, 3)
    live = {run["run_id"]: run["attempts"] for run in ground.status(campaign)["runs"] if run["state"] == "running"}
    seen = {ground.supervisor()}
    for _ in range(5):
        document = ground.overnight("supervisor", "restart", "--json").document
        assert document["alive"] and document["pid"] not in seen
        seen.add(document["pid"])
    still = {run["run_id"]: run["attempts"] for run in ground.status(campaign)["runs"] if run["state"] == "running"}
    assert still == live and len(live) == 3
    let_go(ground)
    await_that(lambda: ground.counts(campaign) == {"succeeded": 6})
    none_harmed(ground, 6)
    words = f"overnight.supervisor\0--state\0{ground.state}"  # one that it forks has them, too, until it is another
    await_that(lambda: processes_of(words) == [ground.supervisor()])


def test_a_restart_under_a_waiting_client_is_not_noticed(ground: Ground) -> None:
    """Guards against a waiting client that takes the hand-over for a death, and fights it."""
    client = ground.start("launch", "--wait", "--json", "--slots", 2, *gated(ground, 4))
    begun(ground, 2)
    for _ in range(3):
        ground.overnight("supervisor", "restart")
    let_go(ground)
    answer = client.answer()
    assert answer.code == 0, (answer.document, answer.err)
    assert answer.document["counts"] == {"succeeded": 4}
    none_harmed(ground, 4)


LOGIND = """#!/bin/sh
case "$6" in KillUserProcesses) echo b true ;; KillExcludeUsers) echo as 0 ;; esac
"""


def test_a_launch_says_that_a_logout_would_end_the_night(ground: Ground) -> None:
    """Guards against a laptop that is closed, and a logind that kills all that was started from it."""
    folder = ground.base / "bin"
    folder.mkdir()
    (folder / "busctl").write_text(LOGIND)
    (folder / "busctl").chmod(0o755)
    env = ground.env | {"PATH": f"{folder}:{os.environ['PATH']}", "XDG_SESSION_ID": "7"}
    answer = ground.overnight("launch", "--name", "first", "--", "true", env=env)
    said = [line for line in answer.err.splitlines() if "log out" in line]
    assert len(said) == 1 and "overnight supervisor install" in said[0]
    (ground.state / "keeper.stay").touch()
    answer = ground.overnight("launch", "--name", "second", "--", "true", env=env)
    assert "log out" not in answer.err, "a unit of its own outlives the session"
