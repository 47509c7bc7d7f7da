"""`overnight pause`: start nothing new."""

import click

from overnight.cli.answers import show
from overnight.cli.options import campaign_argument, common, opened


@click.command("pause")
@campaign_argument
@click.option("--now", is_flag=True, help="Also end live attempts; they do not count.")
@common
def command(campaign: str, now: bool, root: str | None, as_json: bool) -> int:
    """Start nothing new. Live attempts go on under their limits, unless --now."""
    found = opened(campaign, root)
    return show(found, found.pause(now), as_json)
