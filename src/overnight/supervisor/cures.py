"""Causes that several runs have in common: probed off the loop, let go, or judged. What is decided is in `core.causes`
and `core.scouts`; all of it is state of the campaign, committed with its consequences."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

from overnight.core import causes, scouts
from overnight.model.campaign import Campaign
from overnight.model.cures import Cured, CureOrder
from overnight.model.events import CauseCured, JudgementDue
from overnight.model.states import AttemptState, RunState
from overnight.model.time import Moment
from overnight.ports import CureProbe, RunRef
from overnight.supervisor.ledger import Ledger
from overnight.supervisor.orders import Orders, command_dir
from overnight.supervisor.watches import Watches
from overnight.supervisor.workers import Done, Workers

log = logging.getLogger(__name__)

FREED_PER_TURN = 500  # runs of a cause that is let go: the loop stays quick


class Cures:
    """Looks after held causes and holds, a little each turn."""

    def __init__(self, ledger: Ledger, orders: Orders, workers: Workers, probe: CureProbe, watches: Watches) -> None:
        self._ledger = ledger
        self._orders = orders
        self._workers = workers
        self._probe = probe
        self._watches = watches
        self._looking: set[tuple[str, str]] = set()
        self._now = float("-inf")

    def tend(self, now: Moment) -> bool:
        """Send out the probes that are due, sweep what was let go, judge what waited. True: there is more to sweep."""
        more, self._now = False, now.mono
        for campaign in list(self._ledger.campaigns.values()):
            if campaign.hold is not None:
                self._look_for_proof(campaign, now)
            if campaign.causes:
                self._send(campaign, now)
                more = self._sweep(campaign, now) or more
                self._judge(campaign.id, now)
        return more

    def next_due(self) -> float | None:
        """When the next probe or scout will be due (monotonic seconds). What is due already is under way, or waits
        for something else."""
        times = []
        for campaign in self._ledger.campaigns.values():
            if campaign.hold is not None and self._ledger.queued(campaign.id):
                times.append(campaign.hold.due.mono)
            for key, cause in campaign.causes.items():
                if cause.due is not None and (campaign.id, key) not in self._looking:
                    times.append(cause.due.mono)
        return min((at for at in times if at > self._now), default=None)

    # --- probes --------------------------------------------------------------------------------------------

    def _send(self, campaign: Campaign, now: Moment) -> None:
        for key in causes.probes_due(campaign, now):
            if (campaign.id, key) in self._looking:
                continue
            self._looking.add((campaign.id, key))
            cause = campaign.causes[key]
            order = CureOrder(
                cause.name, cause.about, command_dir(campaign), self._orders.launch_env(campaign.id), cause.relapses
            )
            self._workers.submit(("cure", campaign.id, key), self._job(order))

    def _job(self, order: CureOrder) -> Callable[[], Cured]:
        return lambda: self._probe.cured(order)

    def seen(self, campaign_id: str, key: str, done: Done, now: Moment) -> None:
        """A probe is back. One that failed has found nothing."""
        self._looking.discard((campaign_id, key))
        campaign = self._ledger.campaigns.get(campaign_id)
        if campaign is None:
            return
        found: Any = done.value
        if done.problem is not None:
            log.warning("cannot probe %s of %s: %s", key, campaign_id, done.problem)
            found = Cured(False, f"it could not be probed: {done.problem}")
        self._learned(campaign, *causes.probed(campaign, key, found.cured, found.words, now), now)

    def _learned(self, before: Campaign, now_: Campaign, words: str | None, now: Moment) -> None:
        if now_ is not before:
            self._ledger.put(now_)
        if words is not None:
            self._ledger.say(before.id, "", now, words)

    # --- letting go and judging ----------------------------------------------------------------------------

    def _sweep(self, campaign: Campaign, now: Moment) -> bool:
        for key, cause in campaign.causes.items():
            if not cause.freed:
                continue
            held = list(self._held_by(campaign.id, key))
            for ref in held[:FREED_PER_TURN]:
                self._ledger.apply(ref, CauseCured(now, key, f"goes on: {cause.freed}"))
            if len(held) > FREED_PER_TURN:
                return True
        return False

    def _judge(self, campaign_id: str, now: Moment) -> None:
        for key in causes.judgements(self._ledger.campaigns[campaign_id]):
            for ref in list(self._held_by(campaign_id, key)):
                self._ledger.apply(ref, JudgementDue(now, key))

    def _held_by(self, campaign: str, key: str) -> Iterator[RunRef]:
        for ref, run in self._ledger.runs.items():
            if ref.campaign == campaign and run.state == RunState.HELD and run.held_by == key:
                yield ref

    # --- scouts --------------------------------------------------------------------------------------------

    def _look_for_proof(self, campaign: Campaign, now: Moment) -> None:
        """A success may take a night; a run that is well past where others failed shows as much."""
        for ref, watch in self._watches.by_run.items():
            if ref.campaign != campaign.id or watch.attempt.state != AttemptState.RUNNING:
                continue
            if scouts.got_past(campaign, watch.vitals, watch.vitals.seconds):
                why = f"{ref.run_id} is well past where the others failed"
                self._learned(campaign, *scouts.let_go(campaign, why, proven=True), now)
                return


def changed_code(campaign: Campaign, at: Moment) -> tuple[Campaign, str | None]:
    """What other code may have mended is tried again."""
    campaign, words = scouts.let_go(campaign, "the code changed")
    return causes.let_go_of(campaign, causes.BY_CODE, "the code changed", at), words


def awaits_code(campaign: Campaign) -> bool:
    """Whether changed code would let something go: then it is looked at even if nothing starts."""
    held = any(cause.size and cause.name in causes.BY_CODE for cause in campaign.causes.values())
    return held or campaign.hold is not None
