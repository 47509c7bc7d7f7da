"""The database as its one writer sees it."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterable

from overnight.model.campaign import StoryEntry
from overnight.model.manifest import RunSpec
from overnight.model.notices import NoticeState
from overnight.model.policy import Policy
from overnight.model.run import Run, Vitals
from overnight.ports import Batch, RunRef
from overnight.store.ballast import Ballast
from overnight.store.errors import StoreFault, in_words
from overnight.store.named import load
from overnight.store.reading import BUSY_SECONDS, StoreReader
from overnight.store.records import CAMPAIGN_ITSELF, encode, key, run_columns, text
from overnight.store.schema import prepare

_PUT = load("writing")
_ANSWERS_KEPT_SECONDS = 7 * 86_400.0
_NOTICES_KEPT_SECONDS = 90 * 86_400.0


class SqliteStore(StoreReader):
    """SQLite in WAL mode, one connection. `":memory:"` is its own twin for tests and simulation.

    Raises StoreError if the database cannot be opened, is damaged, or was written by a newer version. A batch
    that says `durable` is synced before `commit` returns; others survive our own death at once and a power cut
    with the next durable one. Not thread-safe: called by whoever leads
    the loop, one thread at a time.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        name = os.fspath(path)
        try:
            connection = sqlite3.connect(name, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False)
        except sqlite3.Error as problem:
            raise in_words(problem, name) from problem
        super().__init__(connection, name)
        self._seqs: dict[str, int] = {}
        self._policies: dict[str, Policy] = {}
        self._boots: dict[str, int] = {}
        self._synchronous = ""
        self._ballast = None if name == ":memory:" else Ballast(os.path.join(os.path.dirname(name), "ballast"))
        try:
            prepare(connection, name)
            connection.execute(_PUT["prune_answers"], (time.time() - _ANSWERS_KEPT_SECONDS,))
            connection.execute(_PUT["prune_notices"], (time.time() - _NOTICES_KEPT_SECONDS,))
        except sqlite3.Error as problem:
            connection.close()
            raise in_words(problem, name) from problem
        except StoreFault:
            connection.close()
            raise

    def _seq(self, campaign: str) -> int | None:
        seq = self._seqs.get(campaign)
        if seq is None:
            seq = super()._seq(campaign)
            if seq is not None:
                self._seqs[campaign] = seq
        return seq

    def commit(self, batch: Batch) -> None:
        """Apply the batch in one transaction; raises `StoreError` and changes nothing if it cannot. On a full disk the
        ballast goes first."""
        try:
            self._commit(batch)
        except StoreFault as fault:
            if not fault.full or self._ballast is None or not self._ballast.throw_off():
                raise
            self._commit(batch)
        else:
            if self._ballast is not None:
                self._ballast.take_on()

    def _commit(self, batch: Batch) -> None:
        try:
            self._sync("FULL" if batch.durable else "NORMAL")
            self._db.execute("BEGIN IMMEDIATE")
            self._write(batch)
            self._db.execute("COMMIT")
        except BaseException as problem:
            self._undo()
            if isinstance(problem, sqlite3.Error):
                raise in_words(problem, self.path) from problem
            if isinstance(problem, TypeError | ValueError | OverflowError):  # a value that has no JSON
                raise StoreFault(f"a record cannot be stored: {problem}", kind="record") from problem
            raise

    def _sync(self, mode: str) -> None:
        if mode != self._synchronous:
            self._db.execute(f"PRAGMA synchronous = {mode}")
            self._synchronous = mode

    def _undo(self) -> None:
        # What was learned from rows that are gone again must go too.
        self._seqs.clear()
        self._policies.clear()
        self._boots.clear()
        self._row = ("", ""), b""
        with contextlib.suppress(sqlite3.Error):  # the first error is the one to tell
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _write(self, batch: Batch) -> None:
        put = self._db.execute
        for campaign in batch.campaigns.values():
            put(_PUT["put_campaign"], (campaign.id, campaign.name, campaign.state.value, encode(campaign)))
            self._policies[campaign.id] = campaign.policy
        for name, manifest in batch.manifests.items():
            put(_PUT["put_manifest"], (self._known(name), manifest))
        for name, number, document in batch.revisions:
            put(_PUT["put_revision"], (self._known(name), number, document))
        for name, rows in batch.added.items():
            self._add_rows(self._known(name), rows)
        for name, rows in batch.changed.items():
            self._change_rows(self._known(name), rows)
        for run in batch.runs.values():
            self._put_run(run)
        for ref, vitals in batch.vitals.items():
            self._put_vitals(ref, vitals, batch.runs.get(ref))
        if batch.story:
            self._add_story(batch)
        for request, answer in batch.answers.items():
            put(_PUT["put_answer"], (request, time.time(), encode(answer)))
        for notice in batch.notices.values():
            owed = 1 if notice.state == NoticeState.OWED else None
            columns = (notice.campaign, text(notice.cause), notice.n, notice.at.wall, owed, encode(notice))
            put(_PUT["put_notice"], columns)
        for word, value in batch.meta.items():
            put(_PUT["put_meta"], (word, value))

    def _known(self, campaign: str) -> int:
        seq = self._seq(campaign)
        if seq is None:
            raise StoreFault(f"there is no campaign {campaign}", kind="unknown")
        return seq

    def _policy(self, campaign: str) -> Policy:
        policy = self._policies.get(campaign)
        if policy is None:
            found = self.campaign(campaign)
            policy = self._policies[campaign] = found.policy if found is not None else Policy()
        return policy

    def _add_rows(self, seq: int, rows: Iterable[tuple[int, RunSpec]]) -> None:
        rows = list(rows)
        self._db.executemany(
            _PUT["add_row"],
            [(key(seq, at), seq, s.run_id, 1 if s.policy.unbounded else None, encode(s)) for at, s in rows],
        )
        self._db.executemany(_PUT["add_run"], [(key(seq, at), seq, s.policy.priority) for at, s in rows])

    def _change_rows(self, seq: int, rows: Iterable[tuple[int, RunSpec]]) -> None:
        self._row = ("", ""), b""  # it may be the one that was read last
        self._db.executemany(
            _PUT["put_row"], [(1 if s.policy.unbounded else None, encode(s), key(seq, at)) for at, s in rows]
        )

    def _put_run(self, run: Run) -> None:
        run_key = key(self._known(run.campaign), run.position)
        columns, setbacks = run_columns(run, run_key, self._policy(run.campaign))
        if self._db.execute(_PUT["put_run"], columns).rowcount != 1:
            raise StoreFault(f"{run.campaign} has no row {run.position} for {run.run_id}", kind="unknown")
        for setback in setbacks:
            self._db.execute(_PUT["put_setback"], setback)
        if run.ended:
            self._db.execute(_PUT["drop_vitals"], (run_key,))

    def _put_vitals(self, ref: RunRef, vitals: Vitals, run: Run | None) -> None:
        if run is not None and run.live_attempt is None:
            return  # a late look: its last vitals are in the attempt
        run_key = key(self._known(ref.campaign), run.position) if run is not None else self._key(ref)
        if run_key is not None:
            self._db.execute(_PUT["put_vitals"], (encode(vitals), run_key))

    def _add_story(self, batch: Batch) -> None:
        self._db.executemany(_PUT["add_story"], [self._story_columns(entry, batch) for entry in batch.story])

    def _story_columns(self, entry: StoryEntry, batch: Batch) -> tuple[object, ...]:
        seq = self._known(entry.campaign)
        run = batch.runs.get(RunRef(entry.campaign, entry.run_id))
        if run is not None:
            run_key: int | None = key(seq, run.position)
        elif entry.run_id:
            run_key = self._one("run_key", seq, entry.run_id)
        else:
            run_key = None
        return (
            key(seq, CAMPAIGN_ITSELF) if run_key is None else run_key,
            entry.at.wall, entry.at.mono, self._boot(entry.at.boot), entry.attempt, entry.event, entry.before,
            entry.state, text(entry.words), encode(entry.data) if entry.data else None,
        )  # fmt: skip

    def _boot(self, boot: str) -> int:
        number = self._boots.get(boot)
        if number is None:
            self._db.execute(_PUT["add_boot"], (boot,))
            number = self._boots[boot] = int(self._one("boot_number", boot))
        return number
