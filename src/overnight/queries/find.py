"""From what a person types to campaigns and runs."""

from collections.abc import Sequence

from overnight.model.campaign import Campaign
from overnight.model.reports import NoSuchThing
from overnight.model.run import Run
from overnight.ports import RunRef
from overnight.store import StoreReader


def meant(typed: str, known: Sequence[str]) -> str | None:
    """A hint that names the nearest of `known`, if one is near."""
    import difflib  # only where something was mistyped: `status` is to start quickly

    near = difflib.get_close_matches(typed, known, 1, 0.5)
    return f"did you mean {near[0]}?" if near else None


def record(store: StoreReader, campaign: str) -> Campaign:
    """The campaign's record; raises NoSuchThing."""
    found = store.campaign(campaign)
    if found is None:
        raise NoSuchThing(f"no campaign {campaign!r}", "overnight status lists what there is")
    return found


def one_run(store: StoreReader, campaign: str, run_id: str) -> Run:
    """The run; raises NoSuchThing that names the nearest of the first runs."""
    found = store.run(RunRef(campaign, run_id))
    if found is None:
        names = [run.run_id for run in store.page(campaign, after=None, limit=2000, state=None) or ()]
        hint = meant(run_id, names) or f"overnight status {campaign} --all lists its runs"
        raise NoSuchThing(f"{campaign} has no run {run_id!r}", hint)
    return found
