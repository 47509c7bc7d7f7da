"""Ports in memory: inbox, files, code and workers that a simulated world keeps while supervisors come and go."""

import errno
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from overnight.model.campaign import Campaign
from overnight.model.policy import CodeIdentity
from overnight.model.requests import Request
from overnight.model.room import Room
from overnight.ports import AttemptRef, FinishOrder, RunRef, StartOrder
from overnight.supervisor.workers import Done


class MemoryInbox:
    """Requests that wait to be taken. Survives a crash, as files do."""

    def __init__(self) -> None:
        self.waiting: dict[str, Request] = {}

    def put(self, request: Request) -> None:
        """A client asks."""
        self.waiting[request.id] = request

    def read(self) -> Sequence[Request]:
        return list(self.waiting.values())

    def delete(self, request_ids: Sequence[str]) -> None:
        for request_id in request_ids:
            self.waiting.pop(request_id, None)


class MemoryFiles:
    """What would be on disk: attempt directories that exist once, and who wrote which summary."""

    def __init__(self) -> None:
        self.directories: set[str] = set()
        self.finished: dict[RunRef, list[tuple[int, str]]] = {}  # (epoch, state), one a time it was written
        self.aside: list[tuple[str, int]] = []
        self.campaigns: dict[str, Campaign] = {}
        self.free_bytes = 10**11
        self.stale = False  # nobody can tell how much room is left
        self.fail_next: dict[str, OSError] = {}  # by method name: raised once

    def _ground(self, method: str) -> None:
        problem = self.fail_next.pop(method, None)
        if problem is not None:
            raise problem

    def prepare(self, order: StartOrder) -> bool:
        self._ground("prepare")
        if order.attempt_dir in self.directories:
            return False
        self.directories.add(order.attempt_dir)
        return True

    def room(self) -> Sequence[Room]:
        if self.stale:
            raise OSError(errno.ESTALE, "Stale file handle")
        return [Room("/sim", self.free_bytes, 10**12)]

    def publish(self, target: AttemptRef) -> None: ...

    def finish(self, order: FinishOrder) -> None:
        self._ground("finish")
        ref = RunRef(order.run.campaign, order.run.run_id)
        self.finished.setdefault(ref, []).append((order.run.epoch, order.run.state.value))

    def set_aside(self, run_dir: str, epoch: int, scratch: bool) -> None:
        self._ground("set_aside")
        self.aside.append((run_dir, epoch))

    def write_campaign(self, campaign: Campaign) -> None:
        self.campaigns[campaign.id] = campaign

    def write_manifest(self, campaign: str, data: bytes) -> None: ...

    def write_revision(self, campaign: str, n: int, data: bytes) -> None: ...

    def write_launch_env(self, campaign: str, env: dict[str, str]) -> None: ...


class MemoryCode:
    """Code whose digest is what a test says."""

    def __init__(self, digest: str = "code-1") -> None:
        self.digest = digest

    def identity(self, cwd: str) -> CodeIdentity:
        return CodeIdentity(self.digest, 1)

    def patch(self, cwd: str) -> str | None:
        return f"patch to {self.digest}"


class MemoryTenure:
    """A root that nobody else mounts, unless a test says so. `successor`: who leads it now, in words."""

    def __init__(self) -> None:
        self.successor = ""
        self.renewals = 0

    def renew(self, live: int) -> str:
        self.renewals += 1
        return self.successor


class InlineWorkers:
    """Workers without threads: jobs are done when `results` is asked, in an order drawn from `dice` (jobs of one
    run keep theirs). `before` and `after` are called around each job, so that a test can crash there; what
    `within` raises the job has raised."""

    def __init__(
        self, dice: random.Random, before: Callable[[object], None] | None = None,
        after: Callable[[object], None] | None = None, within: Callable[[object], None] | None = None,
    ) -> None:  # fmt: skip
        self._dice = dice
        self._before = before or (lambda tag: None)
        self._after = after or (lambda tag: None)
        self._within = within or (lambda tag: None)
        self._chains: dict[object, deque[tuple[object, Callable[[], Any]]]] = {}
        self._loose = 0

    def submit(self, tag: object, job: Callable[[], Any], ref: RunRef | None = None) -> None:
        self._loose += ref is None
        self._chains.setdefault(ref if ref is not None else self._loose, deque()).append((tag, job))

    def results(self) -> Sequence[Done]:
        done: list[Done] = []
        keys = list(self._chains)
        self._dice.shuffle(keys)
        for key in keys:
            tag, job = self._chains[key].popleft()
            if not self._chains[key]:
                del self._chains[key]
            self._before(tag)
            try:
                self._within(tag)
                result = Done(tag, job())
            except Exception as problem:
                result = Done(tag, None, problem)
            self._after(tag)
            done.append(result)
        return done

    def fileno(self) -> int | None:
        return None

    def waiting(self) -> bool:
        return bool(self._chains)
