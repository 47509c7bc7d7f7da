"""What ended badly in all campaigns, by what it has in common, and what it cost."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from overnight.model.reports import Example, LossLine, LossReport
from overnight.model.time import Moment
from overnight.queries.words import iso
from overnight.store import StoreReader
from overnight.store.outcomes import Setback, setbacks

UNKNOWN = "unknown"
_SECONDS_AN_HOUR = 3600.0
_BY_A_PERSON = frozenset({"cancel", "pause"})  # whoever ended it knows why

_Key = tuple[str, str | None]  # name, and of a slot its host

KEYS: dict[str, Callable[[Setback], _Key]] = {
    "class": lambda each: (each.failure_class, None),
    "host": lambda each: (each.host or UNKNOWN, None),
    "slot": lambda each: (each.slot or UNKNOWN, each.host),
    "rule": lambda each: (each.rule or UNKNOWN, None),
}


class Ground(NamedTuple):
    """A root and its database, open."""

    store: StoreReader
    root: str


class _Group:
    """Attempts with the same key, counted as they come. Only the costliest is kept."""

    def __init__(self) -> None:
        self.attempts = 0
        self.runs: set[tuple[str, str, str]] = set()
        self.lost = 0.0
        self.last: Moment | None = None
        self.worst: Setback | None = None

    def take(self, each: Setback, root: str) -> None:
        self.attempts += 1
        self.runs.add((root, each.campaign, each.run_id))  # a campaign may be under two roots
        self.lost += each.lost
        if each.ended is not None and (self.last is None or each.ended.wall > self.last.wall):
            self.last = each.ended
        if self.worst is None or _cost(each) >= _cost(self.worst):
            self.worst = each


def report(grounds: Sequence[Ground], *, by: str, since: Moment | None = None) -> LossReport:
    """Attempts that ended badly, grouped `by` class, host, slot or rule, those that cost most first; only those that
    ended after `since`. An attempt that a person ended is none of them; one whose end nobody dated is.

    Hours lost are those of `model.gpu_time`. Raises StoreError.
    """
    groups: dict[_Key, _Group] = {}
    total = _Group()
    campaigns = 0
    for ground in grounds:
        with ground.store.snapshot():
            campaigns += len(ground.store.campaign_ids())
            for each in _asked(ground.store, since):
                groups.setdefault(KEYS[by](each), _Group()).take(each, ground.root)
                total.take(each, ground.root)
    lines = [_line(key, group) for key, group in groups.items()]
    lines.sort(key=lambda line: (-line.gpu_hours_lost, -line.attempts, line.name, line.host or ""))
    return LossReport(
        by=by,
        since=iso(since),
        roots=tuple(ground.root for ground in grounds),
        campaigns=campaigns,
        attempts=total.attempts,
        runs=len(total.runs),
        gpu_hours_lost=_hours(total.lost),
        lines=tuple(lines),
    )


def _asked(store: StoreReader, since: Moment | None) -> Iterator[Setback]:
    for each in setbacks(store):
        if each.ended_by in _BY_A_PERSON or each.failure_class == "cancelled":
            continue
        if since is None or each.ended is None or each.ended.wall >= since.wall:
            yield each


def _cost(each: Setback) -> tuple[float, float]:
    """What an example is chosen by: hours lost, then the newest, whose files are likeliest to be there still."""
    return each.lost, each.ended.wall if each.ended is not None else 0.0


def _line(key: _Key, group: _Group) -> LossLine:
    worst = group.worst
    assert worst is not None  # a group begins with an attempt
    command = f"overnight why {worst.campaign} {worst.run_id}"
    return LossLine(
        name=key[0],
        host=key[1],
        attempts=group.attempts,
        runs=len(group.runs),
        gpu_hours_lost=_hours(group.lost),
        last_at=iso(group.last),
        example=Example(worst.campaign, worst.run_id, worst.n, command),
    )


def _hours(seconds: float) -> float:
    return round(seconds / _SECONDS_AN_HOUR, 4)
