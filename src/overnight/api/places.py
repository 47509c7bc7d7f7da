"""Where campaigns are: finding one by its name alone, from any directory.

A root that was given (`--root`) is the only one looked at. Else: `$OVERNIGHT_ROOT`, then `./overnight-runs`,
then every root that a launch of this user has remembered. The first that holds the campaign answers; that is
safe because a name holds the digest of what is computed, so a stranger's campaign cannot take it.

Strings and `os.path` here: pathlib alone is a tenth of what `status` may cost.
"""

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from overnight.api.errors import NotFound, OvernightError, Unreachable, in_words
from overnight.artifacts.finding import DATABASE, closed, known_roots, root_of_state, state_of
from overnight.model.codec import Struct
from overnight.model.reports import CampaignLine, UnreadRoot
from overnight.model.states import UNENDED

if TYPE_CHECKING:
    from pathlib import Path

    from overnight.store import ReadStore

T = TypeVar("T")

DEFAULT_ROOT = "overnight-runs"
_SILENT_SECONDS = 2.0  # for a root that nobody named


class Place(Struct, frozen=True):
    """A root and where its database, inbox and secrets are on this host. Both absolute."""

    root_name: str
    state_name: str

    @property
    def root(self) -> "Path":
        """The directory of campaigns."""
        from pathlib import Path

        return Path(self.root_name)

    @property
    def state(self) -> "Path":
        """The local directory of database, inbox and secrets."""
        from pathlib import Path

        return Path(self.state_name)

    @property
    def database(self) -> str:
        """The database file, which may not exist yet."""
        return os.path.join(self.state_name, DATABASE)

    @property
    def begun(self) -> bool:
        """Something has been launched here; perhaps by another user, who lets nobody look."""
        return os.path.exists(self.database) or closed(self.state_name)

    @property
    def itself(self) -> str:
        """The same for every path that leads here: links make one root look like several."""
        try:
            found = os.stat(self.database)
        except OSError:
            return self.state_name
        return f"{found.st_dev}:{found.st_ino}"


def launch_root(root: "str | Path | None") -> "Path":
    """The root that a launch writes to, absolute; it need not exist."""
    from pathlib import Path

    return Path(root_name(root))


def root_name(root: "str | Path | None") -> str:
    """The same as text."""
    chosen = root if root is not None else os.environ.get("OVERNIGHT_ROOT") or DEFAULT_ROOT
    return os.path.abspath(os.path.expanduser(chosen))


def place_of(root: str) -> Place:
    """The place of a root, found without writing anything. Before the first launch: where it will likely be."""
    reach(root)
    return _place_of(root)


def reach(root: str) -> None:
    """Raises `Unreachable` if the root is on a file server that does not answer: whoever touched it would sleep where
    not even Ctrl-C wakes him."""
    from overnight.artifacts.filesystems import answers, served_from

    point = served_from(root)
    if point and not answers(root):
        raise Unreachable(
            f"{root} does not answer: the file system at {point} hangs",
            "its runs go on as far as they can; a supervisor that lives goes on watching them",
        )


def _place_of(root: str) -> Place:
    return Place(root, os.path.abspath(state_of(root) or _meant(root) or os.path.join(root, ".state")))


def _meant(root: str) -> str | None:
    """$OVERNIGHT_STATE, unless it is another root's: its campaigns are not to be shown, or changed, as this one's."""
    state = os.environ.get("OVERNIGHT_STATE")
    if not state:
        return None
    return state if root_of_state(state) in ("", root) else None


def places_to_look(root: "str | Path | None" = None, silent: "Silent | None" = None) -> Iterator[Place]:
    """Places that may hold a campaign, nearest first, each once; those without a database are left out, and those that
    nobody named and that hang: `silent` knows which."""
    if root is not None:
        reach(root_name(root))
    silent = silent or Silent()
    seen: set[str] = set()
    for candidate in _roots(root):
        if candidate not in seen:
            seen.add(candidate)
            if root is None and silent.holds(candidate):
                continue
            place = _place_of(candidate)
            if place.begun and (itself := place.itself) not in seen:
                seen.add(itself)
                yield place


class Silent:
    """Roots that do not answer, which keeps nobody from the others: on file systems that hang, each asked once; or with
    a database that cannot be read."""

    def __init__(self) -> None:
        self._asked: dict[str, bool] = {}
        self._faults: dict[str, str] = {}

    @property
    def points(self) -> list[str]:
        """Where they are mounted."""
        return [point for point, answered in self._asked.items() if not answered]

    @property
    def left_out(self) -> list[UnreadRoot]:
        """What is to be said of them."""
        hanging = dict.fromkeys(self.points, "its file system hangs")
        return [UnreadRoot(root, why) for root, why in {**self._faults, **hanging}.items()]

    def unread(self, root: str, why: str) -> None:
        """Its database does not answer."""
        self._faults[root] = why

    def holds(self, root: str) -> bool:
        """Whether the root is on one of them."""
        from overnight.artifacts.filesystems import answers, served_from

        point = served_from(root)
        if point and point not in self._asked:
            self._asked[point] = answers(root, _SILENT_SECONDS)
        return bool(point) and not self._asked[point]


def _roots(root: "str | Path | None") -> Iterator[str]:
    if root is not None:
        yield root_name(root)
        return
    if os.environ.get("OVERNIGHT_ROOT"):
        yield root_name(None)
    yield os.path.abspath(DEFAULT_ROOT)
    here = os.uname().nodename
    for known in known_roots():
        if known.host == here:
            yield os.path.abspath(known.root)


