"""`overnight resume`: a paused campaign or held runs go on; so does a root whose host is gone."""

import os
from typing import TYPE_CHECKING

import click

from overnight.cli import speak, words
from overnight.cli.answers import show
from overnight.cli.options import common, opened, optional_campaign, runs_argument

if TYPE_CHECKING:
    from overnight.supervisor.takeover import TakenOver


@click.command("resume")
@optional_campaign
@runs_argument
@click.option("--host-gone", is_flag=True, help="The host that led this root is gone for good, whatever it left alive.")
@common
def command(campaign: str | None, runs: tuple[str, ...], host_gone: bool, root: str | None, as_json: bool) -> int:
    """Let a paused campaign and its held runs (or those named) go on.

    With --root, on another host than the one that led that root: watch whether it still does (90 s), then take over
    and go on here. Without a name: every campaign under the root that has not ended.
    """
    taken = _take_over(root, host_gone) if root is not None or os.environ.get("OVERNIGHT_ROOT") else None
    if campaign is None and (taken is not None or root is not None):
        return _all(root, taken, as_json)
    found = opened(campaign, root)
    if taken is None:
        return show(found, found.resume(*runs), as_json)
    from overnight.api import changes

    return show(found, changes.resume(found, runs, moved=True), as_json)


def _take_over(root: str | None, host_gone: bool) -> "TakenOver | None":
    from overnight.api import taking_over

    leader = taking_over.to_take_over(root)
    if leader is None:
        return None
    _, found = taking_over.take_over(root, leader, speak.tell, host_gone=host_gone)
    what = "its database made anew from the files" if found.rebuilt else "its database was here"
    lost = words.plural(found.lost, "attempt")
    speak.tell(f"this host leads the root now, in term {found.term}: {what}; {lost} lost with the other host")
    for problem in found.problems:
        speak.warn(f"not read: {problem}")
    return found


def _all(root: str | None, taken: "TakenOver | None", as_json: bool) -> int:
    from overnight.api import taking_over
    from overnight.api.places import place_of, root_name

    place = place_of(root_name(root))
    went = taking_over.resume_all(place, moved=taken is not None)
    if as_json:
        speak.say_json(
            {
                "root": place.root_name,
                "taken_over": None
                if taken is None
                else {"term": taken.term, "rebuilt": taken.rebuilt, "lost": taken.lost},
                "campaigns": [{"campaign": campaign.id, "message": answer.message} for campaign, answer in went],
            }
        )
        return 0
    for campaign, answer in went:
        show(campaign, answer, as_json=False)
    return 0
