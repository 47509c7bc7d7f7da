"""1,000 live runs in which nothing happens: what a supervisor costs with its looks, and beyond them."""

import json
import subprocess
import sys
import time

from ground import Ground, cpu_seconds, rss_bytes, standing
from table import Line, Series

LIVE = 1000
IDLE = "supervisor beyond its looks"
RARELY = """
import runpy, sys
from overnight.core import limits
limits.LOOK_SECONDS = 3600.0
sys.argv[0] = "overnight.supervisor"
runpy.run_module("overnight.supervisor", run_name="__main__")
"""
"""A supervisor that looks at a tenth of the shortest limit, six minutes, and is otherwise the usual one."""


def measure(series: Series, *, quick: bool) -> list[Line]:
    """Row 3 of the budgets."""
    live, seconds, windows = (100, 5.0, 2) if quick else (LIVE, 20.0, 5)
    with standing() as ground:
        _fill(ground, live)
        for _ in range(windows):
            series.note(f"supervisor with {live} live runs", [_share(ground, seconds)], "% of a core")
        series.note(f"its memory with {live} live runs", [rss_bytes(ground.supervisor()) / 1e6], "MB")
    with standing() as ground:
        _look_rarely(ground)
        _fill(ground, live)
        for _ in range(windows):
            series.note(IDLE, [_share(ground, seconds)], "% of a core")
    return [series.at_most(IDLE, 1)]


def _look_rarely(ground: Ground) -> None:
    ground.state.mkdir(parents=True)
    argv = json.dumps([sys.executable, "-P", "-c", RARELY])
    words = ["--state", ground.state, "--root", ground.root, "--supervisor-argv", argv]
    subprocess.Popen([sys.executable, "-P", "-m", "overnight.keeper", *words], env=ground.env, start_new_session=True)


def _fill(ground: Ground, live: int) -> None:
    """Start them all, and let what follows a start come to rest."""
    campaign = ground.launch("--slots", live, "--runs", ground.rows(live), "--", "sleep", "100000", "{n}")
    while ground.record(campaign)["counts"].get("running") != live:
        time.sleep(0.2)
    time.sleep(5)


def _share(ground: Ground, seconds: float) -> float:
    pid = ground.supervisor()
    before, begun = cpu_seconds(pid), time.perf_counter()
    time.sleep(seconds)
    return 100 * (cpu_seconds(pid) - before) / (time.perf_counter() - begun)
