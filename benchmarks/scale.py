"""A campaign of 100,000 runs: its launch, its `status` page, a supervisor that takes it over, and what it weighs."""

import os
import signal
import time

from ground import Ground, rss_bytes, standing
from table import Line, Series

RUNS = 100_000
STATUS, LAUNCH, RECOVERY, MEMORY = "status page", "launch", "recovery", "supervisor's memory"


def measure(series: Series, *, quick: bool) -> list[Line]:
    """Row 2 of the budgets, and the memory of row 3."""
    for _ in range(1 if quick else 3):
        with standing() as ground:
            ground.until_ended(ground.launch("--name", "warm", "--", "/bin/true"))
            series.note("supervisor's memory with nothing", [rss_bytes(ground.supervisor()) / 1e6], "MB")
            _one(ground, series, looks=3 if quick else 9)
    return [
        series.at_most(STATUS, 200),
        series.at_most(LAUNCH, 8),
        series.at_most(RECOVERY, 3),
        series.at_most(MEMORY, 200),
    ]


def _one(ground: Ground, series: Series, looks: int) -> None:
    rows = ground.rows(RUNS)
    begun = time.perf_counter()
    # One run holds the only slot: the others are queued, and nothing happens while we look.
    campaign = ground.launch("--slots", 1, "--runs", rows, "--", "sleep", "100000", "{n}")
    series.note(LAUNCH, [time.perf_counter() - begun], "s")
    while ground.record(campaign)["counts"].get("running") != 1:
        time.sleep(0.05)
    for _ in range(looks):
        begun = time.perf_counter()
        page = ground.overnight("status", campaign, "--json")
        series.note(STATUS, [1000 * (time.perf_counter() - begun)], "ms")
        assert page["runs_total"] == RUNS and len(page["runs"]) == 1000
    series.note(MEMORY, [rss_bytes(ground.supervisor()) / 1e6], "MB")
    for _ in range(looks):
        series.note(RECOVERY, [seconds_to_recover(ground)], "s")
    series.note("supervisor's memory after recovery", [rss_bytes(ground.supervisor()) / 1e6], "MB")


def seconds_to_recover(ground: Ground, turns: int = 2) -> float:
    """SIGKILL the supervisor; seconds until another one has had so many turns. Includes that it is noticed,
    spawned, imports, and takes over."""
    term, pid = ground.holder["term"], ground.supervisor()
    begun = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    while True:
        holder = ground.holder
        if holder.get("term", 0) > term and holder.get("beat", 0) > turns:
            return time.perf_counter() - begun
        if time.perf_counter() - begun > 120:
            raise SystemExit(f"nobody took over{ground.last_words()}")
        time.sleep(0.005)
