"""Options that several verbs share, and what they have in common: a campaign named on the command line."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from overnight.api.campaign import Campaign

F = TypeVar("F", bound=Callable[..., Any])


def common(function: F) -> F:
    """`--root` and `--json`, which every verb takes."""
    function = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, nothing else there.")(
        function
    )
    return click.option(
        "--root",
        metavar="DIR",
        help="The directory of campaigns (default: $OVERNIGHT_ROOT, ./overnight-runs, or where the campaign is).",
    )(function)


campaign_argument = click.argument("campaign", metavar="CAMPAIGN")
optional_campaign = click.argument("campaign", metavar="[CAMPAIGN]", required=False)
runs_argument = click.argument("runs", metavar="[RUN]...", nargs=-1)


def ended(function: F) -> F:
    """`--exit-code` and `--signal`: how the program ended whose log is read."""
    function = click.option("--signal", metavar="NAME|N", help="The signal that ended it: SIGKILL, KILL or 9.")(
        function
    )
    return click.option(
        "--exit-code",
        type=int,
        metavar="N",
        help="What the program exited with; below zero, as Python says it, the signal that ended it.",
    )(function)


def opened(campaign: str | None, root: str | None) -> "Campaign":
    """The campaign that was named by prefix or folder; without a name the one that is active."""
    from overnight.api.campaign import open as open_campaign
    from overnight.api.campaign import the_active_one

    return open_campaign(campaign, root=root) if campaign else the_active_one(root=root)
