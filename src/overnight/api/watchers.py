"""Starting, stopping and asking after the supervisor of a root."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from overnight.api.errors import NotFound, Refused, Unreachable, in_words
from overnight.api.places import Place, launch_root, place_of, places_to_look, root_name
from overnight.api.shell import by
from overnight.artifacts.finding import closed
from overnight.model.requests import StopSupervisor
from overnight.supervisor import inbox, keep

if TYPE_CHECKING:
    from overnight.model.reports import SupervisorReport

STOP_SECONDS = 15.0


def place(root: str | Path | None = None) -> Place:
    """The root meant: the one given, else the nearest that has a database."""
    if root is None and not os.environ.get("OVERNIGHT_ROOT") and not launch_root(None).exists():
        found = list(places_to_look())
        if len(found) == 1:
            return found[0]
        if found:
            roots = ", ".join(str(known.root) for known in found[:5]) + (", …" if len(found) > 5 else "")
            raise Refused(f"there are {len(found)} roots: {roots}", "say which: --root DIR")
    here = place_of(root_name(root))
    if not here.root.is_dir():
        raise NotFound(f"there is no root {here.root}", "overnight launch makes it, or name another: --root DIR")
    return here


def start(where: Place) -> None:
    """Bring a supervisor up. Raises `Unreachable` if none comes."""
    from overnight.artifacts.roots import state_dir

    with _reached():
        keep.check_owner(where.state)
        with in_words():
            state_dir(where.root, os.environ)
        keep.forget_stopped(where.state)
        keep.ensure_keeper(where.root, where.state)


def stop(where: Place) -> bool:
    """Ask the supervisor to go and wait until it has gone. The wish stays until somebody asks for work.
    False: there was none. Raises `Unreachable` if it does not go."""
    with _reached():
        keep.check_owner(where.state)
    if where.state.is_dir():
        keep.wish_stopped(where.state, f"stopped by {by()}")
    return _gone(where)


def restart(where: Place) -> None:
    """Bring another supervisor up in place of this one; who waits for a campaign goes on waiting. Interrupted, it
    leaves one behind all the same. Raises `Unreachable` if the old one does not go, or none comes."""
    with _reached():
        keep.check_owner(where.state)
    if where.state.is_dir():
        keep.wish_handed_over(where.state, by())
    try:
        _gone(where)
    finally:
        start(where)


def _gone(where: Place) -> bool:
    if not _up(where):
        return False
    request = StopSupervisor(id=inbox.new_request_id(), by=by())
    with in_words():
        inbox.submit(where.state, request)
    deadline = time.monotonic() + STOP_SECONDS
    # Killed before it took the request, it is back in a moment and takes it then: the file decides, too.
    while _up(where) or (inbox.pending(where.state, request.id) and time.monotonic() < deadline):
        if time.monotonic() > deadline:
            inbox.withdraw(where.state, request.id)
            raise Unreachable(
                f"the supervisor of {where.root} has not gone within {STOP_SECONDS:g} s",
                f"see {where.state / keep.SUPERVISOR_LOG}",
            )
        time.sleep(0.02)
    inbox.withdraw(where.state, request.id)
    return True


@contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except keep.CannotSupervise as problem:
        raise Unreachable(problem.message, problem.hint) from problem


def _up(where: Place) -> bool:
    return keep.supervised(where.state)


def report(where: Place) -> "SupervisorReport":
    """Whether somebody is watching. Raises `Unreachable` where another user's state lets nobody look."""
    from overnight import queries

    if closed(where.state_name):
        with _reached():
            keep.check_owner(where.state)

    return queries.supervisor_report(where.state_name)
