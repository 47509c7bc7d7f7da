"""What starts now: file order and priority within a campaign, campaigns in the order they were launched."""

from collections.abc import Sequence

from overnight.model.campaign import Campaign
from overnight.model.codec import Struct
from overnight.model.policy import RowPolicy
from overnight.model.states import RunState


class Standing(Struct, frozen=True):
    """A campaign as the planner sees it: `live` attempts hold a slot each; `queued` runs could start."""

    campaign: Campaign
    live: int
    queued: int
    scout: bool = False  # of a campaign on hold: the next scout's time has come


def room(standing: Standing) -> int:
    """How many attempts of this campaign may start now, if slots are free."""
    campaign = standing.campaign
    if campaign.paused or campaign.cancelling:
        return 0
    if campaign.policy.fail_fast and campaign.counts.get(RunState.VERIFYING.value):
        return 0  # it may be the one that failed: its slot is free before that is known
    most = max(0, min(campaign.slots - standing.live, standing.queued))
    return min(most, int(standing.scout)) if campaign.hold is not None else most


def order(standings: Sequence[Standing]) -> list[Standing]:
    """Campaigns that may start something, first launched first."""
    ready = [standing for standing in standings if room(standing) > 0]
    return sorted(ready, key=lambda s: (s.campaign.created.wall, s.campaign.id))


def gpus_of(campaign: Campaign, row: RowPolicy) -> float:
    """GPUs for one attempt of this row."""
    return row.gpus if row.gpus is not None else campaign.policy.resources.gpus
