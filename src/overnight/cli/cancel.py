"""`overnight cancel`: end runs, or a whole campaign."""

import click

from overnight.cli.answers import show
from overnight.cli.options import campaign_argument, common, opened, runs_argument


@click.command("cancel")
@campaign_argument
@runs_argument
@common
def command(campaign: str, runs: tuple[str, ...], root: str | None, as_json: bool) -> int:
    """End the runs named, or the whole campaign. What they left stays; `retry` takes it back."""
    found = opened(campaign, root)
    return show(found, found.cancel(*runs), as_json)
