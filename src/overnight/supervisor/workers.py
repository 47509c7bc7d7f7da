"""Workers: effects and looks happen off the loop. Jobs of one run are done in the order they were given."""

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Protocol

from overnight.model.codec import Struct
from overnight.ports import RunRef

LANES = {"quick": 2, "slow": 4, "look": 2}
"""Threads by lane: starts and stops; verification, hashing and evidence; looks."""


class Done(Struct):
    """A job is done: `value`, or the exception it ended with."""

    tag: object
    value: Any = None
    problem: BaseException | None = None


class Workers(Protocol):
    """Does jobs somewhere else."""

    def submit(self, lane: str, tag: object, job: Callable[[], Any], ref: RunRef | None = None) -> None:
        """Do `job` in a lane; with `ref`, after all earlier jobs of that run."""

    def results(self) -> Sequence[Done]:
        """Jobs that are done since the last call."""

    def fileno(self) -> int | None:
        """Readable when there are results."""

    def idle(self) -> bool:
        """Nothing is under way."""

    def close(self) -> None: ...


class ThreadWorkers:
    """Threads, a few per lane. Daemonic: a job that hangs on a dead file system does not keep us from going."""

    def __init__(self, lanes: dict[str, int] | None = None) -> None:
        self._counts = lanes or LANES
        self._lanes = {lane: SimpleQueue[Any]() for lane in self._counts}
        self._done: deque[Done] = deque()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._chains: dict[RunRef, deque[tuple[str, object, Callable[[], Any]]]] = {}
        self._under_way = 0
        for lane, count in self._counts.items():
            for _ in range(count):
                threading.Thread(target=self._work, args=(self._lanes[lane],), daemon=True, name=lane).start()

    def submit(self, lane: str, tag: object, job: Callable[[], Any], ref: RunRef | None = None) -> None:
        with self._lock:
            self._under_way += 1
            if ref is not None:
                chain = self._chains.get(ref)
                if chain is not None:
                    chain.append((lane, tag, job))
                    return
                self._chains[ref] = deque()
        self._lanes[lane].put((tag, job, ref))

    def _work(self, queue: "SimpleQueue[Any]") -> None:
        while True:
            item = queue.get()
            if item is None:
                return
            tag, job, ref = item
            try:
                done = Done(tag, job())
            except BaseException as problem:
                done = Done(tag, None, problem)
            self._finish(done, ref)

    def _finish(self, done: Done, ref: RunRef | None) -> None:
        following = None
        with self._lock:
            self._under_way -= 1
            if not self._done:  # under the lock: `results` reads the event once for all that it takes
                os.eventfd_write(self._wake, 1)
            self._done.append(done)
            if ref is not None:
                chain = self._chains[ref]
                if chain:
                    following = chain.popleft()
                else:
                    del self._chains[ref]
        if following is not None:
            lane, tag, job = following
            self._lanes[lane].put((tag, job, ref))

    def results(self) -> Sequence[Done]:
        with self._lock:
            if self._done:
                os.eventfd_read(self._wake)
            done = list(self._done)
            self._done.clear()
        return done

    def fileno(self) -> int | None:
        return self._wake

    def idle(self) -> bool:
        with self._lock:
            return self._under_way == 0 and not self._done

    def close(self) -> None:
        for lane, count in self._counts.items():
            for _ in range(count):
                self._lanes[lane].put(None)
