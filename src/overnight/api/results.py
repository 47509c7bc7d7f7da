"""What the runs of one or several campaigns came to."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from overnight.queries.results import Source
from overnight.queries.results import results as _results

if TYPE_CHECKING:
    from overnight.api.campaign import Campaign
    from overnight.model.reports import ResultsReport
    from overnight.store import ReadStore


def results(
    campaigns: "Sequence[Campaign]", *, all: bool = False, metric: str | None = None, reverse: bool = False
) -> "ResultsReport":
    """Succeeded runs, or (`all`) every one; of a run ID in several campaigns the newest success, else the newest.
    `metric`: sorted by it, smallest first (`reverse`: largest), without the others.

    Raises `Refused` if no run has that metric, `Unreachable` if a database does not answer.
    """
    stores: dict[str, ReadStore] = {}
    with ExitStack() as opened:
        sources = []
        for campaign in campaigns:
            database = campaign.place.database
            if database not in stores:
                stores[database] = opened.enter_context(campaign.reading())
            sources.append(Source(stores[database], campaign.place.root_name, campaign.id))
        return _results(sources, all=all, metric=metric, reverse=reverse)
