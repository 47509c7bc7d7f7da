"""`overnight results`: a row for each run."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from overnight.cli import speak, words
from overnight.cli.options import common, opened
from overnight.queries.words import duration

if TYPE_CHECKING:
    from overnight.model.reports import ResultsReport, RunResult

_CODE_SHOWN = 12  # characters of a digest
_CELL_SHOWN = 40  # of a parameter, for people
_RUN_ID_LEAST = 16  # of a name, where the terminal is narrow
_ROWS_A_WRITE = 1000

_Cell = str | float | None
_Column = tuple[str, Callable[["RunResult"], _Cell]]
_IDS: tuple[_Column, ...] = (("campaign", lambda row: row.campaign), ("run_id", lambda row: row.run_id))


@click.command("results")
@click.argument("campaigns", nargs=-1, required=True, metavar="CAMPAIGN...")
@click.option("--csv", "as_csv", is_flag=True, help="CSV on stdout, a column for each parameter and metric.")
@click.option("--metric", metavar="M", help="Sort by this metric, smallest first, and leave out the others.")
@click.option("--reverse", is_flag=True, help="With --metric: largest first.")
@click.option("--all", "everything", is_flag=True, help="Every run, not only those that succeeded.")
@common
def command(
    campaigns: tuple[str, ...],
    as_csv: bool,
    metric: str | None,
    reverse: bool,
    everything: bool,
    root: str | None,
    as_json: bool,
) -> int:
    """A row for each run that succeeded: parameters, metrics, running time, GPU-hours.

    Metrics are the last named numbers of a run's output, and what its `[results] file` holds. Of a run ID that
    several of the campaigns have, the newest success is shown.
    """
    from overnight.api.results import results

    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    report = results([opened(name, root) for name in campaigns], all=everything, metric=metric, reverse=reverse)
    if as_json:
        speak.say_json(report)
    elif as_csv:
        _csv(report)
    else:
        _show(report, everything)
    _warn(report, as_json)
    return 0


def _warn(report: "ResultsReport", as_json: bool) -> None:
    problems = [row for row in report.results if row.problem]
    if problems and not as_json:  # the document says it of each run
        one = problems[0]
        speak.warn(
            f"the results file of {words.plural(len(problems), 'run')} is not shown; {one.run_id}: {one.problem}"
        )


# --- CSV ---------------------------------------------------------------------------------------------------


def _csv(report: "ResultsReport") -> None:
    import csv
    import io

    columns = _distinct(
        _IDS,
        [(name, _param(name)) for name in report.params],
        [("state", lambda row: row.state), ("class", lambda row: row.failure_class), ("code", _code)],
        [(name, _metric(name)) for name in report.metrics],
        [
            ("seconds", lambda row: row.seconds),
            ("gpu_hours", lambda row: row.gpu_hours),
            ("path", lambda row: row.path),
        ],
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name, _ in columns])
    for start in range(0, max(1, len(report.results)), _ROWS_A_WRITE):
        writer.writerows([cell(row) for _, cell in columns] for row in report.results[start : start + _ROWS_A_WRITE])
        speak.say_data(text.getvalue().removesuffix("\n"))
        text.seek(0)
        text.truncate()


def _distinct(
    ids: Sequence[_Column], params: Sequence[_Column], states: Sequence[_Column], metrics: Sequence[_Column],
    costs: Sequence[_Column],
) -> list[_Column]:  # fmt: skip
    """Side by side. Ours keep their names; a parameter that is called like one of them becomes `param.NAME`, a metric
    that is called like either `metric.NAME`."""
    taken = {name for name, _ in (*ids, *states, *costs)}
    renamed = []
    for prefix, group in (("param.", params), ("metric.", metrics)):
        names = {name for name, _ in group} | taken
        renamed.append([(_free(name, prefix, names) if name in taken else name, cell) for name, cell in group])
        taken |= {name for name, _ in renamed[-1]}
    return [*ids, *renamed[0], *states, *renamed[1], *costs]


def _free(name: str, prefix: str, taken: set[str]) -> str:
    while name in taken:
        name = prefix + name
    return name


def _param(name: str) -> Callable[["RunResult"], _Cell]:
    return lambda row: row.params.get(name)


def _metric(name: str) -> Callable[["RunResult"], _Cell]:
    return lambda row: row.metrics.get(name)


def _code(row: "RunResult") -> str | None:
    return row.code[:_CODE_SHOWN] if row.code else None


# --- for people --------------------------------------------------------------------------------------------


def _show(report: "ResultsReport", everything: bool) -> None:
    speak.say(f"{speak.bold(words.listed(report.campaigns))}  {words.counts(report.counts) or 'no runs'}")
    columns = _columns(report, everything)
    if report.results:
        heads = tuple(name for name, _ in columns)
        state = heads.index("state") if everything else None
        names = {name for name, _ in _IDS}  # a clipped name is nobody's
        lines = [
            tuple(str(cell(row)) if name in names else _shown(cell(row)) for name, cell in columns)
            for row in report.results
        ]
        _table(report, [heads, *lines], heads.index("run_id"), state)
    hidden = {state: count for state, count in report.counts.items() if state != "succeeded"}
    if hidden and not everything:
        speak.say(f"not shown: {words.counts(hidden)}; --all shows every run")
    folders = dict.fromkeys(row.path.removesuffix(row.run_id) + "RUN_ID" for row in report.results)
    for folder in folders:
        speak.say(f"files: {folder}")


def _table(report: "ResultsReport", lines: list[tuple[str, ...]], run_id: int, state: int | None) -> None:
    """As many columns as the terminal has room for, and which ones there was none for."""
    room = speak.columns()
    widths = [max(speak.wide(line[i]) for line in lines) for i in range(len(lines[0]))]
    kept = set(range(len(widths)))
    if room is not None:
        widths[run_id] = min(widths[run_id], max(_RUN_ID_LEAST, room // 3))
        for i in _spare(report, lines, run_id):
            if sum(widths[k] + 2 for k in kept) <= room:
                break
            kept.discard(i)
    shown = sorted(kept)
    rows = [[line[i] for i in shown] for line in lines]
    speak.table(
        rows, painted=None if state is None else shown.index(state),
        give=((shown.index(run_id), _RUN_ID_LEAST), (0, _RUN_ID_LEAST)),
    )  # fmt: skip
    if len(shown) < len(widths):
        missing = words.listed([lines[0][i] for i in range(len(widths)) if i not in kept], 8)
        speak.say_wrapped(f"no room here for {missing}; --csv has every column", indent="")


def _spare(report: "ResultsReport", lines: list[tuple[str, ...]], run_id: int) -> list[int]:
    """Columns that can be spared, the least missed first: code and costs, parameters that are the same everywhere, the
    other parameters (derived names tell them), metrics behind the first."""
    heads, first = lines[0], run_id + 1
    params = range(first, first + len(report.params))
    behind = next(i for i, head in enumerate(heads) if head == "time")
    metrics = range(behind - len(report.metrics), behind)
    same = [i for i in params if len({line[i] for line in lines[1:]}) == 1 and len(lines) > 2]
    others = [i for i in reversed(params) if i not in same]
    return [*range(len(heads) - 1, behind - 1, -1), *same, *others, *reversed(metrics[1:])]


def _columns(report: "ResultsReport", everything: bool) -> list[_Column]:
    """What a person wants to see; columns that are empty throughout are left out."""
    rows = report.results
    several = len(report.campaigns) > 1
    states: list[tuple[bool, _Column]] = [
        (everything, ("state", lambda row: row.state)),
        (any(row.failure_class for row in rows), ("class", lambda row: row.failure_class)),
    ]
    costs: list[tuple[bool, _Column]] = [
        (True, ("time", lambda row: duration(row.seconds))),
        (any(row.gpu_hours for row in rows), ("GPU-hours", lambda row: words.hours(row.gpu_hours))),
        (any(row.code for row in rows), ("code", _code)),
    ]
    return _distinct(
        _IDS if several else _IDS[1:],
        [(name, _param(name)) for name in report.params],
        [column for wanted, column in states if wanted],
        [(name, _metric(name)) for name in report.metrics],
        [column for wanted, column in costs if wanted],
    )


def _shown(cell: _Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool) or not isinstance(cell, (int, float)):
        text = " ".join(str(cell).split())
        return text if len(text) <= _CELL_SHOWN else text[: _CELL_SHOWN - 1] + "…"
    return words.number(cell)
