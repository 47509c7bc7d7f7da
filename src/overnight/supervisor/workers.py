"""Workers: what may block is done without the loop waiting for it.

The thread that runs the loop does the jobs itself, between two turns: nearly all of them take well under a
millisecond, and handing each to another thread costs ten times that (Python's threads take the interpreter from each
other at every system call). A job that takes longer than `PATIENCE` deposes its thread: a new one leads the loop
from there on, and the old one ends when its job does, be that a large hash, a stack dump or a dead file system.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from overnight.model.codec import Struct
from overnight.ports import RunRef

log = logging.getLogger(__name__)

PATIENCE = 0.02  # seconds that the loop waits for a job
SHARE = 0.05  # seconds of jobs between two turns
MOST = 1000  # threads with long jobs (hung in a dead file system, most likely); beyond that no job is begun

Job = Callable[[], Any]


class Done(Struct):
    """A job is done: `value`, or the exception it ended with."""

    tag: object
    value: Any = None
    problem: BaseException | None = None


class Workers(Protocol):
    """Does jobs, without the loop waiting for long ones."""

    def submit(self, tag: object, job: Job, ref: RunRef | None = None) -> None:
        """Do `job`; with `ref`, after all earlier jobs of that run."""

    def results(self) -> Sequence[Done]:
        """Jobs that are done since the last call."""

    def fileno(self) -> int | None:
        """Readable when there are results of jobs that took long."""

    def waiting(self) -> bool:
        """Jobs are there to be done by the next `results`."""


class Deposed(BaseException):
    """Ends the thread whose job took too long: somebody else leads the loop now. No handler may swallow it."""


class LeaderWorkers:
    """Jobs done by whoever leads the loop. `lead` runs a loop so; without it, `results` simply does the jobs."""

    def __init__(self, patience: float = PATIENCE, most: int = MOST) -> None:
        self._patience = patience
        self._most = most
        self._ready: deque[tuple[object, Job, RunRef | None]] = deque()
        self._behind: dict[RunRef, deque[tuple[object, Job, RunRef | None]]] = {}  # of a run with a job under way
        self._done: list[Done] = []
        self._late = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._change = threading.Condition()
        self._generation = 0  # of leaders
        self._mine = threading.local()
        self._since: float | None = None  # when the leader's present job began (monotonic)
        self._watching = False  # whether the thread in `lead` has its eye on the leader
        self._deposed = 0
        self._outcome: list[int | BaseException] = []

    # --- the loop's side -----------------------------------------------------------------------------------

    def submit(self, tag: object, job: Job, ref: RunRef | None = None) -> None:
        with self._change:
            if ref is not None:
                behind = self._behind.get(ref)
                if behind is not None:
                    behind.append((tag, job, ref))
                    return
                self._behind[ref] = deque()
            self._ready.append((tag, job, ref))

    def results(self) -> Sequence[Done]:
        """Does the jobs that wait, for a share of time. Raises `Deposed` in a thread that no longer leads."""
        until = time.monotonic() + SHARE
        while True:
            with self._change:
                now = time.monotonic()
                if not self._ready or now > until or self._deposed >= self._most:
                    break
                tag, job, ref = self._ready.popleft()
                self._since = now
                if not self._watching:
                    self._watching = True
                    self._change.notify()
            try:
                done = Done(tag, job())
            except Exception as problem:
                done = Done(tag, None, problem)
            self._finish(done, ref)
        with self._change:
            found, self._done = self._done, []
        return found

    def _finish(self, done: Done, ref: RunRef | None) -> None:
        with self._change:
            self._done.append(done)
            leads = getattr(self._mine, "generation", 0) == self._generation
            if leads:
                self._since = None
            if ref is not None:
                behind = self._behind[ref]
                if behind:
                    self._ready.append(behind.popleft())
                else:
                    del self._behind[ref]
            if not leads:
                self._deposed -= 1
                os.eventfd_write(self._late, 1)
                raise Deposed

    def fileno(self) -> int | None:
        return self._late

    def waiting(self) -> bool:
        with self._change:
            return bool(self._done) or (bool(self._ready) and self._deposed < self._most)

    def heard(self) -> None:
        """The descriptor has done its duty."""
        try:
            os.eventfd_read(self._late)
        except BlockingIOError:
            return

    # --- leading -------------------------------------------------------------------------------------------

    def lead(self, loop: Callable[[], int]) -> int:
        """Run `loop` in a thread, and in another one from where it stands whenever a job takes too long. Returns
        what it returns; raises what it raises."""
        self._crown(loop)
        with self._change:
            while not self._outcome:
                if not self._watching:
                    self._change.wait()
                    continue
                self._change.wait(self._patience)
                if self._since is None:
                    self._watching = False
                elif time.monotonic() - self._since >= self._patience:
                    self._deposed += 1
                    self._since = None
                    self._generation += 1
                    self._crown(loop)
        outcome = self._outcome[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _crown(self, loop: Callable[[], int]) -> None:
        threading.Thread(target=self._reign, args=(loop, self._generation), daemon=True, name="leader").start()

    def _reign(self, loop: Callable[[], int], generation: int) -> None:
        self._mine.generation = generation
        try:
            outcome: int | BaseException = loop()
        except Deposed:
            return
        except BaseException as problem:
            outcome = problem
        with self._change:
            self._outcome.append(outcome)
            self._change.notify()
