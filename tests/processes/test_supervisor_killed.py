"""Someone is always watching: supervisor, keeper or both die at any instant, and no run notices."""

import itertools
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from campaign_world import CLIENT, Ground, end_at_once, ground, lines
from keeper_world import alive, await_that

__all__ = ["ground"]

# Says when it begins and ends, outside of the root, and whether anybody signalled it.
COUNTED = """
trap 'echo harmed $1 >> "$2"' TERM INT HUP USR1 ABRT
echo begun $1 >> "$2"
sleep ${3:-0.15}
echo ended $1 >> "$2"
"""


def sweep(ground: Ground, runs: int) -> list[object]:
    """The words of a launch of so many counted runs; they tell into `told`, beside the code."""
    rows = ground.file("sweep.csv", "n\n" + "".join(f"{n}\n" for n in range(runs)))
    ground.file("counted.sh", COUNTED)
    return ["--runs", rows, "--", "sh", "counted.sh", "{n}", ground.base / "told"]


def told_once(ground: Ground, runs: int) -> None:
    """Every run began once, ended once, and nobody touched it."""
    told = Counter(lines(ground.base / "told"))
    assert told == Counter({f"{word} {n}": 1 for word in ("begun", "ended") for n in range(runs)})


KILLS, RUNS = 200, 1000  # each of its lives begins four at most: some have no turn for it, some another four


def test_killed_two_hundred_times(ground):
    """Guards against a supervisor whose death loses a run, starts one twice or harms a live one."""
    words = [*sweep(ground, RUNS), 1.0]
    campaign = ground.launch("--slots", 4, *words)
    for turns in itertools.islice(itertools.cycle((0, 1, 2, 5, 12)), KILLS):
        term = ground.holder["term"]
        os.kill(ground.supervisor(), signal.SIGKILL)
        ground.in_control(term, turns)
    assert len(lines(ground.base / "told")) < 2 * RUNS, "it was over before the last kill"
    ground.overnight("amend", campaign, "--set", "resources.slots=100")
    await_that(lambda: ground.counts(campaign) == {"succeeded": RUNS}, seconds=200)
    done = ground.overnight("launch", "--wait", "--json", "--slots", 4, *words).document
    assert (done["campaign"], done["state"], done["counts"]) == (campaign, "succeeded", {"succeeded": RUNS})
    assert {run["attempts"] for run in done["runs"]} == {1}
    told_once(ground, RUNS)


# Runs until somebody says `go`, however long that takes.
GATED = """
trap 'echo harmed $1 >> "$2"' TERM INT HUP USR1 ABRT
echo begun $1 $FLAVOUR $(pwd) >> "$2"
while [ ! -e go ]; do sleep 0.05; done
echo ended $1 >> "$2"
"""


def gated(ground: Ground, runs: int) -> list[object]:
    """The words of a launch of runs that wait for the file `work/go`."""
    rows = ground.file("gated.csv", "n\n" + "".join(f"{n}\n" for n in range(runs)))
    ground.file("gated.sh", GATED)
    return ["--runs", rows, "--", "sh", "gated.sh", "{n}", ground.base / "told"]


def begun(ground: Ground, runs: int) -> None:
    """Wait until so many have begun."""
    await_that(lambda: len([line for line in lines(ground.base / "told") if line.startswith("begun")]) == runs)


def let_go(ground: Ground) -> None:
    ground.file("go", "")


def kill(*pids: int) -> None:
    end_at_once(*pids)
    await_that(lambda: not any(map(alive, pids)))


def none_harmed(ground: Ground, runs: int) -> None:
    told = [line.split()[:2] for line in lines(ground.base / "told")]
    assert sorted(told) == sorted([word, str(n)] for word in ("begun", "ended") for n in range(runs))


def test_both_killed_under_a_waiting_client(ground):
    """Guards against a machine-wide `kill -9` after which a night's `--wait` waits for ever, or starts anew."""
    client = ground.start("launch", "--wait", "--json", "--slots", 2, *gated(ground, 5))
    begun(ground, 2)
    term, dead = ground.holder["term"], (ground.keeper(), ground.supervisor())
    kill(*dead)
    ground.in_control(term)
    let_go(ground)
    answer = client.answer()
    assert (answer.code, answer.document["counts"]) == (0, {"succeeded": 5}), answer.err
    assert ground.keeper() not in dead
    none_harmed(ground, 5)


def test_both_killed_and_the_next_launch(ground):
    """Guards against a launch that watches its own campaign and forgets the one that nobody watched."""
    campaign = ground.launch("--slots", 2, *gated(ground, 4))
    begun(ground, 2)
    kill(ground.keeper(), ground.supervisor())
    assert ground.status(campaign)["supervisor"] == {
        "alive": False, "pid": None, "watch_only": False, "words": "", "problem": "",
    }  # fmt: skip
    ground.launch("--name", "other", "--", "true")
    let_go(ground)
    await_that(lambda: ground.counts(campaign) == {"succeeded": 4})
    none_harmed(ground, 4)


def test_keeper_killed_alone(ground):
    """Guards against a supervisor that goes on without hands: no shim, no respawn, nobody to reap."""
    campaign = ground.launch("--slots", 2, *gated(ground, 4))
    begun(ground, 2)
    term, keeper = ground.holder["term"], ground.keeper()
    kill(keeper)
    ground.in_control(term)
    let_go(ground)
    await_that(lambda: ground.counts(campaign) == {"succeeded": 4})
    assert ground.keeper() != keeper
    none_harmed(ground, 4)


