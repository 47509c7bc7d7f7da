"""Rebuilding the database of a root from its files."""

from pathlib import Path

from overnight.api.errors import Refused, in_words
from overnight.api.places import launch_root
from overnight.artifacts.layout import of_root
from overnight.model.codec import Struct


class Rebuilt(Struct, frozen=True):
    """What came back. `set_aside`: where the old database is now."""

    root: str
    set_aside: str | None
    campaigns: tuple[tuple[str, int], ...]  # (campaign, runs)
    problems: tuple[str, ...]


def rebuild(root: str | Path | None = None) -> Rebuilt:
    """Make the database anew. Starts nothing; every campaign comes back paused.

    Raises `Refused` while a supervisor is up, or where there are no campaigns.
    """
    from overnight.artifacts.roots import state_dir
    from overnight.store import SqliteStore
    from overnight.supervisor.lock import Lock, Taken
    from overnight.supervisor.rebuild import Rebuild, set_aside_database
    from overnight.supervisor.wiring import SystemClock

    where = launch_root(root)
    if not (where / "campaigns").is_dir():
        raise Refused(f"there are no campaigns in {where}", "name the root: --root DIR")
    with in_words():
        state = state_dir(where)
        try:
            lock = Lock(state)
        except Taken as taken:
            raise Refused(
                "a supervisor is up and holds the database", f"overnight supervisor stop {of_root(where)}"
            ) from taken
        try:
            aside = set_aside_database(state)
            store = SqliteStore(state / "overnight.db")
            work = Rebuild(where, state, store, SystemClock())
            work.all()
            store.close()
        finally:
            lock.resign()
    return Rebuilt(str(where), None if aside is None else str(aside), tuple(work.campaigns), tuple(work.problems))
