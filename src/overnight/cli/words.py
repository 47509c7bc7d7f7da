"""Numbers and counts as a person reads them, always with their unit."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from overnight.model.reports import RunReport


def hours(value: float) -> str:
    """GPU-hours: to the minute where they are few, so that a first evening is not "0.0 lost"."""
    if 0 < value < 0.005:
        return "< 0.01"
    return f"{value:.2f}" if 0 < value < 10 else f"{value:,.1f}"


def number(value: float) -> str:
    """A step or metric: whole numbers whole, others to four figures."""
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.4g}"


def plural(count: int, noun: str) -> str:
    """`1 run`, `12 runs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def counts(states: Mapping[str, int]) -> str:
    """`7 succeeded, 2 running`, in the order of a run's life."""
    order = ("running", "verifying", "waiting", "held", "failed", "cancelled", "succeeded", "pending")
    return ", ".join(f"{states[word]:,} {word}" for word in order if states.get(word))


def progress(run: "RunReport") -> str:
    """How far a run is, what it says it is about, its flags: `4,200/5,000 (84 %)`, `4,200 eval, underused`."""
    found, words = run.progress, []
    if found is not None and found.total is not None and found.total > 0:
        share = min(100, int(100 * found.step / found.total))
        words.append(f"{number(found.step)}/{number(found.total)} ({share} %)")
    elif found is not None:
        words.append(number(found.step))
    words += [run.phase] if run.phase else []
    return ", ".join([each for each in (" ".join(words), *run.flags) if each])


def rate(steps_per_second: float | None) -> str:
    """Steps a second, or seconds a step where that reads better."""
    if not steps_per_second or steps_per_second <= 0:
        return ""
    if steps_per_second >= 1:
        return f"{steps_per_second:.3g}/s"
    return f"{1 / steps_per_second:.3g} s/step"


def listed(names: tuple[str, ...] | list[str], most: int = 5) -> str:
    """`a, b, c and 4 more`."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"
