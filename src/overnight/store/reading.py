"""What can be asked of the database: the supervisor's questions (`ports.Store`) and those behind reports."""

import contextlib
import gc
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Any

from overnight.model.campaign import Campaign, StoryEntry
from overnight.model.codec import Struct, from_json, to_json
from overnight.model.manifest import RunSpec
from overnight.model.notices import Notice
from overnight.model.requests import Answer
from overnight.model.run import Run
from overnight.model.states import RunState
from overnight.model.time import Moment
from overnight.ports import PendingRun, RunRef
from overnight.store import records
from overnight.store.errors import REBUILD, StoreFault, absent, in_words
from overnight.store.named import load
from overnight.store.records import CAMPAIGN_ITSELF, key, position
from overnight.store.schema import check_version, migrations

SQL = load("reading")
BUSY_SECONDS = 5.0
FILLED_SECONDS = 2.0  # by then a database that was empty has its tables, if somebody is at work on it


class Tally(Struct, frozen=True):
    """Runs of one campaign in one state with one cause. `useful`, `lost`: GPU-seconds."""

    state: str
    cause: str | None
    runs: int
    useful: float = 0.0
    lost: float = 0.0


class Setbacks(Struct, frozen=True):
    """Attempts of one campaign that ended badly, by class and who ended them. `again`: tried again by
    itself; `resumed`: and went on from a checkpoint; `lost`: GPU-seconds."""

    failure_class: str
    ended_by: str
    attempts: int
    again: int
    resumed: int
    lost: float


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Records hold no cycles, and looking for some while 100,000 are read takes six times as long as reading."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class StoreReader:
    """Questions to an open database. Every one may raise StoreError."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self.path = path
        self._db = connection
        self._row: tuple[tuple[str, str], bytes] = (("", ""), b"")  # names of the run read last, and its row

    def close(self) -> None:
        """Let go of the database."""
        self._db.close()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """All questions inside see the same moment, whatever is being written."""
        self._ask("BEGIN")
        try:
            yield
        finally:
            with contextlib.suppress(sqlite3.Error):  # the answer is there; a lost connection spoils the next
                self._db.execute("COMMIT")

    def _ask(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as problem:
            raise in_words(problem, self.path) from problem

    def each(self, sql: str, values: Sequence[Any] = ()) -> Iterator[Any]:
        """The rows of an answer one by one, for those that are too many to hold."""
        try:
            yield from self._db.execute(sql, values)
        except sqlite3.Error as problem:
            raise in_words(problem, self.path) from problem

    def _one(self, name: str, *values: Any) -> Any:
        rows = self._ask(SQL[name], values)
        return rows[0][0] if rows else None

    def _seq(self, campaign: str) -> int | None:
        seq: int | None = self._one("campaign_seq", campaign)
        return seq

    def _key(self, ref: RunRef) -> int | None:
        seq = self._seq(ref.campaign)
        found: int | None = None if seq is None else self._one("run_key", seq, ref.run_id)
        return found

    # --- campaigns -----------------------------------------------------------------------------------------

    def campaigns(self) -> list[Campaign]:
        """All records, oldest first."""
        return [self._campaign(body) for (body,) in self._ask(SQL["campaigns"])]

    def campaign(self, campaign: str) -> Campaign | None:
        """One record."""
        body = self._one("campaign", campaign)
        return None if body is None else self._campaign(body)

    def _campaign(self, body: bytes) -> Campaign:
        try:
            return records.decode(body, Campaign)
        except ValueError as problem:
            raise StoreFault(
                f"a campaign's record in {self.path} cannot be read: {problem}",
                REBUILD,
                "record",
                str(self.path),
            ) from problem

    def campaign_ids(self) -> list[str]:
        """Names of all campaigns, oldest first."""
        return [name for (name,) in self._ask(SQL["campaign_ids"])]

    def manifest(self, campaign: str) -> bytes | None:
        """The canonical bytes."""
        seq = self._seq(campaign)
        found: bytes | None = None if seq is None else self._one("manifest", seq)
        return found

    def revisions(self, campaign: str) -> list[bytes]:
        """The documents, oldest first."""
        seq = self._seq(campaign)
        return [] if seq is None else [doc for (doc,) in self._ask(SQL["revisions"], (seq,))]

    def answer(self, request_id: str) -> Answer | None:
        """What became of a request; None: not taken yet, or a week ago."""
        body = self._one("answer", request_id)
        return None if body is None else records.decode(body, Answer)

    def meta(self, key: str) -> str | None:
        """A word that the supervisor keeps."""
        found: str | None = self._one("meta", key)
        return found

    def fault(self) -> str:
        """What is wrong with the file, by sqlite's own check; empty if nothing is. Reads all of it."""
        said = [words for (words,) in self._ask("PRAGMA quick_check(3)")]
        return "" if said == ["ok"] else "; ".join(said)

    def owed_notices(self) -> list[Notice]:
        """Notices that are not settled, oldest first. One that cannot be read is owed to nobody."""
        found = []
        for (body,) in self._ask(SQL["owed_notices"]):
            with contextlib.suppress(ValueError):
                found.append(records.decode(body, Notice))
        return found

    def newest_notice(self, campaign: str, cause: str) -> Notice | None:
        """The last one of that cause, settled or not."""
        body = self._one("newest_notice", campaign, cause)
        with contextlib.suppress(ValueError):
            return None if body is None else records.decode(body, Notice)
        return None

    # --- runs ----------------------------------------------------------------------------------------------

    def run(self, ref: RunRef) -> Run | None:
        """One run; of a live attempt the vitals last written."""
        found = self._key(ref)
        return None if found is None else self._run(found)

    def run_at(self, campaign: str, position: int) -> Run | None:
        """The run of the `position`th row, from 0."""
        seq = self._seq(campaign)
        return None if seq is None else self._run(key(seq, position))

    def _run(self, run_key: int) -> Run | None:
        rows = self._ask(SQL["run_by_key"], (run_key,))
        if not rows:
            return None
        self._row = rows[0][:2], rows[0][3]
        return records.read_run(rows[0])

    def spec(self, ref: RunRef) -> RunSpec | None:
        """What its row brought."""
        if self._row[0] == (ref.campaign, ref.run_id):  # a run is read just before its row
            return records.decode(self._row[1], RunSpec)
        seq = self._seq(ref.campaign)
        body = None if seq is None else self._one("spec", seq, ref.run_id)
        return None if body is None else records.decode(body, RunSpec)

    def unfinished_runs(self) -> list[Run]:
        """Runs that are neither pending nor ended, and those that owe effects, in order of launch and file."""
        with _without_collections():
            return [records.read_run(columns) for columns in self._ask(SQL["open_runs"])]

    def pending(self, campaign: str) -> list[PendingRun]:
        """The queue, in planner's order: priority, then position."""
        seq = self._seq(campaign)
        if seq is None:
            return []
        return [PendingRun(position(found), priority) for found, priority in self._ask(SQL["pending"], (seq,))]

    def positions(
        self,
        campaign: str,
        *,
        states: Sequence[str] = (),
        failure_class: str | None = None,
        run_ids: Sequence[str] = (),
    ) -> list[int]:
        """Positions of the runs that match all that is given, in file order. `failure_class` is the class of
        a failed run or the cause of a held one; run_ids that do not exist match nothing."""
        seq = self._seq(campaign)
        if seq is None:
            return []
        asked: list[set[int]] = []
        if run_ids:
            asked.append(self._keys("keys_named", seq, to_json(list(run_ids)).decode()))
        if failure_class is not None:
            wanted = [s for s in ("failed", "held") if not states or s in states]
            asked.append(set().union(*(self._keys("keys_cause", seq, s, failure_class) for s in wanted)))
        elif states:
            asked.append(set().union(*(self._keys_in(seq, state) for state in states)))
        found = set.intersection(*asked) if asked else self._keys("keys_all", seq)
        return sorted(position(run_key) for run_key in found)

    def _keys_in(self, seq: int, state: str) -> set[int]:
        if state == RunState.PENDING:
            return self._keys("keys_pending", seq)
        return self._keys("keys_state", seq, state)

    def _keys(self, name: str, *values: Any) -> set[int]:
        return {found for (found,) in self._ask(SQL[name], values)}

    # --- for reports ---------------------------------------------------------------------------------------

    def tallies(self, campaign: str) -> list[Tally]:
        """Counts by state and cause; the only causes told apart are those of failed, held and lost runs."""
        seq = self._seq(campaign)
        if seq is None:
            return []
        waiting = self._one("pending_count", seq)
        found = [Tally("pending", None, waiting)] if waiting else []
        return found + [Tally(*columns) for columns in self._ask(SQL["moved"], (seq,))]

    def page(self, campaign: str, *, after: str | None, limit: int | None, state: str | None) -> list[Run] | None:
        """Up to `limit` runs in file order, beginning behind run_id `after`; None if that is no run here."""
        seq = self._seq(campaign)
        if seq is None:
            return []
        first = key(seq, 0) - 1
        if after is not None:
            found = self._one("run_key", seq, after)
            if found is None:
                return None
            first = found
        count = -1 if limit is None else limit
        if state is None:
            rows = self._ask(SQL["page"], (first, key(seq, CAMPAIGN_ITSELF), count))
            with _without_collections():
                return [records.read_run(columns) for columns in rows]
        if state == RunState.PENDING:
            keys = self._ask(SQL["page_pending"], (seq, first, count))
        else:
            keys = self._ask(SQL["page_moved"], (seq, state, first, count))
        return [run for (run_key,) in keys if (run := self._run(run_key)) is not None]

    def names(self, campaign: str, state: str, cause: str | None, limit: int) -> list[str]:
        """The first `limit` run_ids in file order of one state (not pending) and cause."""
        seq = self._seq(campaign)
        rows = [] if seq is None else self._ask(SQL["names_of_cause"], (seq, state, cause, limit))
        return [run_id for run_id, _ in rows]

    def setbacks(self, campaign: str) -> list[Setbacks]:
        """Attempts that ended badly, counted."""
        seq = self._seq(campaign)
        if seq is None:
            return []
        rows = self._ask(SQL["setbacks"], (seq,))
        return [Setbacks(*columns) for columns in rows]

    def ahead(self, run: Run) -> int:
        """How many pending runs of its campaign are before this one in the queue."""
        seq = self._seq(run.campaign)
        if seq is None:
            return 0
        found: int = self._one("queue_place", seq, run.policy.priority, key(seq, run.position))
        return found

    def unbounded_rows(self, campaign: str) -> int:
        """How many rows say `@timeout none`."""
        seq = self._seq(campaign)
        return 0 if seq is None else int(self._one("unbounded_count", seq))

    def story(self, ref: RunRef) -> list[StoryEntry]:
        """All that happened to a run, in order; with an empty run_id to the campaign as a whole."""
        seq = self._seq(ref.campaign)
        found = self._key(ref) if ref.run_id else (None if seq is None else key(seq, CAMPAIGN_ITSELF))
        rows = [] if found is None else self._ask(SQL["story_of_run"], (found,))
        return [_entry(ref.campaign, columns) for columns in rows]

    def recent(self, campaign: str, limit: int) -> list[StoryEntry]:
        """The newest entries of a campaign and its runs, newest first; older than the last 20,000 of all
        campaigns are not found."""
        seq = self._seq(campaign)
        if seq is None:
            return []
        rows = self._ask(SQL["story_recent"], (key(seq, 0), key(seq, CAMPAIGN_ITSELF), limit))
        return [_entry(campaign, columns) for columns in rows]


