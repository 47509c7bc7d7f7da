"""A storm of faults over sixty runs, side by side with what people use today."""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from fault_storm.plan import Row, oracle_seconds, storm, write
from fault_storm.tools import LIMIT_SECONDS, OVERNIGHT, TOOLS, left_behind
from ground import Ground, kept, standing
from table import Line, Series

DONE, VAIN, LEFT, MAKESPAN = (
    "recoverable runs done",
    "certain failures tried again",
    "processes left",
    "over the oracle",
)
ORACLE = "the oracle's makespan"


def measure(series: Series, *, quick: bool) -> list[Line]:
    """The budget: all of the recoverable runs done, in at most 1.15 × the oracle's time."""
    seeds, runs = ((1,), 20) if quick else ((1, 2, 3), 60)
    for seed in seeds:
        rows = storm(seed, runs)
        best = oracle_seconds(rows, 2, LIMIT_SECONDS)
        series.note(ORACLE, [best], "s")
        for name, (call, here, hint) in TOOLS.items():
            if name != OVERNIGHT and (seed != seeds[0] or not here()):
                if seed == seeds[0]:
                    print(f"not here, so left out: {name} ({hint})", file=sys.stderr)
                continue
            with standing() as ground:
                folder = kept.new()
                write(rows, folder)
                ground.env["STORM"] = str(folder)
                begun = time.perf_counter()
                call(ground, folder)
                seconds = time.perf_counter() - begun
                _count(series, name, rows, folder, seconds / best, ground)
    return [
        series.at_least(f"{OVERNIGHT}: {DONE}", 100),
        series.at_most(f"{OVERNIGHT}: {VAIN}", 0),
        series.at_most(f"{OVERNIGHT}: {LEFT}", 0),
        series.at_most(f"{OVERNIGHT}: {MAKESPAN}", 1.15),
    ]


def _count(series: Series, name: str, rows: list[Row], folder: Path, over: float, ground: Ground) -> None:
    recoverable = [row for row in rows if row.fault != "certain"]
    done = sum(Path(folder, row.run_id, "done").exists() for row in recoverable)
    vain = sum(_starts(folder, row) - 1 for row in rows if row.fault == "certain")
    left = left_behind(folder)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    series.note(f"{name}: {DONE}", [100 * done / len(recoverable)], "%")
    series.note(f"{name}: {VAIN}", [float(vain)], "times")
    series.note(f"{name}: {LEFT}", [float(len(left))], "")
    series.note(f"{name}: {MAKESPAN}", [over], "×")


def _starts(folder: Path, row: Row) -> int:
    path = Path(folder, row.run_id, "starts")
    return len(path.read_text().splitlines()) if path.exists() else 1
