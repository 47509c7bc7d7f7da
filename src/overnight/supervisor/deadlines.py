"""Deadlines of campaigns: nothing starts that could not be kept, and what lives is ended while there is time."""

from collections.abc import Iterator, Mapping

from overnight.core import deadline
from overnight.manifest import deadline_seconds
from overnight.model.campaign import Campaign
from overnight.model.codec import replace
from overnight.model.events import DeadlineReached
from overnight.model.states import OVER, RunState
from overnight.model.time import Moment, after
from overnight.ports import RunRef
from overnight.supervisor.ledger import SWEPT_PER_TURN, Ledger


def with_deadline(campaign: Campaign, env: Mapping[str, str], now: Moment) -> Campaign:
    """The campaign with its deadline counted from now: at launch, where it was amended, or once it has passed.
    `env`: of the shell that typed, whose scheduler's job ends at some time."""
    seconds = deadline_seconds(campaign.policy.limits.deadline, env, now.wall)
    return replace(campaign, deadline=None if seconds is None else after(now, seconds))


class Deadlines:
    """Applies them, some runs each turn."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def sweep(self, now: Moment) -> bool:
        """Hold what may not start any more, end what lives. True: there is more to do at once."""
        more = False
        for campaign in list(self._campaigns()):
            words = deadline.too_short(campaign, now)
            if not words:
                continue
            event = DeadlineReached(now, words)
            for ref in list(self._moving(campaign.id, deadline.reached(campaign, now))):
                self._ledger.apply(ref, event)
            for _ in range(SWEPT_PER_TURN):
                entry = self._ledger.next_queued(campaign.id)
                if entry is None:
                    break
                self._ledger.apply(entry[0], event)
            more = more or self._ledger.queued(campaign.id) > 0
        return more

    def next_due(self, now: Moment) -> float | None:
        """When one of them may have something to do (monotonic seconds)."""
        checks = [deadline.next_check(campaign, now) for campaign in self._campaigns()]
        return min((now.mono + seconds for seconds in checks if seconds is not None and seconds > 0), default=None)

    def _campaigns(self) -> Iterator[Campaign]:
        for campaign in self._ledger.campaigns.values():
            if campaign.deadline is not None and campaign.state not in OVER and not campaign.cancelling:
                yield campaign

    def _moving(self, campaign: str, reached: bool) -> Iterator[RunRef]:
        for ref, run in self._ledger.runs.items():
            if ref.campaign != campaign:
                continue
            live = run.live_attempt  # also of a run that is held
            if run.state == RunState.WAITING or (reached and live is not None and live.stop is None):
                yield ref
