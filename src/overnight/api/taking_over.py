"""Another host takes a root over: its lease is watched by our own clock, then its work goes on here."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from overnight.api.campaign import Campaign
from overnight.api.errors import NotFound, Refused, Unreachable, in_words
from overnight.api.places import Place, launch_root, place_of, reach
from overnight.artifacts.layout import of_root
from overnight.supervisor import keep

if TYPE_CHECKING:
    from overnight.artifacts.lease import Lease
    from overnight.model.requests import Answer
    from overnight.supervisor.takeover import TakenOver

SILENT_SECONDS = 90.0  # nine renewals that did not come
LOOK_SECONDS = 1.0
GAP_SECONDS = 5.0  # between two looks: it is we who were away


def to_take_over(root: str | Path | None) -> "Lease | None":
    """The lease of the host that leads the root that was named, if that is another one, or if taking it over was begun
    here and not finished. Raises `Unreachable` if it cannot be read."""
    from overnight.artifacts.lease import read_lease
    from overnight.artifacts.roots import find_state_dir
    from overnight.supervisor.takeover import unfinished

    where = launch_root(root)
    reach(str(where))
    try:
        leader = read_lease(str(where))
        if leader is None:
            return None
        state = find_state_dir(where)
        if state is None or keep.led_elsewhere(where, state) is not None:
            return leader
        return leader if not keep.supervised(state) and unfinished(state, leader) else None
    except OSError as problem:
        closed = isinstance(problem, PermissionError)
        hint = (
            "it is another user's: ask as that user, or name a root of your own" if closed else "is its volume mounted?"
        )
        raise Unreachable(f"nobody can tell who leads {where}: {problem}", hint) from problem


def take_over(
    root: str | Path | None, leader: "Lease", tell: Callable[[str], None], *, host_gone: bool = False,
    silent_seconds: float | None = None, clock: Callable[[], float] = time.monotonic,
) -> "tuple[Place, TakenOver]":  # fmt: skip
    """Wait until `leader` has been silent for so long (90 s), then lead the root from here.

    `host_gone`: a person says that its host is gone for good, although its supervisor was stopped with attempts alive.
    Raises `Refused` if the host shows itself, or left attempts alive and nobody says it is gone.
    """
    from overnight.artifacts.roots import state_dir
    from overnight.supervisor.takeover import take_over as lead
    from overnight.supervisor.wiring import SystemClock

    where = launch_root(root)
    with in_words():
        state = state_dir(where)
        if keep.led_elsewhere(where, state) is not None:
            _refuse_stopped(leader, where, host_gone)
            _watch(str(where), state, leader, tell, silent_seconds or SILENT_SECONDS, clock)
        found = lead(where, state, leader, SystemClock())
        place = place_of(str(where))
        _remember(place)
    return place, found


def _remember(place: Place) -> None:
    """From now on their names are enough on this host, from any directory."""
    from overnight.artifacts.roots import remember_root
    from overnight.store import ReadStore

    store = ReadStore(place.database)
    try:
        for campaign in store.campaign_ids():
            remember_root(place.root, campaign)
    finally:
        store.close()


def _refuse_stopped(leader: "Lease", root: Path, host_gone: bool) -> None:
    if leader.stopped and leader.live and not host_gone:
        raise Refused(
            f"the supervisor on {leader.host} was stopped while {leader.live} of its attempts were alive; here they "
            "would run a second time",
            f"there: overnight supervisor start {of_root(root)}; or, if that host is gone for good, say --host-gone",
        )


def _watch(
    root: str, state: Path, leader: "Lease", tell: Callable[[str], None], silent_seconds: float,
    clock: Callable[[], float],
) -> None:  # fmt: skip
    from overnight.artifacts.lease import my_lease, read_lease

    if leader.stopped:
        return  # its last word
    tell(f"host {leader.host} leads {root}; watching its lease for {silent_seconds:g} s")
    since = looked = clock()
    while clock() - since < silent_seconds:
        time.sleep(min(LOOK_SECONDS, silent_seconds / 10))
        if clock() - looked > GAP_SECONDS:
            since = clock()
        looked = clock()
        now = read_lease(root)
        if now is not None and now.same_ground(my_lease(str(state))):
            raise Refused(f"another command here has just taken {root} over", f"overnight resume {of_root(root)}")
        if now != leader:
            host = leader.host if now is None else now.host
            raise Refused(
                f"host {host} leads {root}: it renewed its lease while we looked on",
                "ask there; overnight supervisor stop there lets this host take over",
            )


def resume_all(place: Place, *, moved: bool) -> "list[tuple[Campaign, Answer]]":
    """Let every campaign of the root go on that has not ended. `moved`: on this shell's GPUs, not those of before."""
    from overnight.api import changes
    from overnight.store import ReadStore

    if not place.begun:
        raise NotFound(f"nothing has been launched under {place.root}", "--root names the directory of campaigns")
    with in_words():
        store = ReadStore(place.database)
        try:
            names = [record.id for record in store.campaigns() if record.ended is None]
        finally:
            store.close()
    if not names:
        raise NotFound(f"no campaign of {place.root} waits to go on", "overnight status lists them")
    found = [Campaign(name, place) for name in names]
    return [(campaign, changes.resume(campaign, (), moved=moved)) for campaign in found]