def _entry(campaign: str, columns: tuple[Any, ...]) -> StoryEntry:
    run_id, wall, mono, boot, attempt, event, before, state, words, data = columns
    return StoryEntry(
        campaign=campaign, run_id=run_id or "", at=Moment(mono, wall, boot), event=event, before=before, state=state,
        words=words, attempt=attempt, data={} if data is None else from_json(data, dict),
    )  # fmt: skip


class ReadStore(StoreReader):
    """The database for readers: never written, whoever writes meanwhile. Raises StoreError if there is none,
    if it is damaged, or of another version than this installation knows. May be used from several threads,
    one at a time."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        name = os.fspath(path)
        if not os.path.exists(name):
            raise absent(name)
        connection = _connect_reading(name, "mode=ro")
        try:
            try:
                _look(connection, name)
            except sqlite3.OperationalError as problem:
                if not _cannot_share(problem) or _has_wal(name):
                    raise
                # A file system that is read-only for us has no room for the index that readers share. Without
                # a write-ahead log nobody writes: the file alone is the whole truth.
                connection.close()
                connection = _connect_reading(name, "mode=ro&immutable=1")
                _look(connection, name)
        except sqlite3.Error as problem:
            connection.close()
            raise in_words(problem, name) from problem
        except StoreFault:
            connection.close()
            raise
        super().__init__(connection, name)


def _connect_reading(path: str, options: str) -> sqlite3.Connection:
    quoted = os.path.abspath(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    try:
        return sqlite3.connect(
            f"file:{quoted}?{options}", uri=True, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False
        )
    except sqlite3.Error as problem:
        raise in_words(problem, path) from problem


def _look(connection: sqlite3.Connection, path: str) -> None:
    newest = migrations()[-1][0]
    until = time.monotonic() + FILLED_SECONDS
    while (found := check_version(connection, path, newest)) == 0 and time.monotonic() < until:
        time.sleep(0.02)  # a root's first supervisor is at it right now
    if found == 0:
        raise StoreFault(f"the database {path} is empty", "the supervisor fills it: overnight supervisor start", "new")
    if found < newest:
        raise StoreFault(
            f"the database {path} is of an older overnight (schema {found}; this one reads {newest})",
            "`overnight supervisor restart` brings it up to date",
            "older",
        )


def _cannot_share(problem: sqlite3.OperationalError) -> bool:
    name = problem.sqlite_errorname or ""
    return name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY"))


def _has_wal(path: str) -> bool:
    try:
        return os.path.getsize(path + "-wal") > 0
    except OSError:
        return False
