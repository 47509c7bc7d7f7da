"""The planner's hands: takes slots for queued runs and keeps an eye on the code they would run."""

import logging
from collections.abc import Callable
from typing import Any

from overnight.core import plan, retry, scouts
from overnight.model.campaign import Campaign
from overnight.model.codec import replace
from overnight.model.events import RunPlanned
from overnight.model.manifest import RunSpec
from overnight.model.notices import NoticeKind
from overnight.model.policy import CodeIdentity
from overnight.model.run import Run
from overnight.model.time import Moment, elapsed
from overnight.ports import Busy, CodeWatch, Condemned, Placement, RunRef
from overnight.supervisor.cures import awaits_code, changed_code
from overnight.supervisor.dispatch import Dispatch
from overnight.supervisor.ground import Ground
from overnight.supervisor.ledger import Ledger
from overnight.supervisor.orders import Orders, command_dir
from overnight.supervisor.workers import Workers

log = logging.getLogger(__name__)

CODE_FRESH = 5.0  # seconds: no attempt starts on an older look at the code
CODE_AHEAD = 2.5  # while starts go on, the next look is taken this early
CODE_REVISIONS = 40  # of a campaign; changed code makes no more after that
CODE_AWAITED = 60.0  # where changed code would let something go, it is looked at this often
PASSED_OVER = 8  # runs that wait for another slot than the free ones, until nothing is tried for a second
SCOUT_SAMPLE = 200  # runs of a queue that a scout is chosen from
SLOT_AGAIN = 1.0  # seconds until a taken slot is tried again


