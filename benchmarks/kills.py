"""A supervisor that is SIGKILLed again and again under load: how soon another is in control, and what it cost."""

from collections import Counter

from ground import Ground, standing
from scale import seconds_to_recover
from table import Line, Series

RECOVERY, LOST, DOUBLED, HARMED = "in control again", "runs lost", "runs doubled", "runs harmed"

# Says when it begins and ends, and whether anybody signalled it; killed, it does not say that it ended.
COUNTED = """
trap 'echo harmed $1 >> told' TERM INT HUP USR1 ABRT
echo begun $1 >> told
sleep 0.5
echo ended $1 >> told
"""


def measure(series: Series, *, quick: bool) -> list[Line]:
    """Row 5 of the budgets. The deaths come after 0 to 12 turns of each supervisor: before, in and after work."""
    kills, slots = (10, 4) if quick else (1000, 4)
    runs = 4 * kills
    with standing() as ground:
        (ground.work / "counted.sh").write_text(COUNTED)
        campaign = ground.launch("--slots", slots, "--runs", ground.rows(runs), "--", "sh", "counted.sh", "{n}")
        for n in range(kills):
            series.note(RECOVERY, [seconds_to_recover(ground, turns=(0, 1, 2, 5, 12)[n % 5])], "s")
        if ground.record(campaign).get("ended") is not None:
            raise SystemExit("the campaign was over before the last kill")
        ground.overnight("amend", campaign, "--set", "resources.slots=100", "--json")  # what is left is done sooner
        record = ground.until_ended(campaign)
        _count(ground, series, runs, record["counts"])
        series.note("kills", [float(kills)], "times")
        series.note("runs of the campaign", [float(runs)], "runs")
    return [
        series.never_above(RECOVERY, 2),
        *(series.at_most(name, 0) for name in (LOST, DOUBLED, HARMED)),
    ]


def _count(ground: Ground, series: Series, runs: int, counts: dict[str, int]) -> None:
    told = Counter((ground.work / "told").read_text().splitlines())
    lost = runs - counts.get("succeeded", 0)
    doubled = sum(told[f"begun {n}"] > 1 for n in range(runs))
    harmed = sum(told[f"harmed {n}"] > 0 or told[f"begun {n}"] > told[f"ended {n}"] for n in range(runs))
    for name, value in ((LOST, lost), (DOUBLED, doubled), (HARMED, harmed)):
        series.note(name, [float(value)], "runs")