def find(campaign: str, root: "str | Path | None" = None) -> tuple[Place, str]:
    """The place and full ID of the campaign named by ID, name, unique prefix or folder. Raises `NotFound`."""
    if not campaign:
        raise NotFound("no campaign was named", "overnight status lists them")
    folder = _as_folder(campaign)
    if folder is not None:
        root, campaign = os.path.dirname(os.path.dirname(folder)), os.path.basename(folder)

    def matching(place: Place, store: "ReadStore") -> list[str]:
        names = sorted(name for name in store.campaign_ids() if name.startswith(campaign))
        named = [name for name in names if name.rpartition("-")[0] == campaign]
        return named if len(named) == 1 and campaign not in names else names

    silent = Silent()
    for place, names in _asked(root, matching, silent):
        if campaign in names or len(names) == 1:
            return place, campaign if campaign in names else names[0]
        if names:
            raise NotFound(
                f"{campaign!r} may be any of {', '.join(names[:8])}", "type as much of the name as makes it one"
            )
    raise _unknown(campaign, root, silent)


def all_campaigns(root: "str | Path | None" = None, silent: Silent | None = None) -> list[tuple[Place, CampaignLine]]:
    """Every campaign of the places to look, newest first.

    Raises `NotFound` where there is nothing because another host leads the root.
    """
    found = [(place, line) for place, lines in _asked(root, _lines, silent) for line in lines]
    if not found:
        check_leader(root_name(root))
    found.sort(key=lambda pair: pair[1].created_at, reverse=True)
    return found


def nearest_active(root: "str | Path | None" = None, silent: Silent | None = None) -> list[tuple[Place, CampaignLine]]:
    """The campaigns that have not ended, of the nearest place that has any."""
    for place, lines in _asked(root, _lines, silent):
        active = [(place, line) for line in lines if line.state in UNENDED]
        if active:
            return active
    return []


def _lines(place: Place, store: "ReadStore") -> list[CampaignLine]:
    from overnight import queries

    return queries.campaigns(store, place.root_name)


def _asked(
    root: "str | Path | None",
    question: "Callable[[Place, ReadStore], list[T]]",
    silent: Silent | None = None,
) -> Iterator[tuple[Place, list[T]]]:
    """A question to each place in turn. A database that cannot be read (damaged, or of a newer version) keeps
    nobody from the others, and `silent` knows it; only if nobody answers at all is it an error."""
    from overnight.store import ReadStore

    problem: OvernightError | None = None
    answered = False
    for place in places_to_look(root, silent):
        try:
            with in_words():
                store = ReadStore(place.database)
                try:
                    answer = question(place, store)
                finally:
                    store.close()
        except OvernightError as fault:
            problem = problem or fault
            if silent is not None:
                silent.unread(place.root_name, fault.message)
            continue
        answered = answered or bool(answer)
        yield place, answer
    if problem is not None and not answered:
        raise problem


def check_leader(root: str) -> None:
    """Raises `NotFound` for a root that another host leads: this one knows nothing of its campaigns."""
    from overnight.artifacts.filesystems import answers, served_from
    from overnight.artifacts.layout import of_root
    from overnight.artifacts.lease import read_lease

    if served_from(root) and not answers(root, _SILENT_SECONDS):
        return
    try:
        leader = read_lease(root)
    except OSError:
        return
    if leader is not None and leader.host != os.uname().nodename and not _place_of(root).begun:
        raise NotFound(
            f"host {leader.host} leads {root}, and this one knows nothing of its campaigns",
            f"ask there; if that host is gone: overnight resume {of_root(root)}",
        )


def _unknown(campaign: str, root: "str | Path | None", silent: Silent) -> OvernightError:
    if root is not None:
        check_leader(root_name(root))
        return NotFound(f"no campaign {campaign!r} under {root_name(root)}", "overnight status --root DIR lists them")
    if silent.points:
        hanging = ", ".join(silent.points)
        return Unreachable(
            f"no campaign {campaign!r} where anything answers; the file system at {hanging} hangs",
            "when it answers again, ask again: its campaigns are where they were",
        )
    elsewhere = next((known for known in known_roots() if known.campaign.startswith(campaign)), None)
    if elsewhere is not None and elsewhere.host != os.uname().nodename:
        return NotFound(f"{elsewhere.campaign} was launched on host {elsewhere.host}", "ask there")
    if elsewhere is not None:
        return NotFound(
            f"{elsewhere.campaign} was launched under {elsewhere.root}, which no longer has it",
            "if the directory was moved, name it: --root DIR",
        )
    return NotFound(f"no campaign {campaign!r}", "overnight status lists what there is; --root names another root")


def _as_folder(campaign: str) -> str | None:
    """A path to a campaign's folder, if it was written as a path."""
    if "/" not in campaign and campaign not in {".", ".."}:
        return None
    folder = os.path.realpath(os.path.expanduser(campaign))
    while os.path.dirname(folder) != folder:  # a folder inside of it means it, too
        if os.path.basename(os.path.dirname(folder)) == "campaigns":
            return folder
        folder = os.path.dirname(folder)
    raise NotFound(f"{campaign} is no campaign's folder", "they are <root>/campaigns/<campaign>")
