"""Room: when a volume is too full for anything new."""

from collections.abc import Sequence

from overnight.model.campaign import Campaign
from overnight.model.room import Room

SHARE = 0.1  # of a small volume: a tenth is as much as can be asked for


def short(campaign: Campaign, rooms: Sequence[Room]) -> str:
    """Why nothing of this campaign may start, as a sentence; empty: there is room."""
    wanted = campaign.policy.limits.disk_free
    if wanted is None:
        return ""
    for room in rooms:
        if room.free_bytes < min(wanted, SHARE * room.size_bytes):
            return (
                f"{room.free_bytes / 1e6:,.0f} MB are left on the volume of {room.path}; below limits.disk_free "
                f"({wanted / 1e6:,.0f} MB) nothing new starts"
            )
    return ""
