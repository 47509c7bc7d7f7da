"""The deadline: the host is taken away then (a scheduler's job ends, somebody else has it from 08:00 on)."""

from overnight.model.campaign import Campaign
from overnight.model.run import Run
from overnight.model.time import Moment

CAUSE = "deadline"  # why runs are held that it kept from starting or ended
LEAST_MARGIN_SECONDS = 5 * 60.0  # so long before it live attempts are told to end
AFTER_GRACE_SECONDS = 60.0  # what a shim needs beyond the grace, and we for the record


def seconds_left(campaign: Campaign, now: Moment) -> float | None:
    """Until the host is taken away; None: nobody says so. Within one boot no jump of the wall clock moves it."""
    deadline = campaign.deadline
    if deadline is None:
        return None
    return deadline.mono - now.mono if deadline.boot == now.boot else deadline.wall - now.wall


def margin_seconds(campaign: Campaign) -> float:
    """So long before the deadline live attempts get TERM; then comes their grace."""
    return max(LEAST_MARGIN_SECONDS, campaign.policy.limits.grace + AFTER_GRACE_SECONDS)


def reached(campaign: Campaign, now: Moment) -> bool:
    """It is time to end what lives."""
    left = seconds_left(campaign, now)
    return left is not None and left <= margin_seconds(campaign)


def too_short(campaign: Campaign, now: Moment) -> str:
    """Why nothing may start any more, as a sentence; empty: it may.

    What would be thrown away at the deadline is not begun: its quickest sibling says how long it takes at least to have
    something to keep.
    """
    left = seconds_left(campaign, now)
    if left is None:
        return ""
    usable = left - margin_seconds(campaign)
    if usable <= 0:
        return "the deadline has come: the host is being taken away"
    quickest = campaign.quickest
    if quickest is not None and quickest > usable:
        what = "took" if campaign.policy.checkpoint.path is None else "had its first checkpoint after"
        return f"{usable:.0f} s are left before the deadline, and the quickest run {what} {quickest:.0f} s"
    return ""


def kept_after(run: Run, campaign: Campaign) -> float | None:
    """Seconds of running until a run that succeeded had something to keep: its first checkpoint, without checkpoints
    its result. None: nobody saw it."""
    if campaign.policy.checkpoint.path is None:
        return run.ran_seconds
    saved = [a.vitals.first_saved for a in run.attempts if a.epoch == run.epoch and a.vitals.first_saved is not None]
    return min(saved, default=None)


def next_check(campaign: Campaign, now: Moment) -> float | None:
    """In how many seconds the answer of `reached` or `too_short` changes; None: it has no deadline."""
    left = seconds_left(campaign, now)
    if left is None:
        return None
    usable = left - margin_seconds(campaign)
    times = [usable, *([usable - campaign.quickest] if campaign.quickest is not None else [])]
    return min((seconds for seconds in times if seconds > 0), default=0.0)
