"""The ledger: what the supervisor knows, and the batch of all that this turn changes.

Memory holds campaigns, the runs that are neither pending nor ended, and positions of those that are pending;
the rest stays in the store. Nothing here waits, and an error concerns one run.
"""

import heapq
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from overnight.core import causes, notices
from overnight.core.campaigns import learn, moved, settle
from overnight.core.invariants import broken
from overnight.core.result import Lesson, Step
from overnight.core.step import step
from overnight.model.campaign import Campaign, Cause, StoryEntry
from overnight.model.codec import replace
from overnight.model.effects import Effect, FinishRun, StartAttempt
from overnight.model.events import Event, HoldRequested, OfAttempt, RowAmended, RunFaulted
from overnight.model.manifest import RunSpec
from overnight.model.notices import NoticeKind, Telling, Untelling
from overnight.model.policy import RowPolicy
from overnight.model.run import Run, Vitals
from overnight.model.states import RunState
from overnight.model.time import Moment
from overnight.ports import Batch, RunRef, Store
from overnight.supervisor.tidings import Tidings

log = logging.getLogger(__name__)

SWEPT_PER_TURN = 500  # queued runs that are cancelled or held: the loop stays quick


class BrokenInvariant(AssertionError):
    """A step left a run in a state that must not be. Raised only where invariants are checked (tests)."""


