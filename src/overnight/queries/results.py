"""What the runs of some campaigns came to: a row each, with its parameters and its numbers.

All rows are gathered before the first is shown: whoever reads them in a pager must not keep the database's log from
being cut for as long. That takes about 1.3 KB of memory a row.
"""

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from overnight.artifacts.summary import newest_metrics
from overnight.model.campaign import Campaign
from overnight.model.codec import replace
from overnight.model.gpu_time import gpus_of
from overnight.model.manifest import Refusal
from overnight.model.reports import ResultsReport, RunResult
from overnight.model.run import Run
from overnight.model.states import RunState
from overnight.queries.find import meant, record
from overnight.queries.result_files import ResultFileFault, read_results
from overnight.queries.words import iso
from overnight.store import StoreReader
from overnight.store.outcomes import outcomes

_SECONDS_AN_HOUR = 3600.0
_NAMED = 8  # metrics that a hint lists


class Source(NamedTuple):
    """A campaign, and where it is: its database, open, and its root."""

    store: StoreReader
    root: str
    campaign: str


class _Chosen(NamedTuple):
    rank: tuple[bool, float]  # succeeded, when
    row: RunResult
    file: str | None


def results(
    sources: Sequence[Source], *, all: bool = False, metric: str | None = None, reverse: bool = False
) -> ResultsReport:
    """Every succeeded run, or (`all`) every one. Of a run ID that several campaigns have, the newest success is
    taken, else the newest row. `metric`: sorted by this one, smallest first (`reverse`: largest), runs without it
    last; the other metrics are left out.

    Raises NoSuchThing (campaign), Refusal (`metric`) and StoreError.
    """
    chosen: dict[str, _Chosen] = {}
    counts: dict[str, int] = {}
    for source in dict.fromkeys(sources):  # a campaign named twice counts once
        with source.store.snapshot():
            campaign = record(source.store, source.campaign)
            for tally in source.store.tallies(campaign.id):
                counts[tally.state] = counts.get(tally.state, 0) + tally.runs
            _gather(chosen, source, campaign, None if all else RunState.SUCCEEDED.value)
    rows = [_with_file(each.row, each.file) for each in chosen.values()]
    rows = rows if metric is None else _sorted(rows, metric, reverse)
    return ResultsReport(
        campaigns=tuple(dict.fromkeys(source.campaign for source in sources)),
        counts={state.value: counts[state.value] for state in RunState if counts.get(state.value)},
        params=_names(row.params for row in rows),
        metrics=_names(row.metrics for row in rows) if metric is None else (metric,),
        results=tuple(rows),
        metric=metric,
    )


def _gather(chosen: dict[str, _Chosen], source: Source, campaign: Campaign, state: str | None) -> None:
    folder = os.path.join(source.root, "campaigns", campaign.id, "runs")
    for run, params in outcomes(source.store, campaign.id, state):
        rank = run.state == RunState.SUCCEEDED, (run.changed or campaign.created).wall
        known = chosen.get(run.run_id)
        if known is None or rank >= known.rank:
            row = _result(run, params, campaign, folder)
            chosen[run.run_id] = _Chosen(rank, row, campaign.policy.results.file)


def _result(run: Run, params: dict[str, str], campaign: Campaign, folder: str) -> RunResult:
    began = [attempt for attempt in run.attempts if not attempt.never_began]
    live = run.live_attempt
    held = sum(gpus_of(run, attempt, campaign.policy) * attempt.seconds for attempt in began)
    return RunResult(
        campaign=campaign.id,
        run_id=run.run_id,
        state=run.state.value,
        failure_class=run.failure.name if run.failure and run.state == RunState.FAILED else None,
        code=began[-1].code if began else None,
        params={name: value for name, value in params.items() if name != "run_id"},
        metrics=dict(newest_metrics(began)),
        seconds=round(run.ran_seconds + (live.seconds if live else 0.0), 3),
        gpu_hours=round(held / _SECONDS_AN_HOUR, 4),
        ended_at=iso(run.changed) if run.ended else None,
        path=os.path.join(folder, run.run_id),
    )


def _with_file(row: RunResult, file: str | None) -> RunResult:
    """With what the results file holds, whose values win over the output's. A run that has not succeeded need not
    have one."""
    if file is None:
        return row
    try:
        found = read_results(os.path.join(row.path, "out", file))
    except FileNotFoundError:
        missing = row.state == RunState.SUCCEEDED
        return replace(row, problem=f"{file}: it is not there") if missing else row
    except ResultFileFault as fault:
        return replace(row, problem=f"{file}: {fault}")
    return replace(row, metrics={**row.metrics, **found})


def _names(tables: Iterable[Iterable[str]]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for table in tables:
        found.update(dict.fromkeys(table))
    return tuple(found)


def _sorted(rows: list[RunResult], metric: str, reverse: bool) -> list[RunResult]:
    having = [row for row in rows if metric in row.metrics]
    if rows and not having:
        known = _names(row.metrics for row in rows)
        some = ", ".join(known[:_NAMED]) + (", …" if len(known) > _NAMED else "")
        hint = meant(metric, known) or (f"there are {some}" if known else "none of them has shown any")
        raise Refusal(f"no run here has a metric {metric!r}", hint)
    having.sort(key=lambda row: _order(row.metrics[metric]), reverse=reverse)
    rest = [row for row in rows if metric not in row.metrics]
    return [replace(row, metrics={metric: row.metrics[metric]}) for row in having] + [
        replace(row, metrics={}) for row in rest
    ]


def _order(value: float | str) -> tuple[bool, float, str]:
    return (True, 0.0, value) if isinstance(value, str) else (False, value, "")
