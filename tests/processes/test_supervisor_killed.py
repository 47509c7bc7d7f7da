"""Someone is always watching: supervisor, keeper or both die at any instant, and no run notices."""

import itertools
import os
import signal
from collections import Counter

from campaign_world import Ground, ground, lines
from keeper_world import alive, await_that

__all__ = ["ground"]

# Says when it begins and ends, outside of the root, and whether anybody signalled it.
COUNTED = """
trap 'echo harmed $1 >> "$2"' TERM INT HUP USR1 ABRT
echo begun $1 >> "$2"
sleep 0.15
echo ended $1 >> "$2"
"""


def sweep(ground: Ground, runs: int) -> list[object]:
    """The words of a launch of so many counted runs; they tell into `work/told`."""
    rows = ground.file("sweep.csv", "n\n" + "".join(f"{n}\n" for n in range(runs)))
    ground.file("counted.sh", COUNTED)
    return ["--runs", rows, "--", "sh", "counted.sh", "{n}", ground.work / "told"]


def told_once(ground: Ground, runs: int) -> None:
    """Every run began once, ended once, and nobody touched it."""
    told = Counter(lines(ground.work / "told"))
    assert told == Counter({f"{word} {n}": 1 for word in ("begun", "ended") for n in range(runs)})


def test_killed_fifty_times(ground):
    """Guards against a supervisor whose death loses a run, starts one twice or harms a live one."""
    campaign = ground.launch("--slots", 4, *sweep(ground, 150))
    for turns in itertools.islice(itertools.cycle((0, 1, 2, 5, 12)), 50):
        term = ground.holder["term"]
        os.kill(ground.supervisor(), signal.SIGKILL)
        ground.in_control(term, turns)
    assert len(lines(ground.work / "told")) < 2 * 150, "it was over before the last kill"
    done = ground.overnight("launch", "--wait", "--json", "--slots", 4, *sweep(ground, 150)).document
    assert (done["campaign"], done["state"], done["counts"]) == (campaign, "succeeded", {"succeeded": 150})
    assert {run["attempts"] for run in done["runs"]} == {1}
    told_once(ground, 150)
