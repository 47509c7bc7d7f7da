"""Waiting: until there is something to decide. The loop's only place to sleep.

What our own workers have done shares a turn, and its one commit, with the next thing that happens outside: at two
runs a few milliseconds each, that makes one transaction a run instead of four.
"""

import select
import time
from collections.abc import Callable
from typing import Protocol

LINGER_SECONDS = 0.004  # so long a worker's result waits for company; nothing that a person or a limit would notice


class Pumped(Protocol):
    """An executor whose descriptor also wakes us for what concerns nobody else."""

    def fileno(self) -> int | None: ...

    def pump(self) -> bool:
        """Do what is due; whether `poll` has anything to tell."""

    def due(self) -> float | None: ...


class Waiting:
    """Sleeps on the executor, the inbox and the workers."""

    def __init__(
        self, executor: Pumped, inbox: int, workers: int | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._executor = executor
        self._inbox = inbox
        self._workers = workers
        self._clock = clock
        self._urgent, self._all = select.epoll(), select.epoll()
        for fd in (executor.fileno(), inbox, workers):
            if fd is not None:
                self._all.register(fd, select.EPOLLIN)
                if fd != workers:
                    self._urgent.register(fd, select.EPOLLIN)

    def wait(self, seconds: float) -> bool:
        """Return when a turn is worth its cost, at most after `seconds`. True: the inbox has been poked."""
        until = self._clock() + seconds
        on = self._all
        while True:
            ready = [fd for fd, _ in on.poll(self._left(until))]
            if self._inbox in ready:
                return True
            if self._executor.pump() or self._clock() >= until:
                return False
            if self._workers in ready:
                on, until = self._urgent, min(until, self._clock() + LINGER_SECONDS)

    def _left(self, until: float) -> float:
        due = self._executor.due()
        return max(0.0, (until if due is None else min(until, due)) - self._clock())

    def close(self) -> None:
        """Let go of the descriptors."""
        self._urgent.close()
        self._all.close()
