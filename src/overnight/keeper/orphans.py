"""What a killed shim leaves behind falls to the keeper, which ends it: TERM, time, KILL until nothing is left."""

import os
import signal
from collections.abc import Collection

from overnight.shim.shim import Descendant, descendants, send

_Key = tuple[int, int]


class Orphans:
    """The children of the keeper that are nobody's any more. Times in seconds, said by the caller."""

    def __init__(self, grace: float = 5.0, every: float = 0.2) -> None:
        self._grace, self._every = grace, every
        self._deadlines: dict[_Key, float] = {}
        self._next = 0.0
        self._pause = every

    @staticmethod
    def unknown(known: Collection[int]) -> list[Descendant]:
        """Children of the calling process that are not among `known`."""
        return [child for child in descendants(os.getpid(), deep=False) if child.pid not in known]

    def take(self, children: Collection[Descendant], now: float) -> list[int]:
        """End these. They are tops of their trees: what is below them is asked by them, or killed in the end.

        Returns the pids of those that were not being ended already.
        """
        taken = [child for child in children if child.key not in self._deadlines and not child.dead]
        for child in taken:
            self._deadlines[child.key] = now + self._grace
            send(*child.key, signal.SIGTERM)
        if taken:
            self._next, self._pause = min(self._next, now + self._every), self._every
        return [child.pid for child in taken]

    def due(self) -> float | None:
        """When `tick` wants to be called; None while there is nothing to end."""
        return self._next if self._deadlines else None

    def tick(self, now: float, known: Collection[int]) -> None:
        """Follow the trees: what their dead left falls to us, what outstayed its time is killed."""
        if not self._deadlines or now < self._next:
            return
        children = {child.key: child for child in self.unknown(known)}
        last = max(self._deadlines.values())
        self._deadlines = {key: when for key, when in self._deadlines.items() if key in children}
        fallen = children.keys() - self._deadlines.keys()
        # A shim may have died since the last reap: then these are its own, and `take` has to see them first.
        for pid, start_ticks in () if fallen and self._somebody_ended() else fallen:
            self._deadlines[pid, start_ticks] = last  # fallen from one of ours: no longer than it had
            send(pid, start_ticks, signal.SIGTERM)
        late = [key for key, when in self._deadlines.items() if when <= now]
        self.kill(late)
        # State D cannot be killed: it is tried for ever, at leisure.
        self._pause = min(self._pause * 1.5, 5.0) if late else self._every
        self._next = now + self._pause

    @staticmethod
    def _somebody_ended() -> bool:
        try:
            return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return False

    def kill(self, keys: Collection[_Key] | None = None) -> None:
        """KILL these (all, if none are named) and all below them."""
        for pid, start_ticks in self._deadlines if keys is None else keys:
            below = list(descendants(pid))
            if send(pid, start_ticks, signal.SIGKILL):
                for each in below:
                    send(each.pid, each.start_ticks, signal.SIGKILL)

    def __contains__(self, child: Descendant) -> bool:
        return child.key in self._deadlines
