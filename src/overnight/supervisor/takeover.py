"""Taking a root over from a host that is gone: the next term, a database from the files, its attempts `node.lost`.

Killed at any instant it is done again: until the term is taken nothing has changed, and from then on the database
says whose work it holds, so that an unfinished takeover is seen and finished.
"""

import os
from collections.abc import Callable
from pathlib import Path

from overnight.artifacts.layout import of_root
from overnight.artifacts.lease import Lease, my_lease, take_lease
from overnight.executors import recovery
from overnight.model.codec import Struct
from overnight.model.events import AttemptEnded, AttemptNeverBegan, Event
from overnight.model.manifest import Refusal
from overnight.model.run import ExitRecord, Process, Run
from overnight.ports import Clock, StoreError
from overnight.shim.shim import host_identity
from overnight.store import ReadStore, SqliteStore
from overnight.supervisor.ledger import Ledger
from overnight.supervisor.lock import Lock, Taken
from overnight.supervisor.orders import Orders
from overnight.supervisor.petitions import ASKED_TO_GO
from overnight.supervisor.rebuild import Rebuild, set_aside_database
from overnight.supervisor.tenure import META


class TakenOver(Struct, frozen=True):
    """What came of it. `rebuilt`: the database was made anew from the files; `lost`: attempts of the other host."""

    term: int
    rebuilt: bool
    lost: int
    campaigns: tuple[str, ...]
    problems: tuple[str, ...] = ()


def unfinished(state: Path, leader: Lease) -> bool:
    """Whether the root is ours by its lease, but our database is of another term: somebody was killed on the way."""
    return leader.same_ground(my_lease(str(state))) and _term_of(state / "overnight.db") != leader.term


def take_over(root: Path, state: Path, leader: Lease, clock: Clock) -> TakenOver:
    """Lead `root` from `state` on this host. The caller has seen that `leader` does not renew its lease, or the lease
    is ours already and this was begun before.

    Raises `Refusal` if somebody else was quicker or supervises here, OSError and StoreError.
    """
    mine = leader.same_ground(my_lease(str(state)))
    term = leader.term if mine else leader.term + 1
    try:
        lock = Lock(state)
    except Taken as taken:
        raise Refusal(f"a supervisor holds {state}", f"overnight supervisor stop {of_root(root)}") from taken
    try:
        return _taken(root, state, leader, term, clock, claim=not mine)
    finally:
        lock.resign()


def _taken(root: Path, state: Path, leader: Lease, term: int, clock: Clock, *, claim: bool) -> TakenOver:
    database, fresh = state / "overnight.db", state / "takeover.db"
    current = _term_of(database) == leader.term - (0 if claim else 1)
    problems: list[str] = []
    if not current:
        _remove(fresh)
        store = SqliteStore(fresh)
        work = Rebuild(root, state, store, clock)
        work.all()
        store.close()
        problems = work.problems
    if claim and not take_lease(str(root), my_lease(str(state), term)):
        raise Refusal(f"another host has just taken {root} over", f"overnight resume {of_root(root)} tells which")
    if not current:
        set_aside_database(state)
        fresh.rename(database)
    store = SqliteStore(database)
    try:
        ledger = Ledger(store)
        ledger.load()
        lost = _end_the_others(ledger, Orders(root, state), clock, leader)
        ledger.batch.meta |= {META: str(term), ASKED_TO_GO: "a takeover"}
        ledger.settle(clock.now())
        ledger.commit()
        names = tuple(sorted(name for name, campaign in ledger.campaigns.items() if campaign.ended is None))
        return TakenOver(term, not current, lost, names, tuple(problems))
    finally:
        store.close()


def _end_the_others(ledger: Ledger, orders: Orders, clock: Clock, leader: Lease) -> int:
    """Attempts that are not of this boot of this host: by their record if they left one, else `node.lost`."""
    here, lost = _here(), 0
    for ref, run in list(ledger.runs.items()):
        attempt = run.live_attempt
        if attempt is None or (attempt.process is not None and here(attempt.process)):
            continue
        event = _end_of(run, orders, clock, leader)
        if event is None:
            continue
        lost += isinstance(event, AttemptEnded) and event.cause == "node.lost"
        ledger.apply(ref, event)
    return lost


def _end_of(run: Run, orders: Orders, clock: Clock, leader: Lease) -> Event | None:
    attempt = run.attempts[-1]
    now = clock.now()
    directory = orders.target(run, attempt).attempt_dir
    submitting = attempt.process is None and attempt.started is None
    verdict = recovery.look(directory, known=attempt.process, submitting=submitting)
    match verdict:
        case recovery.Unclaimed():
            return AttemptNeverBegan(now, attempt.n, verdict.why)
        case recovery.Over():
            return AttemptEnded(
                now, attempt.n, verdict.exit, verdict.process, verdict.started, verdict.cause, verdict.words
            )
        case recovery.Alive():
            if verdict.pidfd is not None:
                os.close(verdict.pidfd)
            return None  # here, after all: the supervisor adopts it
        case _:
            words = f"host {leader.host}, which led this root, has not renewed its lease"
            lost = ExitRecord(recorded=False)
            return AttemptEnded(now, attempt.n, lost, attempt.process, attempt.started, "node.lost", words)


def _here() -> Callable[[Process], bool]:
    found = host_identity()
    identity = found["hostname"], found["boot"], str(found["pidns"]), found["init_start"]
    return lambda process: (process.host, process.boot, process.pidns, process.init_start) == identity


def _term_of(database: Path) -> int | None:
    """The term whose work a database holds; None: it is not there, cannot be read, or nobody says."""
    if not database.exists():
        return None
    try:
        store = ReadStore(database)
    except StoreError:
        return None
    try:
        found = store.meta(META)
    finally:
        store.close()
    return int(found) if found is not None else None


def _remove(database: Path) -> None:
    for suffix in ("-wal", "-shm", ""):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