def test_exits_in_the_dark_are_not_lost(ground):
    """Guards against an attempt that ended while nobody watched and is run again, or loses its exit code."""
    ground.file("failing.sh", "while [ ! -e go ]; do sleep 0.05; done; echo fatal: $1; exit $1\n")
    rows = ground.file("codes.csv", "code\n0\n7\n")
    campaign = ground.launch(
        "--slots", 2, "--set", "retry.max_attempts=1", "--runs", rows, "--", "sh", "failing.sh", "{code}"
    )
    runs = [run["run_id"] for run in await_that(lambda: _both_run(ground, campaign))]
    kill(ground.keeper(), ground.supervisor())
    let_go(ground)
    for run in runs:
        await_that((ground.attempt(campaign, run) / "exit").exists)
    ground.overnight("supervisor", "start")
    await_that(lambda: ground.counts(campaign) == {"succeeded": 1, "failed": 1})
    assert [ground.summary(campaign, run)["exit_code"] for run in runs] == [0, 7]
    assert [len(ground.summary(campaign, run)["attempts"]) for run in runs] == [1, 1]


def _both_run(ground: Ground, campaign: str) -> list[dict[str, object]]:
    runs: list[dict[str, object]] = ground.status(campaign)["runs"]
    return runs if [run["attempt_state"] for run in runs] == ["running", "running"] else []


def test_revived_from_a_bare_shell_elsewhere(ground, tmp_path):
    """Guards against runs that take environment or folder from whoever brought the supervisor back (cron, `env -i`)."""
    campaign = ground.launch("--slots", 1, *gated(ground, 3), env=ground.env | {"FLAVOUR": "vanilla"})
    begun(ground, 1)
    kill(ground.keeper(), ground.supervisor())
    bare = {"OVERNIGHT_SLOTS_DIR": str(ground.slots)}
    ground.overnight("supervisor", "start", "--root", ground.root, env=bare, cwd=Path("/"))
    let_go(ground)
    await_that(lambda: ground.counts(campaign) == {"succeeded": 3})
    told = [line for line in lines(ground.base / "told") if line.startswith("begun")]
    assert told == [f"begun {n} vanilla {ground.work}" for n in range(3)]


def test_stop_ends_no_run_and_launch_brings_it_back(ground):
    """Guards against `supervisor stop` that takes runs along, or is undone by anybody but a request for work."""
    words = gated(ground, 4)
    campaign = ground.launch("--slots", 2, *words)
    begun(ground, 2)
    gone = ground.supervisor(), ground.keeper()
    ground.overnight("supervisor", "stop")
    await_that(lambda: not any(map(alive, gone)))
    document = ground.status(campaign)
    assert (document["supervisor"]["alive"], document["counts"]) == (False, {"running": 2, "pending": 2})
    let_go(ground)
    done = ground.overnight("launch", "--wait", "--json", "--slots", 2, *words).document
    assert (done["campaign"], done["counts"]) == (campaign, {"succeeded": 4})
    none_harmed(ground, 4)


# PID 1 of a container that was made without an init: it reaps its own child and nobody else's.
CONTAINER = """
import contextlib, json, os, signal, subprocess, sys, time
client, told = json.loads(sys.argv[1]), sys.argv[2]
subprocess.run([*client, "launch", "--json", *json.loads(sys.argv[3])], check=True, stdout=subprocess.DEVNULL)
def pid(name):
    return json.loads(open(name).read().strip("\\0 \\n"))
while sum("begun" in line for line in open(told)) < 2 if os.path.exists(told) else True:
    time.sleep(0.02)
state = os.environ["OVERNIGHT_ROOT"] + "/.state/"
for name in ("keeper.lock", "lock"):
    found = pid(state + name)
    os.kill(found if isinstance(found, int) else found["pid"], signal.SIGKILL)
open("go", "w").close()
done = subprocess.run([*client, "launch", "--wait", "--json", *json.loads(sys.argv[3])], stdout=subprocess.PIPE)
states = []
for process in filter(str.isdigit, os.listdir("/proc")):
    with contextlib.suppress(OSError):  # gone meanwhile
        states.append(open(f"/proc/{process}/stat").read().rpartition(")")[2].split()[0])
print(json.dumps({"code": done.returncode, "document": json.loads(done.stdout), "zombies": states.count("Z")}))
"""


def test_in_a_container_that_never_reaps(ground):
    """Guards against zombies taken for the living: a pod's PID 1 is often the user's shell."""
    import json

    words = json.dumps([str(word) for word in ["--slots", 2, *gated(ground, 4)]])
    inside = [sys.executable, "-c", CONTAINER, json.dumps(CLIENT), str(ground.base / "told"), words]
    unshare = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-p", "-f", "--mount-proc", "--kill-child"]
    done = subprocess.run([*unshare, *inside], env=ground.env, cwd=ground.work, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + ground.logs()
    found = json.loads(done.stdout)
    assert (found["code"], found["document"]["counts"]) == (0, {"succeeded": 4})
    assert found["zombies"] >= 2, "nobody was left unreaped: this proves nothing"
    none_harmed(ground, 4)
