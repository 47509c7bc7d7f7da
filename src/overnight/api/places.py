"""Where campaigns are: finding one by its name alone, from any directory.

A root that was given (`--root`) is the only one looked at. Else: `$OVERNIGHT_ROOT`, then `./overnight-runs`,
then every root that a launch of this user has remembered. The first that holds the campaign answers; that is
safe because a name holds the digest of what is computed, so a stranger's campaign cannot take it.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from overnight.api.errors import NotFound, in_words
from overnight.model.codec import Struct
from overnight.model.reports import CampaignLine

DEFAULT_ROOT = "overnight-runs"


class Place(Struct, frozen=True):
    """A root and where its database, inbox and secrets are on this host."""

    root: Path
    state: Path

    @property
    def database(self) -> Path:
        """The database file, which may not exist yet."""
        return self.state / "overnight.db"


def launch_root(root: str | Path | None) -> Path:
    """The root that a launch writes to, absolute; it need not exist."""
    chosen = root if root is not None else os.environ.get("OVERNIGHT_ROOT") or DEFAULT_ROOT
    return Path(chosen).expanduser().absolute()


def place_of(root: Path) -> Place:
    """The place of a root, found without writing anything. Before the first launch: where it will likely be."""
    from overnight.artifacts.roots import find_state_dir

    state = find_state_dir(root) or os.environ.get("OVERNIGHT_STATE") or root / ".state"
    return Place(root, Path(state).absolute())


def places_to_look(root: str | Path | None = None) -> Iterator[Place]:
    """Places that may hold a campaign, nearest first, each once; those without a database are left out."""
    seen: set[Path] = set()
    for candidate in _roots(root):
        if candidate in seen:
            continue
        seen.add(candidate)
        place = place_of(candidate)
        if place.database.exists():
            yield place


def _roots(root: str | Path | None) -> Iterator[Path]:
    if root is not None:
        yield launch_root(root)
        return
    if os.environ.get("OVERNIGHT_ROOT"):
        yield launch_root(None)
    yield Path(DEFAULT_ROOT).absolute()
    from overnight.artifacts.roots import known_roots

    here = os.uname().nodename
    for known in known_roots():
        if known.host == here:
            yield Path(known.root)


def find(campaign: str, root: str | Path | None = None) -> tuple[Place, str]:
    """The place and full ID of the campaign named by ID, unique prefix or folder. Raises `NotFound`."""
    if not campaign:
        raise NotFound("no campaign was named", "overnight status lists them")
    folder = _as_folder(campaign)
    if folder is not None:
        root, campaign = folder.parent.parent, folder.name
    for place in places_to_look(root):
        names = _matching(place, campaign)
        if campaign in names or len(names) == 1:
            return place, campaign if campaign in names else names[0]
        if names:
            raise NotFound(
                f"{campaign!r} may be any of {', '.join(names[:8])}", "type as much of the name as makes it one"
            )
    raise _unknown(campaign, root)


def _unknown(campaign: str, root: str | Path | None) -> NotFound:
    if root is not None:
        return NotFound(f"no campaign {campaign!r} under {launch_root(root)}", "overnight status --root DIR lists them")
    from overnight.artifacts.roots import known_roots

    elsewhere = next((known for known in known_roots() if known.campaign.startswith(campaign)), None)
    if elsewhere is not None and elsewhere.host != os.uname().nodename:
        return NotFound(f"{elsewhere.campaign} was launched on host {elsewhere.host}", "ask there")
    if elsewhere is not None:
        return NotFound(
            f"{elsewhere.campaign} was launched under {elsewhere.root}, which no longer has it",
            "if the directory was moved, name it: --root DIR",
        )
    return NotFound(f"no campaign {campaign!r}", "overnight status lists what there is; --root names another root")


def all_campaigns(root: str | Path | None = None) -> list[tuple[Place, CampaignLine]]:
    """Every campaign of the places to look, newest first."""
    from overnight import queries
    from overnight.store import ReadStore

    found = []
    for place in places_to_look(root):
        with in_words():
            store = ReadStore(place.database)
            try:
                found += [(place, line) for line in queries.campaigns(store, str(place.root))]
            finally:
                store.close()
    found.sort(key=lambda pair: pair[1].created_at, reverse=True)
    return found


def _matching(place: Place, prefix: str) -> list[str]:
    from overnight.store import ReadStore

    with in_words():
        store = ReadStore(place.database)
        try:
            return sorted(name for name in store.campaign_ids() if name.startswith(prefix))
        finally:
            store.close()


def _as_folder(campaign: str) -> Path | None:
    """A path to a campaign's folder, if it was written as a path."""
    if "/" not in campaign and campaign not in {".", ".."}:
        return None
    folder = Path(campaign).expanduser().resolve()
    for candidate in (folder, *folder.parents):  # a folder inside of it means it, too
        if candidate.parent.name == "campaigns":
            return candidate
    raise NotFound(f"{campaign} is no campaign's folder", "they are <root>/campaigns/<campaign>")