class Ledger:
    """States in memory, one batch a turn. `check`: verify every invariant after every step. `telling` False: what
    is entered is history, and nobody is told of it."""

    def __init__(self, store: Store, *, check: bool = False, telling: bool = True) -> None:
        self.store = store
        self.telling = telling
        self.check = check
        self.campaigns: dict[str, Campaign] = {}
        self.runs: dict[RunRef, Run] = {}
        self.batch = Batch()
        self.asked: list[tuple[RunRef, Effect]] = []  # owed since this turn, performed after its commit
        self.said: list[tuple[str, str]] = []  # (campaign, sentence) for the log
        self.live: dict[str, int] = {}
        self.owing: dict[str, int] = {}
        self.on_move: Callable[[RunRef, Run, Run], None] = lambda ref, before, now: None
        self._queues: dict[str, list[tuple[int, int]]] = {}
        self._waiting: list[tuple[float, RunRef]] = []
        self._drawn: dict[RunRef, Run] = {}  # out of the queue in this turn: as the store has them
        self._specs: dict[RunRef, RunSpec] = {}
        self._touched: set[str] = set()
        self.tidings = Tidings(store, lambda: self.batch)
        self._as_told: dict[str, Campaign] = {}  # campaigns as they were when notices were last thought of

    # --- loading -------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Take over what the store knows."""
        for campaign in self.store.campaigns():
            self.campaigns[campaign.id] = self._as_told[campaign.id] = campaign
            if campaign.counts.get(RunState.PENDING.value):
                self._queues[campaign.id] = [(-p.priority, p.position) for p in self.store.pending(campaign.id)]
                heapq.heapify(self._queues[campaign.id])
        for run in self.store.unfinished_runs():
            ref = RunRef(run.campaign, run.run_id)
            self.runs[ref] = run
            self._count(ref, None, run)
            if run.due is not None:
                heapq.heappush(self._waiting, (run.due.mono, ref))

    def rebase_waits(self, now: Moment) -> None:
        """After a reboot the monotonic clock has begun anew: waits go on by the wall clock, never longer."""
        fresh: list[tuple[float, RunRef]] = []
        for ref, run in self.runs.items():
            if run.due is None:
                continue
            due = run.due
            if due.boot != now.boot:
                left = max(0.0, due.wall - now.wall)
                since = 0.0 if run.changed is None else due.wall - run.changed.wall
                due = Moment(now.mono + min(left, max(since, 0.0)), due.wall, now.boot)
                self.runs[ref] = self.batch.runs[ref] = replace(run, due=due)
            fresh.append((due.mono, ref))
        heapq.heapify(fresh)
        self._waiting = fresh

    # --- reading -------------------------------------------------------------------------------------------

    def get(self, ref: RunRef) -> Run | None:
        """The run as of this turn."""
        return self.runs.get(ref) or self.batch.runs.get(ref) or self._drawn.get(ref) or self.store.run(ref)

    def spec(self, ref: RunRef) -> RunSpec:
        """The row of a run; raises KeyError if there is none."""
        spec = self._specs.get(ref)
        if spec is None:
            spec = self.store.spec(ref)
            if spec is None:
                for _, added in self.batch.added.get(ref.campaign, ()):
                    if added.run_id == ref.run_id:
                        return added
                raise KeyError(f"{ref.campaign} has no row {ref.run_id}")
            self._specs[ref] = spec
        return spec

    def queued(self, campaign: str) -> int:
        """How many runs are in the campaign's queue."""
        return len(self._queues.get(campaign, ()))

    def next_queued(self, campaign: str) -> tuple[RunRef, Run] | None:
        """Take the next pending run out of the queue; the caller plans it or puts it back with `requeue`.

        None while rows of the campaign wait for this turn's commit: the store cannot say yet what they are.
        """
        if campaign in self.batch.added:
            return None
        queue = self._queues.get(campaign)
        while queue:
            _, position = heapq.heappop(queue)
            run = self.at(campaign, position)
            # One that still owes (an old epoch's files are in the way) comes back when it no longer does.
            if run is not None and run.state == RunState.PENDING and not run.owed:
                ref = RunRef(campaign, run.run_id)
                self._drawn[ref] = run
                return ref, run
        return None

    def queued_positions(self, campaign: str, most: int) -> list[int]:
        """Up to `most` places of the queue, in order and evenly spread over all of it."""
        queue = sorted(self._queues.get(campaign, ()))
        stride = max(1, len(queue) // most)
        return [position for _, position in queue[::stride][:most]]

    def take_queued(self, campaign: str, position: int) -> tuple[RunRef, Run] | None:
        """Take this very run out of the queue; None if it can no longer start."""
        queue = self._queues.get(campaign, [])
        queue[:] = [entry for entry in queue if entry[1] != position]
        heapq.heapify(queue)
        run = self.at(campaign, position)
        if run is None or not _startable(run):
            return None
        ref = RunRef(campaign, run.run_id)
        self._drawn[ref] = run
        return ref, run

    def at(self, campaign: str, position: int) -> Run | None:
        """The run of a row, as of this turn."""
        # What this turn (or one whose commit failed) moved is not in the store yet.
        for run in self.batch.runs.values():
            if run.campaign == campaign and run.position == position:
                return run
        return self.store.run_at(campaign, position)

    def requeue(self, run: Run) -> None:
        """Put a run that was not planned back."""
        heapq.heappush(self._queues.setdefault(run.campaign, []), (-run.policy.priority, run.position))

    def waits_due(self, now: Moment) -> Iterable[RunRef]:
        """Waiting runs whose time has come; each once."""
        while self._waiting and self._waiting[0][0] <= now.mono:
            due, ref = heapq.heappop(self._waiting)
            run = self.runs.get(ref)
            if run is not None and run.due is not None and run.due.mono == due:
                yield ref

    def next_wait(self) -> float | None:
        """When the next wait is over (monotonic seconds)."""
        return self._waiting[0][0] if self._waiting else None

    # --- moving --------------------------------------------------------------------------------------------

    def apply(self, ref: RunRef, event: Event) -> Step | None:
        """One event to one run. Whatever goes wrong concerns that run alone: it is held, with its story."""
        try:
            run = self.get(ref)
            campaign = self.campaigns.get(ref.campaign)
            if run is None or campaign is None:
                log.warning("word of %s/%s, which nobody knows: %s", ref.campaign, ref.run_id, type(event).__name__)
                return None
            result = step(run, campaign, event)
            self._move(ref, run, result, event)
            return result
        except BrokenInvariant:
            raise
        except Exception as problem:
            if isinstance(event, RunFaulted):
                log.exception("cannot even hold %s/%s", ref.campaign, ref.run_id)
                return None
            log.exception("%s/%s is held", ref.campaign, ref.run_id)
            return self.apply(ref, RunFaulted(event.at, f"{type(problem).__name__}: {problem}"))

    def observed(self, ref: RunRef, n: int, vitals: Vitals) -> None:
        """What was seen of the live attempt `n`; stored with the run's next move."""
        run = self.runs.get(ref)
        attempt = None if run is None else run.live_attempt
        if run is not None and attempt is not None and attempt.n == n:
            self.runs[ref] = replace(run, attempts=(*run.attempts[:-1], replace(attempt, vitals=vitals)))

    def record(self, ref: RunRef, now: Run, event: Event) -> None:
        """Enter a state that files prove (`rebuild`), past the tables."""
        before = self.get(ref)
        if before is not None:
            self._move(ref, before, Step(now, words=now.words), event)

    def _move(self, ref: RunRef, before: Run, result: Step, event: Event) -> None:
        now = result.run
        if self.check:
            faults = broken(now)
            if faults:
                raise BrokenInvariant(f"{ref.campaign}/{ref.run_id} after {event}: {'; '.join(faults)}\n{now}")
        if now is before:
            return
        self.batch.runs[ref] = now
        if now.state in (RunState.PENDING,) or (now.ended and not now.owed):
            if now.owed or any(a.live for a in now.attempts[-1:]):
                self.runs[ref] = now
            else:
                self.runs.pop(ref, None)
                if now.ended:
                    self._specs.pop(ref, None)
        else:
            self.runs[ref] = now
        self._count(ref, before, now)
        if now.state != before.state:
            self._moved(ref, before, now, event.at)
        if _startable(now) and not _startable(before):
            self.requeue(now)
        if result.words:
            attempt = event.n if isinstance(event, OfAttempt) else (now.attempt.n if now.attempt else None)
            self.batch.story.append(
                StoryEntry(ref.campaign, ref.run_id, event.at, type(event).__name__, before.state.value,
                           now.state.value, result.words, attempt)
            )  # fmt: skip
        for effect in result.effects:
            self.asked.append((ref, effect))
            if isinstance(effect, StartAttempt | FinishRun):
                self.batch.durable = True
        proven = self._learn(ref, result.lessons, event.at)
        campaign = self.campaigns[ref.campaign]
        counted = causes.moved(campaign, before, now)
        if counted is not campaign:
            self.put(counted)
        self._hear(notices.of_run(before, now), event.at)
        self.on_move(ref, before, now)
        for key, cause in proven:
            words = f"held by a cause in common, {causes.what(cause.name, cause.about)}: {cause.message}"
            for run_id in cause.runs:
                if run_id != ref.run_id:
                    self.apply(RunRef(ref.campaign, run_id), HoldRequested(event.at, cause.name, words, key))

    def _learn(self, ref: RunRef, lessons: Sequence[Lesson], at: Moment) -> list[tuple[str, Cause]]:
        """The campaign learns; returns the causes that have just been proven."""
        proven: list[tuple[str, Cause]] = []
        for lesson in lessons:
            before = self.campaigns[ref.campaign]
            campaign, words = learn(before, lesson)
            if campaign is not before:
                self.put(campaign)
                proven += causes.newly_held(before, campaign)
            if words is not None:
                self.say(campaign.id, ref.run_id, at, words)
        return proven

    def _count(self, ref: RunRef, before: Run | None, now: Run) -> None:
        was = before is not None and before.live_attempt is not None
        live = now.live_attempt is not None
        if was != live:
            self.live[ref.campaign] = self.live.get(ref.campaign, 0) + (1 if live else -1)
        owed = before is not None and before.ended and bool(before.owed)
        owes = now.ended and bool(now.owed)
        if owed != owes:
            self.owing[ref.campaign] = self.owing.get(ref.campaign, 0) + (1 if owes else -1)
            self._touched.add(ref.campaign)

    def _moved(self, ref: RunRef, before: Run, now: Run, at: Moment) -> None:
        self.put(moved(self.campaigns[ref.campaign], before, now))
        if now.state == RunState.WAITING and now.due is not None:
            heapq.heappush(self._waiting, (now.due.mono, ref))

    # --- campaigns -----------------------------------------------------------------------------------------

    def put(self, campaign: Campaign) -> None:
        """A campaign's record has changed."""
        self.campaigns[campaign.id] = campaign
        self.batch.campaigns[campaign.id] = campaign
        self._touched.add(campaign.id)

    def add_runs(self, campaign: Campaign, specs: Sequence[RunSpec]) -> Campaign:
        """Rows join the end of the queue."""
        first = campaign.runs_total
        rows = [(first + i, spec) for i, spec in enumerate(specs)]
        self.batch.added.setdefault(campaign.id, []).extend(rows)
        queue = self._queues.setdefault(campaign.id, [])
        queue.extend((-spec.policy.priority, position) for position, spec in rows)
        heapq.heapify(queue)
        counts = dict(campaign.counts)
        counts[RunState.PENDING.value] = counts.get(RunState.PENDING.value, 0) + len(rows)
        campaign = replace(campaign, runs_total=first + len(rows), counts=counts)
        self.put(campaign)
        return campaign

    def change_rows(self, campaign: str, policies: Mapping[str, RowPolicy], at: Moment) -> None:
        """Rows that are there get another policy of their own; the queue follows their priority."""
        places: dict[int, int] = {}
        for run_id, policy in policies.items():
            ref = RunRef(campaign, run_id)
            run = self.get(ref)
            if run is None:
                continue
            self._drawn[ref] = run  # read once: a sheet may have 100,000 of them
            spec = self._specs[ref] = replace(self.spec(ref), policy=policy)
            if ref not in self.runs:
                del self._specs[ref]  # memory holds no rows of runs that rest
            self.apply(ref, RowAmended(at, policy))
            self.batch.changed.setdefault(campaign, []).append((run.position, spec))
            places[run.position] = -policy.priority
        queue = self._queues.get(campaign, [])
        queue[:] = [(places.get(position, place), position) for place, position in queue]
        heapq.heapify(queue)

    def say(self, campaign: str, run_id: str, at: Moment, words: str) -> None:
        """A sentence that belongs to the campaign; `run_id` may be empty."""
        self.said.append((campaign, words))
        self.batch.story.append(StoryEntry(campaign, run_id, at, "Said", "", "", words))

    def tell(
        self, key: str, campaign: str, kind: NoticeKind, at: Moment, what: str, *, why: str = "", command: str = "",
        runs: int = 0, delay: float = 0.0,
    ) -> None:  # fmt: skip
        """Owe a person a notice (`model.notices.Telling`). `key` names the cause within the campaign: the same one
        again joins a notice that has not gone out, and is told anew only when the cool-down has passed."""
        self._hear((Telling(campaign, key, kind, what, why, command, runs, delay),), at)

    def _hear(self, words: Iterable[notices.Word], at: Moment) -> None:
        try:
            for word in words if self.telling else ():
                self.tidings.hear(word, at)
        except Exception:  # what a person is not told must not keep a run from moving
            if self.check:
                raise
            log.exception("a notice is lost")

    def untell(self, key: str, campaign: str, at: Moment) -> None:
        """The cause is cured: what has not gone out need not."""
        self._hear((Untelling(campaign, key),), at)

    def settle(self, now: Moment) -> list[str]:
        """Bring states of campaigns up to date; returns those that changed in any way."""
        touched, self._touched = self._touched, set()
        for name in touched:
            before = self.campaigns[name]
            settled = settle(before, self.owing.get(name, 0) > 0, now)
            if settled is not before:
                self.campaigns[name] = self.batch.campaigns[name] = settled
            self._hear(notices.of_campaign(self._as_told.get(name), settled), now)
            self._as_told[name] = settled
        return sorted(touched)

    def commit(self) -> list[tuple[RunRef, Effect]]:
        """Commit the turn; returns the effects that are now owed and to be performed. Raises StoreError and
        keeps everything for the next turn if the store cannot."""
        if self.batch:
            self.store.commit(self.batch)
        self.batch = Batch()
        self._drawn.clear()
        asked, self.asked = self.asked, []
        return asked


def _startable(run: Run) -> bool:
    return run.state == RunState.PENDING and not run.owed
