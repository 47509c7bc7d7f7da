"""What the runs left behind, as plain dictionaries for a notebook."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from overnight.model.codec import from_json

if TYPE_CHECKING:
    from overnight.api.campaign import Campaign


def summaries(campaign: "Campaign") -> list[dict[str, Any]]:
    """`summary.json` of every ended run that has one, in the order of the manifest."""
    found = []
    for run in campaign.status(all=True).runs:
        path = Path(campaign.path, "runs", run.run_id, "summary.json")
        try:
            found.append(from_json(path.read_bytes(), dict[str, Any]))
        except (OSError, ValueError):  # not ended, or being written on a file system without atomic renames
            continue
    return found
