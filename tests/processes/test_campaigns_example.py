"""The sweep of the README, with the trainer that a clone brings along."""

import csv
import sys
from pathlib import Path

from campaign_world import ground
from keeper_world import await_that

__all__ = ["ground"]

EXAMPLE = Path(__file__).parents[2] / "examples" / "charlm"
WITHIN_SECONDS = 200.0


def test_ninety_six_rows_of_a_real_trainer(ground):
    """Guards against a sweep of real size that does not come to its end, or is run again by the launch typed again."""
    with (EXAMPLE / "sweep96.csv").open(newline="", encoding="utf-8") as file:
        rows = [row | {"config": f"config/train_{row['config']}.py"} for row in csv.DictReader(file)]
    sweep = ground.work / "full.csv"
    with sweep.open("w", newline="", encoding="utf-8") as file:  # as in the field: a path of a file that is not ours
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    command = [sys.executable, EXAMPLE / "train.py", "{config}", "out_dir={out_dir}", "seed={seed}", "{overrides...}"]
    words = ["--slots", 4, "--runs", sweep, "--", *command, "max_iters=4", "eval_interval=4", "eval_iters=1"]
    campaign = ground.launch(*words)
    await_that(
        lambda: sum(n for state, n in ground.counts(campaign).items() if state != "pending") == 96, WITHIN_SECONDS
    )
    answer = ground.overnight("watch", "--json", campaign).document
    assert answer["counts"] == {"succeeded": 96}, answer["failures"]
    assert {run["attempts"] for run in answer["runs"]} == {1}
    assert all((ground.out(campaign, row["run_id"]) / "summary.csv").is_file() for row in rows)
    again = ground.overnight("launch", "--wait", "--json", *words).document
    assert (again["campaign"], again["counts"]) == (campaign, {"succeeded": 96})
    assert {run["attempts"] for run in again["runs"]} == {1}
