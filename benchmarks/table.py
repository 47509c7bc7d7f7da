"""What was measured: series taken in turn, their medians and spread, and budgets as ratios of the same rounds."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Line:
    """One budget and what was measured. `kept` is None where there is no budget."""

    what: str
    measured: float
    unit: str
    low: float
    high: float
    budget: str = ""
    kept: bool | None = None


@dataclass
class Series:
    """All values of one benchmark, by name, in the order of the rounds."""

    name: str
    values: dict[str, list[float]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)

    def interleave(self, calls: Mapping[str, Callable[[], float]], rounds: int, unit: str) -> None:
        """Call each once a round: what else the machine does falls on all of them."""
        for _ in range(rounds):
            for name, call in calls.items():
                self.note(name, [call()], unit)

    def note(self, name: str, values: list[float], unit: str) -> None:
        """Add values."""
        self.values.setdefault(name, []).extend(values)
        self.units[name] = unit

    def speed_ratio(self, what: str, ours: str, other: str, *, at_least: float | None = None) -> Line:
        """How many times as fast as `other` we are, round by round; the values are times."""
        ratios = [b / a for a, b in zip(self.values[ours], self.values[other], strict=True)]
        middle = statistics.median(ratios)
        if at_least is None:
            return Line(what, middle, "×", min(ratios), max(ratios))
        return Line(what, middle, "×", min(ratios), max(ratios), f"≥ {at_least:g} ×", middle >= at_least)

    def time_ratio(self, what: str, ours: str, other: str, *, at_most: float) -> Line:
        """How many times as long as `other` we take, round by round."""
        ratios = [a / b for a, b in zip(self.values[ours], self.values[other], strict=True)]
        middle = statistics.median(ratios)
        return Line(what, middle, "×", min(ratios), max(ratios), f"≤ {at_most:g} ×", middle <= at_most)

    def at_most(self, name: str, budget: float, what: str | None = None) -> Line:
        """The median of a series against a limit."""
        values, unit = self.values[name], self.units[name]
        middle = statistics.median(values)
        return Line(what or name, middle, unit, min(values), max(values), f"≤ {budget:g} {unit}", middle <= budget)

    def at_least(self, name: str, budget: float) -> Line:
        """The lowest of a series against what there must be."""
        values, unit = self.values[name], self.units[name]
        low = min(values)
        return Line(name, low, unit, low, max(values), f"≥ {budget:g} {unit}", low >= budget)

    def never_above(self, name: str, budget: float) -> Line:
        """The worst of a series against a limit."""
        line = self.at_most(name, budget, f"{name}, at worst")
        line.measured, line.kept = line.high, line.high <= budget
        return line

    def lines_without(self, budgets: list[Line]) -> list[Line]:
        """The plain values, but for those that have a line of their own."""
        told = {line.what for line in budgets}
        return [
            Line(name, statistics.median(values), self.units[name], min(values), max(values))
            for name, values in self.values.items()
            if name not in told
        ]

    def document(self) -> dict[str, Any]:
        """For the JSON beside the table."""
        return {"values": self.values, "units": self.units}


def document(lines: list[Line]) -> list[dict[str, Any]]:
    """Lines for JSON."""
    return [asdict(line) for line in lines]


def table(title: str, lines: list[Line]) -> str:
    """Lines as a table of Markdown."""
    rows = [("", "median", "lowest to highest", "budget", "")]
    for line in lines:
        verdict = "" if line.kept is None else "kept" if line.kept else "**missed**"
        spread = f"{_number(line.low)} to {_number(line.high)}"
        rows.append((line.what, f"{_number(line.measured)} {line.unit}", spread, line.budget, verdict))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return f"{title}\n\n" + "\n".join(text) + "\n"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
