"""Timers of watched attempts. Those of attempts that are done are forgotten, not waited for."""

import heapq
from collections.abc import Callable

from overnight.executors.watched import Phase, Watched

Action = Callable[[Watched], None]


class Timers:
    """When to call what for which attempt; monotonic seconds. Not thread-safe: its executor locks."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Watched, Action]] = []
        self._count = 0  # equal times go in order

    def add(self, at: float, watched: Watched, action: Action) -> None:
        """Call `action(watched)` at `at`, unless the attempt is done by then."""
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, watched, action))

    def due(self) -> float | None:
        """The earliest time, or None."""
        while self._heap and self._heap[0][2].phase == Phase.DONE:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop(self, now: float) -> tuple[Watched, Action] | None:
        """The next one that is due, or None."""
        due = self.due()
        if due is None or due > now:
            return None
        _, _, watched, action = heapq.heappop(self._heap)
        return watched, action

    def clear(self) -> None:
        """Forget all."""
        self._heap.clear()
