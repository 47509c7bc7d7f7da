"""The loop: one turn takes what happened, decides, commits, and only then acts.

`turn` never waits. Whoever drives it (a selector in production, the simulator in tests) calls it again when a
descriptor is readable or the time it returned has come.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from overnight.model.codec import replace
from overnight.model.effects import Effect, FinishRun, SetAside, StartAttempt, StopAttempt, VerifyAttempt
from overnight.model.events import AttemptEnded, RetryDue, RunFaulted
from overnight.model.requests import Launch, campaign_of
from overnight.model.run import Run, Vitals
from overnight.model.time import Moment
from overnight.ports import (
    Clock,
    CodeWatch,
    CureProbe,
    Cursor,
    Examiner,
    Executor,
    Files,
    Inbox,
    Look,
    LookOrder,
    Notifier,
    Probe,
    RunRef,
    Store,
    StoreError,
    Tenure,
)
from overnight.supervisor.cures import Cures
from overnight.supervisor.deadlines import Deadlines
from overnight.supervisor.dispatch import Dispatch
from overnight.supervisor.ground import Ground
from overnight.supervisor.herald import Herald
from overnight.supervisor.launches import LaunchFiles
from overnight.supervisor.ledger import Ledger
from overnight.supervisor.orders import Orders
from overnight.supervisor.peeks import Peeks
from overnight.supervisor.petitions import ASKED_TO_GO, Petitions
from overnight.supervisor.planner import Planner
from overnight.supervisor.revisions import Revisions
from overnight.supervisor.scribe import Scribe
from overnight.supervisor.stepping_down import step_down
from overnight.supervisor.watches import Watches
from overnight.supervisor.workers import Done, Workers

log = logging.getLogger(__name__)

IDLE_SECONDS = 5.0  # the longest sleep: the counter in the lock file must move
GAP_SECONDS = 5.0  # a turn later than planned by this much: we, or the machine, were suspended
VITALS_SECONDS = 2.0  # progress of live runs is stored at most this often
SILENCE_SECONDS = 60.0  # and of silent ones this often
STORE_AGAIN = 2.0  # seconds until a commit that failed is tried again
LOOKS_PER_JOB = 32
RENEW_SECONDS = 10.0  # who waits for our lease to lapse waits for nine of them


class Supervisor:
    """All that decides, for one root. `watch_only`: keeps limits and exits, starts nothing."""

    def __init__(
        self, *, store: Store, clock: Clock, inbox: Inbox, executors: Mapping[str, Executor], probe: Probe,
        examiner: Examiner, files: Files, launch_files: LaunchFiles, code: CodeWatch, workers: Workers,
        orders: Orders, cures: CureProbe, roll: Callable[[], float], tenure: Tenure, watch_only: bool = False,
        check: bool = False,
        notifier: Notifier | None = None,
    ) -> None:  # fmt: skip
        self.clock = clock
        self.ledger = Ledger(store, check=check)
        self.watches = Watches()
        self.workers = workers
        self.watch_only = watch_only
        self.problem = ""  # why the store cannot be written
        self.superseded = ""  # another host leads this root: who, in words
        self._inbox = inbox
        self._executors = executors
        self._probe = probe
        self.peeks = Peeks(workers, probe, orders, self.ledger, self.watches)
        self._orders = orders
        self._tenure = tenure
        self._renewal_due = clock.now().mono
        self.dispatch = Dispatch(self.ledger, workers, orders, executors, probe, examiner, files, roll)
        self.revisions = Revisions(self.ledger)
        self.petitions = Petitions(self.ledger, workers, launch_files, self.revisions, self._code_known)
        self.scribe = Scribe(self.ledger, workers, files, launch_files, self.revisions)
        self.cures = Cures(self.ledger, orders, workers, cures, self.watches)
        ground = Ground(self.ledger, workers, files)
        self.planner = Planner(self.ledger, self.dispatch, orders, workers, code, ground, self.revisions.of_code)
        self.deadlines = Deadlines(self.ledger)
        self.herald = Herald(self.ledger, workers, notifier, orders.layout.root)
        self.ledger.on_move = self._moved
        self._now = clock.now()
        self._wake: float | None = None
        self._vitals_due = 0.0
        self._silence_due = self._now.mono + SILENCE_SECONDS
        self._taken: list[str] = []
        self._read_again = False
        self._complaints: dict[str, str] = {}
        self._stopped: set[tuple[RunRef, StopAttempt]] = set()  # begun although they could not be committed yet

    @property
    def stop_wanted(self) -> bool:
        """A person asked the supervisor to go, and that is committed."""
        return self.petitions.stop_wanted and not self.ledger.batch

    def _code_known(self, campaign: str, now: Moment) -> None:
        self.planner.code_known(campaign, now)

    def _moved(self, ref: RunRef, before: Run, now: Run) -> None:
        self.watches.follow(ref, now, self._now)
        if before.live_attempt is not None and now.live_attempt is None:
            self.planner.freed()

    # --- recovery ------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Take over: adopt what lives, perform what is still owed. There is no other restore logic."""
        self._now = now = self.clock.now()
        ledger = self.ledger
        ledger.load()
        ledger.rebase_waits(now)
        self.herald.recover(now, self.watch_only)
        for ref, run in list(ledger.runs.items()):
            self.watches.follow(ref, run, now)
            owed = [effect for effect in run.owed if self._may_perform(effect)]
            starting = any(isinstance(effect, StartAttempt) for effect in owed)
            self.dispatch.recovered(ref, run)
            try:
                if run.live_attempt is not None and not starting:
                    self.dispatch.adopt(ref, run)
            except Exception as problem:
                log.exception("cannot adopt %s/%s", ref.campaign, ref.run_id)
                ledger.apply(ref, RunFaulted(now, f"{type(problem).__name__}: {problem}"))
            for effect in owed:
                self.dispatch.perform(ref, effect, now)
        asked = ledger.store.meta(ASKED_TO_GO)
        for campaign in list(ledger.campaigns.values()):
            if campaign.ended is None:
                self.revisions.recover(campaign.id)
                if not asked:
                    ledger.put(replace(campaign, recovered=campaign.recovered + 1))
            self.scribe.changed((campaign.id,))
        if asked:
            ledger.batch.meta[ASKED_TO_GO] = ""

    # --- the turn ------------------------------------------------------------------------------------------

    def turn(self) -> float:
        """One turn; returns how long (seconds) may be slept at most if nothing happens."""
        now = self.clock.now()
        self._notice_gap(now)
        self._now = now
        self._read_again = False
        self._take_requests(now)
        for executor in self._executors.values():
            for ref, event in executor.poll():
                if isinstance(event, AttemptEnded):
                    self._last_seen(ref, event.n)
                self.ledger.apply(ref, event)
            if executor.freed():
                self.planner.freed()
            for condemned in executor.condemned():
                self.planner.condemned(condemned, now)
        for done in self.workers.results():
            self._done(done, now)
        for ref in list(self.ledger.waits_due(now)):
            self.ledger.apply(ref, RetryDue(now))
        more = self.petitions.sweep_cancelled(now)
        more = self.deadlines.sweep(now) or more
        more = self.cures.tend(now) or more
        if not self.watch_only and not self.problem:
            self.planner.plan(now)
        self._store_vitals(now)
        self.herald.think(now)
        self.scribe.changed(self.ledger.settle(now))
        self._commit(now)
        self.herald.act(now, self.problem)
        self._look(now)
        self._renew(now)
        if not self.problem:
            self.scribe.write(now)
        self.dispatch.again(now)
        if self.ledger.asked or self.ledger.batch.answers or self._read_again:
            more = True
        sleep = 0.0 if (more and not self.problem) or self.workers.waiting() else self._sleep(now)
        self._wake = now.mono + sleep
        return sleep

    def _notice_gap(self, now: Moment) -> None:
        """Suspended (SIGSTOP, machine asleep, frozen VM): what passed is taken out of every limit."""
        if self._wake is None:
            return
        late = now.mono - self._wake
        if late > GAP_SECONDS:
            log.warning("%.1f s passed unseen: taken out of every limit", late)
            self.watches.skip(late)

    def _take_requests(self, now: Moment) -> None:
        try:
            requests = self._inbox.read()
        except OSError as problem:  # requests lie there as long as nobody takes them; what lives is watched meanwhile
            self._complain("the inbox", problem)
            return
        launching: set[str] = set()
        for request in requests:
            campaign = campaign_of(request)
            if request.id in self._taken or campaign in launching:
                continue
            if self.petitions.take(request, now):
                self._taken.append(request.id)
            else:  # what is asked of it comes after its launch
                launching.add(campaign)

    def _done(self, done: Done, now: Moment) -> None:
        match done.tag:
            case ("look", tuple() as names):
                self._seen(names, done, now)
            case ("lease",):
                self._renewal_due = now.mono + RENEW_SECONDS
                if done.problem is not None:
                    log.warning("the lease of the root: %s", done.problem)
                self.superseded = done.value or ""
            case ("room",):
                self.planner.ground.seen(done, now)
            case ("code", str() as campaign):
                self.planner.code_seen(campaign, done.value, done.problem, now)
            case ("manifest", Launch() as request):
                self.petitions.take(request, now, done)
                self._taken.append(request.id)
                self._read_again = True  # what waited for it in the inbox
            case ("cure", str() as campaign, str() as key):
                self.cures.seen(campaign, key, done, now)
            case ("peek", RunRef() as ref, int() as n):
                self.peeks.seen(ref, n, done)
            case _ if self.herald.done(done, now) or self.scribe.done(done, now):
                pass
            case _:
                result = self.dispatch.done(done, now)
                if result is not None:
                    self.ledger.apply(*result)

    def _commit(self, now: Moment) -> None:
        try:
            asked = self.ledger.commit()
        except StoreError as problem:
            # Nothing that was decided is done before it is on disk; what lives is still watched.
            if str(problem) != self.problem:
                log.error("cannot commit: %s", problem)
            self.problem = str(problem)
            self._stop_all_the_same(now)
            return
        self.problem = ""
        try:
            self._inbox.delete(self._taken)
            self._taken = []
        except OSError as problem:  # they are answered: whoever meets them again passes them over
            self._complain("the inbox", problem)
        for campaign, words in self.ledger.said:
            log.info("%s: %s", campaign, words)
        self.ledger.said.clear()
        stopped, self._stopped = self._stopped, set()
        # What an end leaves to be done comes after what begins elsewhere, which runs meanwhile.
        for ref, effect in sorted(asked, key=lambda item: isinstance(item[1], VerifyAttempt | FinishRun | SetAside)):
            if (ref, effect) not in stopped and self._may_perform(effect):
                self.dispatch.perform(ref, effect, now)

    def _may_perform(self, effect: Effect) -> bool:
        return not (self.watch_only and isinstance(effect, StartAttempt | SetAside))

    def _stop_all_the_same(self, now: Moment) -> None:
        """Limits hold on a full disk, too. A stop is the one effect that needs no record before it: should we die
        before there is one, the attempt ended by a request that nobody remembers, and its run goes on."""
        for ref, effect in self.ledger.asked:
            if isinstance(effect, StopAttempt) and (ref, effect) not in self._stopped:
                self._stopped.add((ref, effect))
                self.dispatch.perform(ref, effect, now)

    def _sleep(self, now: Moment) -> float:
        times = [
            self.ledger.next_wait(), self.watches.next_due(), self.planner.next_due(now), self.dispatch.next_again(),
            self.deadlines.next_due(now), self._renewal_due, self.planner.ground.next_due(now),
            None if self.problem else self.herald.next_due(),
            self.cures.next_due(),
            now.mono + STORE_AGAIN if self.problem else None,
            None if self.problem else self.scribe.next_due(),
            *(executor.due() for executor in self._executors.values()),
        ]  # fmt: skip
        first = min((at for at in times if at is not None), default=now.mono + IDLE_SECONDS)
        return min(max(0.0, first - now.mono), IDLE_SECONDS)

    # --- looks ---------------------------------------------------------------------------------------------

    def _look(self, now: Moment) -> None:
        """Send out the looks that are due, and act on limits that have passed."""
        orders = []
        for ref, watch in self.watches.looks_due(now):
            run = self.ledger.runs.get(ref)
            campaign = self.ledger.campaigns.get(ref.campaign)
            if run is None or campaign is None:
                continue
            try:
                event = self.watches.passed(ref, run, campaign, now)
                if event is None:
                    self.peeks.consider(ref, run, campaign, watch)
                if watch.looking is None:
                    orders.append(self._orders.look(run, campaign, watch, self.ledger.spec(ref), now))
                    watch.looking = now.mono
                interval = self.watches.look_interval(run, campaign, watch)
            except Exception as problem:
                event, interval = RunFaulted(now, f"{type(problem).__name__}: {problem}"), IDLE_SECONDS
            self.watches.later(ref, watch, now.mono + interval)
            if event is not None:
                self.ledger.apply(ref, event)
        for i in range(0, len(orders), LOOKS_PER_JOB):
            batch = orders[i : i + LOOKS_PER_JOB]
            names = tuple((order.ref, order.n) for order in batch)
            self.workers.submit(("look", names), self._looker(batch))

    def _looker(self, orders: Sequence[LookOrder]) -> Callable[[], list[Look]]:
        return lambda: [self._probe.look(order) for order in orders]

    def _seen(self, names: Iterable[tuple[RunRef, int]], done: Done, now: Moment) -> None:
        looks: Iterable[Look] = done.value or ()
        if done.problem is not None:
            log.warning("looks failed: %s", done.problem)
            looks = [Look(ref, n, Cursor(), False, problem=str(done.problem)) for ref, n in names]
        for look in looks:
            watch, run = self.watches.by_run.get(look.ref), self.ledger.runs.get(look.ref)
            campaign = self.ledger.campaigns.get(look.ref.campaign)
            if watch is None or watch.attempt.n != look.n or run is None or campaign is None:
                continue
            try:
                watch.seen(look, now)
                event = self.watches.after_look(look.ref, run, campaign, now)
            except Exception as problem:
                event = RunFaulted(now, f"{type(problem).__name__}: {problem}")
            if event is not None:
                self.ledger.apply(look.ref, event)

    def _last_seen(self, ref: RunRef, n: int) -> None:
        """An attempt takes along what its looks saw: the gaps that `auto` limits learn from, how long it ran
        if there is no record of it."""
        watch = self.watches.by_run.get(ref)
        if watch is not None and watch.attempt.n == n:
            self.ledger.observed(ref, n, watch.vitals)

    def _store_vitals(self, now: Moment) -> None:
        if now.mono < self._vitals_due or self.problem:
            return
        changed: dict[RunRef, Vitals] = {}
        # Silence is stored too: a supervisor that dies again and again must still come to see a stall.
        everything = now.mono >= self._silence_due
        if everything:
            self._silence_due = now.mono + SILENCE_SECONDS
        for ref, watch in self.watches.by_run.items():
            if watch.dirty or everything:
                watch.dirty = False
                changed[ref] = watch.vitals
        if changed:
            self.ledger.batch.vitals.update(changed)
            self._vitals_due = now.mono + VITALS_SECONDS

    def _renew(self, now: Moment) -> None:
        """Say that we lead the root. One word at a time: the root's file system may hang for hours."""
        if now.mono < self._renewal_due:
            return
        self._renewal_due = float("inf")
        tenure, live = self._tenure, sum(self.ledger.live.values())
        self.workers.submit(("lease",), lambda: tenure.renew(live))

    def step_down(self, wait: Callable[[float], object]) -> list[RunRef]:
        """Another host leads: end what lives here and do nothing else; those that would not end."""
        return step_down(self.ledger, self._executors, self._orders, wait)

    def _complain(self, what: str, problem: OSError) -> None:
        """Once, not with every turn."""
        if self._complaints.get(what) != str(problem):
            self._complaints[what] = str(problem)
            log.warning("%s: %s", what, problem)
