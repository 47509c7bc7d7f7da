"""`overnight retry`: try ended runs again."""

import click

from overnight.cli.answers import show
from overnight.cli.options import campaign_argument, common, opened, runs_argument


@click.command("retry")
@campaign_argument
@runs_argument
@click.option("--class", "failure_class", metavar="C", help="Only runs that failed with this class.")
@click.option("--scratch", is_flag=True, help="From nothing: set what they left aside.")
@common
def command(
    campaign: str,
    runs: tuple[str, ...],
    failure_class: str | None,
    scratch: bool,
    root: str | None,
    as_json: bool,
) -> int:
    """Try ended runs again, with whole budgets: those named, or all that failed or were cancelled."""
    found = opened(campaign, root)
    return show(found, found.retry(*runs, failure_class=failure_class, scratch=scratch), as_json)
