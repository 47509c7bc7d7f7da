"""When a supervisor that ended is started again. Reads no clock: the caller says what time it is."""

import os
import signal
from collections import deque

_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM)
TAKEN = 6  # a supervisor's exit code: another one holds the root, whose keeper is dead, so that it will go too
_TAKEN_FIRST, _TAKEN_LONGEST = 0.25, 5.0


class Respawn:
    """The rules, and the deaths they are applied to. All times in seconds.

    Killed from outside: back at once, however often. Died of its own fault: at once `at_once` times, then
    after `first`, doubled up to `longest`; a life of `settled` begins the count anew. After `allowed` faults
    `within` a time it only watches from then on: limits and exits are kept, nothing new starts. One that found
    another in its place is no fault: the other one goes in a moment, and somebody must be here then.
    """

    # Not a dataclass: the module it needs would be part of every fork.
    def __init__(
        self,
        *,
        at_once: int = 3,
        first: float = 1.0,
        longest: float = 60.0,
        allowed: int = 10,
        within: float = 600.0,
        settled: float = 600.0,
        apart: float = 0.2,
    ) -> None:
        self.watch_only = False
        self._at_once, self._first, self._longest = at_once, first, longest
        self._allowed, self._within, self._settled = allowed, within, settled
        self._apart = apart  # of two starts, however it died: a machine out of memory is not helped by a storm
        self._in_a_row = 0
        self._taken = 0
        self._faults: deque[float] = deque()

    @property
    def contended(self) -> bool:
        """The last one found another in its place."""
        return self._taken > 0

    def ended(self, status: int, lived: float, now: float) -> float | None:
        """Seconds until the next start, or None: it was meant to stop. `status` as of waitpid(2)."""
        if lived >= self._settled:
            self._in_a_row = 0
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            return None
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == TAKEN:
            self._taken += 1
            return min(_TAKEN_FIRST * 2.0 ** min(self._taken - 1, 16), _TAKEN_LONGEST)
        self._taken = 0
        soonest = max(0.0, self._apart - lived)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) in _FROM_OUTSIDE:
            return soonest
        self._in_a_row += 1
        self._faults.append(now)
        while self._faults and now - self._faults[0] > self._within:
            self._faults.popleft()
        self.watch_only = self.watch_only or len(self._faults) >= self._allowed
        if self._in_a_row <= self._at_once:
            return soonest
        doublings = min(self._in_a_row - self._at_once - 1, 32)
        return max(soonest, min(self._first * 2.0**doublings, self._longest))
