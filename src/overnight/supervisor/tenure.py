"""Leading a root: the supervisor's side of its lease."""

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from overnight.artifacts.lease import Lease, my_lease, read_lease, renew_lease, take_lease, told

T = TypeVar("T")

META = "lease_term"  # in the database: the term whose work it holds
BEGIN_SECONDS = 5.0  # for a root's file system, which may hang
LEAVE_SECONDS = 2.0
_TRIES = 5


class LeaseTenure:
    """Our term. `superseded`: words if another host, or another state of this one, leads the root."""

    def __init__(
        self, root: Path, state: Path, led: int | None = None, wall: Callable[[], float] = time.time,
        within_seconds: float = BEGIN_SECONDS,
    ) -> None:  # fmt: skip
        """Begin the first term of a root that nobody has led, or go on with our own. `led`: the term that our
        database is of; where the root cannot be read now, or not in so long, that is what we know. Raises OSError."""
        self._root, self._wall = str(root), wall
        self.superseded = ""
        mine = my_lease(str(state), led or 1)
        try:
            leader = _within(within_seconds, lambda: self._begin(mine), self._root)
        except OSError:
            if led is None:
                raise
            leader = mine
        if led is not None and not leader.ground:
            leader = mine  # see `_is_another`
        self._lease = leader
        if not leader.same_ground(mine):
            self.superseded = led_words(leader)
        self._beat = leader.beat

    def _begin(self, mine: Lease) -> Lease:
        for _ in range(_TRIES):
            leader = read_lease(self._root)
            if leader is not None:
                return leader
            if take_lease(self._root, mine):
                return mine
        raise OSError(f"the lease of {self._root} appears and disappears")

    @property
    def term(self) -> int:
        """The root's present term."""
        return self._lease.term

    def renew(self, live: int) -> str:
        """Say that we still lead, with so many live attempts; words if somebody else does by now. May block.
        Raises OSError: then nothing is known."""
        leader = read_lease(self._root)
        if leader is None:  # somebody has removed our claim: whoever came now would take the same term
            take_lease(self._root, self._lease)
        if leader is None or not self._is_another(leader):
            self._say(live)
            return ""
        self.superseded = led_words(leader)
        return self.superseded

    def _is_another(self, leader: Lease) -> bool:
        """Somebody who is named: a damaged claim ends nobody's runs; one that is being written soon has a name."""
        known = bool(leader.ground) and not leader.same_ground(self._lease)
        return known and leader.term >= self._lease.term

    def leave(self, live: int) -> None:
        """A person stops the supervisor: our last word. What cannot be written, or not in time, is left."""
        with contextlib.suppress(OSError):
            _within(LEAVE_SECONDS, lambda: self._say(live, stopped=True), self._root)

    def _say(self, live: int, *, stopped: bool = False) -> None:
        self._beat += 1
        renew_lease(self._root, told(self._lease, self._beat, self._wall(), live, stopped=stopped))


def _within(seconds: float, work: Callable[[], T], root: str) -> T:
    """What `work` returns or raises. Raises TimeoutError, and leaves it where it is, when it takes too long."""
    found: list[T] = []
    problems: list[Exception] = []

    def done() -> None:
        try:
            found.append(work())
        except Exception as problem:
            problems.append(problem)

    worker = threading.Thread(target=done, daemon=True, name="lease")
    worker.start()
    worker.join(seconds)
    if found:
        return found[0]
    raise problems[0] if problems else TimeoutError(f"{root} has not answered within {seconds:g} s")


def led_words(leader: Lease) -> str:
    """Who leads, as a sentence."""
    where = f" (state in {leader.state})" if leader.state else ""
    return f"host {leader.host}{where} leads this root, in term {leader.term}"
