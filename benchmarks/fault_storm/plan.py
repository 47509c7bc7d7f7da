"""The storm: who does how much work, and what strikes whom, where, once. From a seed."""

import heapq
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path

STEP_SECONDS = 0.2  # of work between two checkpoints
SHORTEST, LONGEST = 0.8, 8.0  # seconds of work
SHARES = {  # of the runs; the rest is left alone
    "silent": 0.12,  # hangs without a word
    "spinning": 0.08,  # hangs and goes on printing
    "transient": 0.15,  # the network, once
    "killed": 0.05,  # by signal 9
    "stubborn": 0.05,  # hangs, with a child, both deaf to TERM
    "certain": 0.05,  # a wrong argument, every time
}
HANGS = ("silent", "spinning", "stubborn")


@dataclass
class Row:
    """One run. `at`: before this step the fault strikes."""

    run_id: str
    steps: int
    fault: str = ""
    at: int = 0

    @property
    def seconds(self) -> float:
        """Of work."""
        return self.steps * STEP_SECONDS


def storm(seed: int, runs: int = 60) -> list[Row]:
    """The rows, in file order."""
    dice = random.Random(seed)
    faults = [name for name, share in SHARES.items() for _ in range(round(share * runs))]
    faults += [""] * (runs - len(faults))
    dice.shuffle(faults)
    rows = []
    for n, fault in enumerate(faults):
        seconds = SHORTEST + (LONGEST - SHORTEST) * dice.random() ** 2  # a few long ones
        steps = max(4, round(seconds / STEP_SECONDS))
        rows.append(Row(f"r{n:02}", steps, fault, dice.randint(2, steps - 1) if fault else 0))
    return rows


def oracle_seconds(rows: list[Row], slots: int, limit: float) -> float:
    """The makespan of somebody who knows each fault at once, plus the limit for those that only silence tells. Greedy
    in file order, as all of us; what was struck goes on at once where it was, and nothing costs anything but work."""
    free = [0.0] * slots
    for row in rows:
        begun = heapq.heappop(free)
        seconds = row.seconds if row.fault != "certain" else 0.0
        heapq.heappush(free, begun + seconds + (limit if row.fault in HANGS else 0.0))
    return max(free)


def write(rows: list[Row], folder: Path) -> None:
    """`plan.json` for the program, `rows.csv` for who reads one."""
    (folder / "plan.json").write_text(json.dumps({row.run_id: asdict(row) for row in rows}))
    (folder / "rows.csv").write_text("run_id\n" + "".join(f"{row.run_id}\n" for row in rows))
