"""The live table of `watch`, drawn with rich. Fits an 80 by 24 terminal."""

import time
from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from overnight.api.waiting import Overseeing, Tail, line_of, settled
from overnight.cli import speak, words
from overnight.cli.watch import ends_in
from overnight.model.states import ENDED
from overnight.model.visible import visible
from overnight.queries.words import duration

if TYPE_CHECKING:
    from overnight.api.campaign import Campaign
    from overnight.model.campaign import StoryEntry
    from overnight.model.reports import Need, RunReport, StatusReport

_EVENTS = 6
_LEAST_ROWS = 4
_WIDE = 100  # columns of a terminal from which there is room for the slots
_LIVE = ("running", "verifying", "waiting", "held")
_TYPICAL_OF = 50  # runs
_NAME_SHOWN = 28  # characters of a name, in an event that does not fit


def live(campaign: "Campaign", refresh_seconds: float) -> "StatusReport":
    """Draw until nothing can move without a person; returns the last report."""
    console = Console(no_color=not speak.coloured(), highlight=False)
    events: deque[str] = deque(maxlen=_EVENTS)
    tail = Tail(campaign)
    tail.new()
    report = campaign.status(limit=0)
    typical = _Typical(campaign)
    overseeing = None if settled(report) else Overseeing(campaign, events.append)
    with Live(console=console, auto_refresh=False, transient=True) as screen:
        while True:
            report = campaign.status(limit=0)
            events.extend(_event(entry, console.size.width) for entry in tail.new() if _shown(entry))
            screen.update(_picture(campaign, report, events, console, typical.seconds(report)), refresh=True)
            if settled(report) or overseeing is None:
                return report
            overseeing.look()
            time.sleep(refresh_seconds)


def _shown(entry: "StoryEntry") -> bool:
    """Plans and first looks are followed, in the same second, by what came of them."""
    return bool(entry.words) and entry.event not in {"RunPlanned", "AttemptEnded", "RetryDue"}


def _event(entry: "StoryEntry", width: int) -> str:
    line = f"{_clock(entry.at.wall)} {line_of(entry)}"
    if len(line) > width and entry.run_id:
        return line.replace(entry.run_id, speak.shortened(entry.run_id, _NAME_SHOWN), 1)
    return line


def _picture(
    campaign: "Campaign",
    report: "StatusReport",
    events: deque[str],
    console: Console,
    typical_seconds: float | None,
) -> Group:
    height, width = console.size.height, console.size.width
    parts: list[Text | Table] = [_headline(report), _bar(report, width, typical_seconds), _watching(report)]
    if report.words and " ended: " not in report.words and not settled(report):  # else the counts again
        parts.append(_line(report.words, "yellow", width))
    needs = [line for need in report.needs[:2] for line in _need(need, width)]
    room = max(_LEAST_ROWS, height - len(parts) - len(events) - len(needs) - 2)
    runs, total = _live_runs(campaign, report, room)
    parts.append(_table(runs, width))
    if total > len(runs):
        parts.append(_line(f"… and {total - len(runs):,} more", "dim", width))
    parts += needs
    parts += [_line(event, "dim", width) for event in events]
    return Group(*parts)


def _need(need: "Need", width: int) -> list[Text]:
    """What is to be typed is never cut."""
    whole = f"needs you: {need.what}: {need.command}"
    if len(whole) <= width or not need.command:
        return [_line(whole, "yellow", width)]
    return [_line(f"needs you: {need.what}", "yellow", width), Text(f"  {visible(need.command)}", "yellow")]


def _headline(report: "StatusReport") -> Text:
    colour = speak.COLOURS.get(report.state, "")
    return Text.assemble((report.campaign, "bold"), "  ", (report.state, colour), "  ", words.counts(report.counts))


def _bar(report: "StatusReport", width: int, typical_seconds: float | None) -> Table:
    ended = sum(report.counts.get(state, 0) for state in ENDED)
    grid = Table.grid(padding=(0, 1))
    left = ends_in(report, typical_seconds)
    share = f"{ended:,}/{report.runs_total:,}"
    room = max(10, width - len(left) - len(share) - 4)
    grid.add_row(ProgressBar(total=max(1, report.runs_total), completed=ended, width=room), share, left)
    return grid


def _watching(report: "StatusReport") -> Text:
    if not report.supervisor.alive:
        return Text("nobody is watching; bringing the supervisor back", "yellow")
    useful, lost = (report.gpu_hours.get(key, 0.0) for key in ("useful", "lost"))
    hours = f" · GPU-hours {words.hours(useful)} useful, {words.hours(lost)} lost" if useful or lost else ""
    return Text(f"watched by pid {report.supervisor.pid}{hours}", "dim")


def _live_runs(campaign: "Campaign", report: "StatusReport", room: int) -> "tuple[list[RunReport], int]":
    runs: list[RunReport] = []
    total = sum(report.counts.get(state, 0) for state in _LIVE)
    for state in _LIVE:
        if report.counts.get(state) and len(runs) < room:
            runs += campaign.status(state=state, limit=room - len(runs)).runs
    return runs, total


def _table(runs: "list[RunReport]", width: int) -> Text:
    header = ("run", "state", "progress", "rate", "life", "att", "slot")
    rows = [header, *(_row(run) for run in runs)]
    if width < _WIDE:
        rows = [row[:-1] for row in rows]
    lines = speak.laid_out(rows, width - 1, give=((0, 28), (2, 16), (0, 12)))
    text = Text(no_wrap=True)
    for i, line in enumerate(lines):
        for j, cell in enumerate(line):
            style = "bold" if i == 0 else speak.COLOURS.get(cell.strip(), "") if j == 1 else ""
            text.append(cell + ("  " if cell else ""), style)
        text.append("\n")
    text.right_crop(1)
    return text


def _row(run: "RunReport") -> tuple[str, ...]:
    progress, running = run.progress, run.state == "running"
    return (
        run.run_id,
        "lost" if run.attempt_state == "lost" else run.state,
        (words.progress(run) if running else "") or _why(run),
        words.rate(progress.rate) if progress and running else "",
        duration(run.quiet_seconds) if run.quiet_seconds is not None and running else "",
        str(run.attempts),
        run.slot or "",
    )


def _why(run: "RunReport") -> str:
    return "" if run.state == "running" and run.attempt_state != "lost" else run.words


def _line(text: str, style: str, width: int) -> Text:
    line = Text(visible(text), style, no_wrap=True, overflow="ellipsis")
    line.truncate(width)
    return line


def _clock(wall: float) -> str:
    return datetime.fromtimestamp(wall).astimezone().strftime("%H:%M:%S")


class _Typical:
    """How long a run of this campaign takes: the median of some that succeeded."""

    def __init__(self, campaign: "Campaign") -> None:
        self._campaign = campaign
        self._known = 0
        self._seconds: float | None = None

    def seconds(self, report: "StatusReport") -> float | None:
        """Of running; None before the first has succeeded."""
        succeeded = report.counts.get("succeeded", 0)
        if succeeded != self._known:
            self._known = succeeded
            runs = self._campaign.status(state="succeeded", limit=_TYPICAL_OF).runs
            self._seconds = sorted(run.seconds for run in runs)[len(runs) // 2] if runs else None
        return self._seconds
