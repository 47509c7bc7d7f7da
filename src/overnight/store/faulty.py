"""A store that fails on purpose, for tests and simulation."""

from collections.abc import Callable, Mapping
from enum import StrEnum

from overnight.ports import Batch, Store
from overnight.store.errors import StoreFault


class Fault(StrEnum):
    """What happens at a commit."""

    CRASH_BEFORE = "crash before"  # the process dies; nothing of the batch is there
    CRASH_AFTER = "crash after"  # the process dies; all of the batch is there, and nobody was told
    DISK_FULL = "disk full"  # StoreError; nothing was changed; the next may succeed


class Crashed(BaseException):
    """Stands for the death of the process: no handler of ordinary errors may swallow it."""


Plan = Callable[[int, Batch], Fault | None]


def at(faults: Mapping[int, Fault]) -> Plan:
    """The plan that fails those commits, counted from 1."""
    return lambda number, batch: faults.get(number)


class FaultyStore:
    """`store` with faults. `plan(number, batch)` says what befalls the `number`th commit, counted from 1.
    Everything else is asked of `store`, which lives on after a crash: open a new FaultyStore over it."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self.inner = store
        self.commits = 0
        self._plan = plan
        self.campaigns = store.campaigns
        self.unfinished_runs = store.unfinished_runs
        self.pending = store.pending
        self.run_at = store.run_at
        self.run = store.run
        self.spec = store.spec
        self.positions = store.positions
        self.manifest = store.manifest
        self.revisions = store.revisions
        self.answer = store.answer
        self.meta = store.meta
        self.owed_notices = store.owed_notices
        self.newest_notice = store.newest_notice
        self.close = store.close

    def commit(self, batch: Batch) -> None:
        """As the store does, unless the plan says otherwise. Raises Crashed or StoreError."""
        self.commits += 1
        fault = self._plan(self.commits, batch)
        if fault == Fault.CRASH_BEFORE:
            raise Crashed(f"before commit {self.commits}")
        if fault == Fault.DISK_FULL:
            raise StoreFault("the disk of the database is full (planned)", kind="SQLITE_FULL")
        self.inner.commit(batch)
        if fault == Fault.CRASH_AFTER:
            raise Crashed(f"after commit {self.commits}")
