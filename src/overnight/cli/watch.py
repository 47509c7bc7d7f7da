"""`overnight watch`: look on, live, until nothing can move without a person."""

import gc
import sys
from typing import TYPE_CHECKING

import click

from overnight.cli import speak
from overnight.cli.options import common, opened, optional_campaign
from overnight.queries.words import duration

if TYPE_CHECKING:
    from overnight.api.campaign import Campaign
    from overnight.model.reports import StatusReport

REFRESH_SECONDS = 0.5


@click.command("watch")
@optional_campaign
@common
def command(campaign: str | None, root: str | None, as_json: bool) -> int:
    """Look on, live, until the campaign ends or nothing can move without you.

    A dead supervisor is brought back meanwhile. With --json: waits, then prints the status.
    """
    found = opened(campaign, root)
    return wait_for(found, True) if as_json else look_on(found)


def wait_for(campaign: "Campaign", as_json: bool) -> int:
    """Wait with short progress lines on stderr; then the status. Returns the exit code."""
    gc.enable()
    try:
        report = campaign.wait(tell=speak.tell)
    except KeyboardInterrupt:
        return goes_on(campaign, as_json)
    return _finish(campaign, report, as_json)


def look_on(campaign: "Campaign") -> int:
    """The live table where a person looks, else as `wait_for`."""
    if not sys.stdout.isatty() or not speak.can_redraw():
        return wait_for(campaign, False)
    from overnight.cli.live import live

    gc.enable()
    try:
        report = live(campaign, REFRESH_SECONDS)
    except KeyboardInterrupt:
        return goes_on(campaign, False)
    return _finish(campaign, report, False)


def goes_on(campaign: "Campaign", as_json: bool) -> int:
    """Ctrl-C ends the looking, not the campaign."""
    speak.tell(f"interrupted; {campaign.id} goes on: overnight status {campaign.id}")
    if as_json:
        speak.say_json(campaign.status())
    return 130


def _finish(campaign: "Campaign", report: "StatusReport", as_json: bool) -> int:
    from overnight.cli.status import show

    if as_json:
        speak.say_json(campaign.status())
    else:
        show(campaign)
    return 0 if report.state == "succeeded" else 1


def eta(report: "StatusReport", typical_seconds: float | None) -> float | None:
    """Seconds until the last run ends, if each takes as long as those that succeeded and all slots are used. Those
    under way are taken to be half done. None before the first has succeeded, when nothing is left, or in a pause: what
    waits then waits for a person."""
    queued, live = (
        sum(report.counts.get(state, 0) for state in states) for states in (("pending", "waiting"), ("running",))
    )
    if typical_seconds is None or not queued + live or report.state == "paused":
        return None
    side_by_side = max(1, min(report.slots or 1, queued + live))
    return typical_seconds * (queued + live / 2) / side_by_side


def ends_in(report: "StatusReport", typical_seconds: float | None) -> str:
    """`about 2 h 10 min left`, or nothing."""
    left = eta(report, typical_seconds)
    return f"about {duration(left)} left" if left is not None else ""
