"""How soon a stall is noticed after its limit, and how soon its slot is free again, beside many others that live."""

import json
import sqlite3
import statistics
import sys
import time

from ground import Ground, standing
from table import Line, Series

LIMIT_SECONDS, SHORT_SECONDS, PROBES = 3.0, 2.0, 20
QUIET = ("--set", "limits.heartbeat=none", "--set", "limits.progress=none", "--set", "limits.startup=none")

# Prints as a trainer does, says when that was for the last time, and hangs.
HANGS = """
import pathlib, sys, time
for step in range(15):
    print(f"iter {step}: loss 1.0", flush=True)
    last = time.monotonic()
    time.sleep(0.1)
pathlib.Path(sys.argv[1], "last").write_text(str(last))
time.sleep(100000)
"""
FAKE = """
name = "{name}"
executor = "fake"
command = ["true", "{{n}}"]
runs = "{rows}"
[fake]
{knobs}
"""


def measure(series: Series, *, quick: bool) -> list[Line]:
    """Row 4 of the budgets."""
    sizes = [(10, "local", SHORT_SECONDS, 0.5), (10, "local", LIMIT_SECONDS, 2)]
    sizes += [(50, "local", LIMIT_SECONDS, 2)] if quick else []
    sizes += [] if quick else [(1000, "local", LIMIT_SECONDS, 2), (10_000, "fake", LIMIT_SECONDS, 12)]
    budgets = []
    for live, executor, limit, budget in sizes:
        which = f"{live} live ({executor}){', a limit of 2 s' if limit == SHORT_SECONDS else ''}"
        late, free = f"noticed, {which}", f"slot free after that, {which}"
        with standing() as ground:
            noticed, freed = (_local if executor == "local" else _fake)(ground, live, limit)
        series.note(late, noticed, "s")
        series.note(free, freed, "s")
        for name in (late, free):
            series.note(f"{name}, p99", [_percentile(series.values[name], 0.99)], "s")
        budgets.append(series.never_above(late, budget))
    return budgets


def _limits(seconds: float) -> list[str]:
    return ["--set", f"limits.heartbeat={seconds:g}s", "--set", f"limits.progress={seconds:g}s"]


def _local(ground: Ground, live: int, limit: float) -> tuple[list[float], list[float]]:
    filler = max(0, live - PROBES)
    if filler:
        name = ground.launch("--name", "filler", "--slots", filler, *QUIET, "--runs", ground.rows(filler), "--",
                             "sleep", "100000", "{n}")  # fmt: skip
        _until_running(ground, name, filler)
    (ground.work / "hangs.py").write_text(HANGS)
    words = ["--slots", min(live, PROBES), *_limits(limit), "--set", "retry.max_attempts=1", "--set", "limits.grace=1s"]
    rows = ground.rows(min(live, PROBES), "probes.csv")
    command = [sys.executable, "-u", "hangs.py", "{out_dir}", "{n}"]
    campaign = ground.launch("--name", "probes", *words, "--runs", rows, "--", *command)
    ground.until_ended(campaign)
    story, found = _story(ground, campaign), []
    for run, events in story.items():
        last = float((ground.root / "campaigns" / campaign / "runs" / run / "out" / "last").read_text())
        found.append((events["LimitReached"] - last - limit, events["AttemptEnded"] - events["LimitReached"]))
    return [a for a, _ in found], [b for _, b in found]


def _fake(ground: Ground, live: int, limit: float) -> tuple[list[float], list[float]]:
    filler = ground.work / "filler.toml"
    filler.write_text(FAKE.format(name="filler", rows=ground.rows(live - PROBES), knobs="seconds = 1000000"))
    name = ground.launch(filler, "--slots", live - PROBES, *QUIET)
    _until_running(ground, name, live - PROBES)
    hangs = {f"p{i}": 15.0 + i / 2 for i in range(PROBES)}  # spread over the ten seconds between two looks
    rows, probes = ground.work / "probes.csv", ground.work / "probes.toml"
    rows.write_text("run_id,n\n" + "".join(f"{run},{run}\n" for run in hangs))
    rules = [f'[[fake.rule]]\nrun = "{run}"\nhangs_after = {after}' for run, after in hangs.items()]
    knobs = "\n".join(["steps = 100000", "step_seconds = 0.1", *rules])
    probes.write_text(FAKE.format(name="probes", rows=rows, knobs=knobs))
    words = [*_limits(limit), "--set", "retry.max_attempts=1", "--set", "limits.grace=1s"]
    campaign = ground.launch(probes, "--slots", PROBES, *words)
    ground.until_ended(campaign)
    found = []
    for run, events in _story(ground, campaign).items():
        hung = events["AttemptStarted"] + hangs[run]
        found.append((events["LimitReached"] - hung - limit, events["AttemptEnded"] - events["LimitReached"]))
    return [a for a, _ in found], [b for _, b in found]


def _until_running(ground: Ground, campaign: str, runs: int) -> None:
    while ground.record(campaign)["counts"].get("running") != runs:
        time.sleep(0.2)
    time.sleep(5)  # what follows a start comes to rest


def _story(ground: Ground, campaign: str) -> dict[str, dict[str, float]]:
    """By run, when what happened to it (monotonic seconds)."""
    sql = (
        "SELECT row.run_id, event, min(mono) FROM story JOIN row ON row.id = story.run "
        "JOIN campaign ON campaign.seq = row.campaign WHERE campaign.id = ? GROUP BY 1, 2"
    )
    connection = sqlite3.connect(f"file:{ground.state}/overnight.db?mode=ro", uri=True, timeout=30)
    found: dict[str, dict[str, float]] = {}
    for run, event, mono in connection.execute(sql, (campaign,)):
        found.setdefault(run, {})[event] = mono
    connection.close()
    missing = [run for run, events in found.items() if not {"LimitReached", "AttemptEnded"} <= events.keys()]
    if missing:
        raise SystemExit(f"{missing} did not stall: {json.dumps(found[missing[0]])}{ground.last_words()}")
    return found


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else statistics.nan