class Planner:
    """Starts what may start. `revise(campaign, code, patch)` makes the revision that changed code is."""

    def __init__(
        self, ledger: Ledger, dispatch: Dispatch, orders: Orders, workers: Workers, code: CodeWatch,
        ground: Ground, revise: Callable[[Campaign, CodeIdentity, str | None, Moment], Campaign],
    ) -> None:  # fmt: skip
        self.ground = ground
        self._ledger = ledger
        self._dispatch = dispatch
        self._orders = orders
        self._workers = workers
        self._code = code
        self._revise = revise
        self._seen: dict[str, float] = {}  # by campaign: when the code was last looked at (monotonic)
        self._looking: set[str] = set()
        self._blocked: dict[str, float] = {}  # by campaign: when slots are tried again (monotonic)
        self.busy: dict[str, str] = {}  # by campaign: who holds what it waits for

    def plan(self, now: Moment) -> None:
        """Give slots to queued runs, campaign by campaign, in order."""
        ledger = self._ledger
        standings = [
            plan.Standing(c, ledger.live.get(c.id, 0), ledger.queued(c.id), scouts.due(c, now))
            for c in ledger.campaigns.values()
            if ledger.queued(c.id) and c.id not in ledger.batch.added
        ]
        self._await_code(now)
        for standing in plan.order(standings):
            campaign = standing.campaign
            if self._blocked.get(campaign.id, 0.0) > now.mono or not self._code_is_fresh(campaign, now):
                continue
            if not self.ground.bears(campaign, now):
                continue
            for _ in range(plan.room(standing)):
                if not self._start_one(campaign.id, now):
                    break

    def freed(self) -> None:
        """A slot of ours came free: nobody needs to wait for the next try."""
        self._blocked.clear()

    def condemned(self, slot: Condemned, now: Moment) -> None:
        """A GPU could not be proven free behind an attempt: it is said before it is quarantined. Another root's
        attempt may have left it so; then it concerns nobody here but the host."""
        entry = slot.slot.partition(":")[2] or slot.slot
        known = slot.ref.campaign in self._ledger.campaigns
        campaign = slot.ref.campaign if known else ""
        if known:
            words = f"GPU {entry} is quarantined: {slot.why}"
            self._ledger.say(campaign, slot.ref.run_id, now, words)
        self._ledger.tell(
            f"quarantine:{slot.slot}", campaign, NoticeKind.NEEDS_YOU, now, f"GPU {entry} is quarantined",
            why=f"{slot.why}. The rest go on", command=f"overnight slots release {entry}",
        )  # fmt: skip

    def next_due(self, now: Moment) -> float | None:
        """When a blocked campaign tries again (monotonic seconds). One whose time has come and that has not tried waits
        for something else: a person who paused it, room on a disk."""
        return min(
            (at for name, at in self._blocked.items() if at > now.mono and self._ledger.queued(name)), default=None
        )

    def _start_one(self, campaign_id: str, now: Moment) -> bool:
        ledger = self._ledger
        passed_over: list[Run] = []
        try:
            while True:
                campaign = ledger.campaigns[campaign_id]
                entry = ledger.next_queued(campaign_id) if campaign.hold is None else self._scout(campaign)
                if entry is None:
                    if passed_over:
                        self._blocked[campaign_id] = now.mono + SLOT_AGAIN
                    return False
                ref, run = entry
                placement = self._place(run, campaign, now)
                if not isinstance(placement, Busy):
                    return self._start(ref, run, placement, now)
                passed_over.append(run)
                # Only suspect slots are free for it, and it waits for another: they are good enough for the next.
                if not placement.only_avoided or len(passed_over) >= PASSED_OVER or campaign.hold is not None:
                    self._wait(campaign, placement, now)
                    return False
        finally:
            for run in passed_over:
                ledger.requeue(run)

    def _place(self, run: Run, campaign: Campaign, now: Moment) -> Placement | Busy:
        executor = self._dispatch.executor(campaign.id)
        request = self._orders.slot(run, campaign)
        placement = executor.acquire(request)
        if isinstance(placement, Busy) and placement.only_avoided and not retry.waits_for_another(campaign, run, now):
            placement = executor.acquire(replace(request, avoid=()))
        return placement

    def _wait(self, campaign: Campaign, busy: Busy, now: Moment) -> None:
        self._blocked[campaign.id] = now.mono + SLOT_AGAIN
        if self.busy.get(campaign.id) != busy.words:
            self.busy[campaign.id] = busy.words
            self._ledger.put(replace(campaign, words=f"waiting for a slot: {busy.words}"))

    def _start(self, ref: RunRef, run: Run, placement: Placement, now: Moment) -> bool:
        campaign = self._ledger.campaigns[ref.campaign]
        if self.busy.pop(campaign.id, None) is not None:
            campaign = replace(campaign, words="")
            self._ledger.put(campaign)
        n = run.attempts[-1].n + 1 if run.attempts else 1
        event = RunPlanned(now, n, placement.slot, campaign.revision, campaign.code, placement.port)
        step = self._ledger.apply(ref, event)
        if step is None or step.ignored is not None or step.run.attempt is None or not step.run.attempt.live:
            self._dispatch.executor(campaign.id).release(placement.slot)
        elif campaign.hold is not None:
            self._scouting(campaign.id, run, now)
        return True

    def _scout(self, campaign: Campaign) -> tuple[RunRef, Run] | None:
        """Of the runs that wait (of very many, a sample) the one that differs most from those that failed."""
        ledger = self._ledger
        named = (self._spec(RunRef(campaign.id, run_id)) for run_id in scouts.failed_runs(campaign))
        failed = [spec for spec in named if spec is not None]
        rows, places = [], []
        for position in ledger.queued_positions(campaign.id, SCOUT_SAMPLE):
            run = ledger.at(campaign.id, position)
            spec = None if run is None else self._spec(RunRef(campaign.id, run.run_id))
            if spec is not None:
                rows.append(spec)
                places.append(position)
        if not rows:
            return ledger.next_queued(campaign.id)
        return ledger.take_queued(campaign.id, places[scouts.most_different(rows, failed)])

    def _spec(self, ref: RunRef) -> RunSpec | None:
        try:
            return self._ledger.spec(ref)
        except (KeyError, ValueError):  # a record that cannot be read is that run's own trouble
            return None

    def _scouting(self, campaign_id: str, run: Run, now: Moment) -> None:
        campaign = scouts.started(self._ledger.campaigns[campaign_id], now)
        self._ledger.put(campaign)
        assert campaign.hold is not None
        wait = elapsed(now, campaign.hold.due)
        words = f"{run.run_id} goes as a scout: its row differs most from those that failed; the next in {wait:.0f} s"
        self._ledger.say(campaign_id, run.run_id, now, words)

    # --- code ----------------------------------------------------------------------------------------------

    def _await_code(self, now: Moment) -> None:
        for campaign in self._ledger.campaigns.values():
            if awaits_code(campaign) and campaign.ended is None:
                self._code_is_fresh(campaign, now, CODE_AWAITED)

    def _code_is_fresh(self, campaign: Campaign, now: Moment, ahead: float = CODE_AHEAD) -> bool:
        age = now.mono - self._seen.get(campaign.id, float("-inf"))
        if age > ahead and campaign.id not in self._looking:
            self._looking.add(campaign.id)
            code, cwd, known = self._code, command_dir(campaign), campaign.code

            def look() -> Any:
                identity = code.identity(cwd)
                changed = identity.digest is not None and known is not None and identity.digest != known
                return identity, code.patch(cwd) if changed else None

            self._workers.submit(("code", campaign.id), look)
        return age <= CODE_FRESH

    def code_seen(self, campaign_id: str, found: Any, problem: BaseException | None, now: Moment) -> None:
        """A look at the code is back. One that failed holds nothing up: the attempt's code is then unknown."""
        self._looking.discard(campaign_id)
        self._seen[campaign_id] = now.mono
        campaign = self._ledger.campaigns.get(campaign_id)
        if campaign is None:
            return
        if problem is not None:
            log.warning("cannot look at the code of %s: %s", campaign_id, problem)
            return
        identity, patch = found
        if identity.digest is None or identity.digest == campaign.code:
            return
        if campaign.code is None:
            self._ledger.put(replace(campaign, code=identity.digest))
            return
        campaign, let_go = changed_code(campaign, now)
        if let_go is not None:
            self._ledger.say(campaign_id, "", now, let_go)
        if campaign.revision >= CODE_REVISIONS and campaign.policy.code.on_change == "run":
            # Runs that write into their own command's folder would make a revision every few seconds.
            if campaign.revision == CODE_REVISIONS:
                words = (
                    f"the code changed {CODE_REVISIONS} times: from now on attempts name it, without a revision each"
                )
                self._ledger.say(campaign_id, "", now, words)
                campaign = self._revise(campaign, identity, None, now)
            self._ledger.put(replace(campaign, code=identity.digest))
            return
        campaign = self._revise(campaign, identity, patch, now)
        words = f"the code changed: attempts from now on run revision {campaign.revision}"
        if campaign.policy.code.on_change == "hold":
            words = f"the code changed: paused by code.on_change, revision {campaign.revision} would run"
            campaign = replace(campaign, paused=True, paused_why=words)
        self._ledger.put(campaign)
        self._ledger.say(campaign_id, "", now, words)

    def code_known(self, campaign_id: str, now: Moment) -> None:
        """The code was just looked at by a client's request."""
        self._seen[campaign_id] = now.mono
