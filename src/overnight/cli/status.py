"""`overnight status`: what needs you, what it did by itself, GPU-hours, what runs now."""

from functools import partial
from typing import TYPE_CHECKING

import click

from overnight.cli import speak, words
from overnight.cli.options import common, optional_campaign
from overnight.queries.words import duration

if TYPE_CHECKING:
    from overnight.api.campaign import Campaign
    from overnight.api.places import Place
    from overnight.model.reports import CampaignLine, RunReport, StatusReport, UnreadRoot

PAGE = 1000  # runs
_LIVE_SHOWN = 20
_LIST_SHOWN = 30
_GIVE = ((0, 28), (3, 24), (0, 12), (3, 12))  # a row's name and reason, where the terminal is narrow
_STATES = ("pending", "running", "verifying", "waiting", "held", "succeeded", "failed", "cancelled")


@click.command("status")
@optional_campaign
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Runs a page (default 1000).")
@click.option("--after", metavar="RUN", help="The page behind this run.")
@click.option("--state", type=click.Choice(_STATES), help="Only runs in this state.")
@click.option("--all", "everything", is_flag=True, help="All runs on one page.")
@common
def command(
    campaign: str | None,
    limit: int | None,
    after: str | None,
    state: str | None,
    everything: bool,
    root: str | None,
    as_json: bool,
) -> int:
    """What needs you, what it did by itself, what runs now.

    Without a name: the one active campaign, or the list of all.
    """
    from overnight.api.campaign import Campaign
    from overnight.api.campaign import open as open_campaign
    from overnight.api.places import Silent, all_campaigns, nearest_active

    if campaign:
        found = open_campaign(campaign, root)
    else:
        silent = Silent()
        active = nearest_active(root, silent)
        if len(active) != 1:
            _list(all_campaigns(root, silent), silent.left_out, as_json)
            return 0
        for each in silent.left_out:
            speak.warn(f"{each.root} is left out: {each.why}")
        found = Campaign(active[0][1].campaign, active[0][0])
    page = partial(found.status, limit=PAGE if limit is None else limit, after=after, state=state, all=everything)
    if as_json:
        speak.say_json(page())
    elif after or state or everything or limit is not None:
        _page(page(), [*(("--state", state) if state else ()), *(("--limit", str(limit)) if limit else ())])
    else:
        show(found)
    return 0


def show(campaign: "Campaign") -> None:
    """The page for people."""
    report = campaign.status(limit=0)
    headline(report)
    if report.needs:
        speak.say()
        speak.say(speak.bold("needs you"))
        for need in report.needs:
            speak.say_wrapped(need.what + (f": {need.why}" if need.why else ""))
            if need.command:
                speak.say(f"      {need.command}")
    for title, lines in (("did by itself", report.did), ("warnings", report.warnings)):
        if lines:
            speak.say()
            speak.say(speak.bold(title))
            for line in lines:
                speak.say_wrapped(line)
    if any(report.gpu_hours.values()):
        useful, lost = (report.gpu_hours.get(key, 0.0) for key in ("useful", "lost"))
        speak.say()
        speak.say(f"{speak.bold('GPU-hours')}  {words.hours(useful)} useful, {words.hours(lost)} lost")
    _live(campaign, report)


def headline(report: "StatusReport") -> None:
    """Name, state, counts, who watches, where."""
    speak.say(
        f"{speak.bold(report.campaign)}  {speak.state(report.state)}  "
        f"{words.plural(report.runs_total, 'run')}: {words.counts(report.counts)}"
    )
    if report.words and " ended: " not in report.words:  # the counts again
        speak.say(report.words)
    watching = "nobody is watching"
    if report.supervisor.alive:
        watching = f"watched by pid {report.supervisor.pid}" if report.supervisor.pid else "watched"
        watching += " (watch-only: starts nothing)" if report.supervisor.watch_only else ""
    if report.failures:
        classes = ", ".join(f"{count:,} {name}" for name, count in sorted(report.failures.items()))
        speak.say_wrapped(f"failures: {classes}", indent="")
    speak.say(f"{watching} · revision {report.revision} · {report.path}")


def _live(campaign: "Campaign", report: "StatusReport") -> None:
    live: list[RunReport] = []
    for state in ("running", "verifying", "waiting"):
        if report.counts.get(state) and len(live) < _LIVE_SHOWN:
            live += campaign.status(state=state, limit=_LIVE_SHOWN - len(live)).runs
    if not live:
        return
    speak.say()
    speak.say(speak.bold("now"))
    speak.table([row(run, report.supervisor.alive) for run in live], painted=1, give=_GIVE)
    total = sum(report.counts.get(state, 0) for state in ("running", "verifying", "waiting"))
    if total > len(live):
        speak.say(f"  … and {total - len(live):,} more: overnight status {report.campaign} --state running")


def row(run: "RunReport", watched: bool) -> tuple[str, ...]:
    """A run on one line: name, state, attempt, how far it is or why it is not, rate, slot, last life; the last and the
    rate only while somebody looks."""
    running = run.state == "running" and run.attempt_state != "lost"
    seen = running and watched
    quiet = f"life {duration(run.quiet_seconds)} ago" if run.quiet_seconds is not None and seen else ""
    reached = words.progress(run)
    silent = running or run.state in {"succeeded", "pending"}
    return (
        run.run_id,
        "lost" if run.attempt_state == "lost" else run.state,
        f"attempt {run.attempts}" if run.attempts > 1 else "",
        reached if silent else run.failure_class or run.words,
        words.rate(run.progress.rate) if run.progress and seen else "",
        run.slot or "",
        quiet,
    )


def _page(report: "StatusReport", asked: list[str]) -> None:
    headline(report)
    speak.table([row(run, report.supervisor.alive) for run in report.runs], painted=1, give=_GIVE)
    if report.next_after:
        speak.say(" ".join(["more: overnight status", report.campaign, *asked, "--after", report.next_after]))


def _list(lines: "list[tuple[Place, CampaignLine]]", unread: "list[UnreadRoot]", as_json: bool) -> None:
    if as_json:
        speak.say_json({"campaigns": [line for _, line in lines], "unread": unread})
        return
    for each in unread:
        speak.warn(f"{each.root} is left out: {each.why}")
    if not lines:
        speak.say("no campaigns yet; overnight launch starts one")
        return
    shown = [
        (line.campaign, line.state, f"{words.plural(line.runs_total, 'run')}: {words.counts(line.counts)}", line.root)
        for _, line in lines[:_LIST_SHOWN]
    ]
    speak.table(shown, indent="", painted=1, give=((3, 16), (2, 16)))
    if len(lines) > _LIST_SHOWN:
        speak.say(f"… and {len(lines) - _LIST_SHOWN:,} older: overnight status --json")
