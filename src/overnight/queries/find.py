"""From what a person types to campaigns, runs and their folders."""

import os
from collections.abc import Sequence

from overnight.model.campaign import Campaign
from overnight.model.codec import Struct
from overnight.model.reports import NoSuchThing
from overnight.model.run import Run
from overnight.ports import RunRef
from overnight.store import StoreReader

_NAMED = 8  # candidates that a message lists


class RunPaths(Struct, frozen=True):
    """Where the files of a run are. `attempts`: folder of each attempt by its number."""

    run_dir: str
    out_dir: str
    attempts: dict[int, str]


def find_campaign(store: StoreReader, prefix: str) -> str:
    """The campaign of that name, else the one whose name begins so. Raises NoSuchThing if there is none, or
    more than one."""
    names = store.campaign_ids()
    if prefix in names:
        return prefix
    found = [name for name in names if name.startswith(prefix)]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(found[:_NAMED]) + (", …" if len(found) > _NAMED else "")
        raise NoSuchThing(f"{prefix!r} may be any of {some}", "type as much of the name as makes it one")
    hint = meant(prefix, names) or "overnight status lists what there is"
    raise NoSuchThing(f"no campaign {prefix!r}", hint)


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


def run_paths(store: StoreReader, root: str, campaign: str, run_id: str) -> RunPaths:
    """Folders of a run below `root`, whether or not they exist yet. Raises NoSuchThing."""
    run = one_run(store, campaign, run_id)
    run_dir = os.path.join(root, "campaigns", campaign, "runs", run_id)
    attempts = {a.n: os.path.join(run_dir, "attempts", str(a.n)) for a in run.attempts}
    return RunPaths(run_dir, os.path.join(run_dir, "out"), attempts)
