"""`overnight resume`: let a paused campaign or held runs go on."""

import click

from overnight.cli.answers import show
from overnight.cli.options import campaign_argument, common, opened, runs_argument


@click.command("resume")
@campaign_argument
@runs_argument
@common
def command(campaign: str, runs: tuple[str, ...], root: str | None, as_json: bool) -> int:
    """Let a paused campaign and its held runs (or those named) go on."""
    found = opened(campaign, root)
    return show(found, found.resume(*runs), as_json)
