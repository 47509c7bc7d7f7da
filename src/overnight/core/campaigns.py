"""A campaign's own state: counts, what its runs have taught, when it is over."""

from collections.abc import Mapping

from overnight.core import causes, hardware, scouts
from overnight.core.limits import QUIET_PHASE_FACTOR
from overnight.core.result import Failed, Finished, Lesson, Overcome, QuietPhase, Rooted, Shown, Struck
from overnight.model.campaign import Campaign
from overnight.model.codec import replace
from overnight.model.gpu_time import gpu_time
from overnight.model.run import Run
from overnight.model.states import MOVING, OVER, CampaignState, RunState
from overnight.model.time import Moment


def recount(counts: Mapping[str, int], before: RunState | None, now: RunState) -> dict[str, int]:
    """Counts after one run moved (`before` None: it was added). Zero counts are left out."""
    new = dict(counts)
    if before is not None:
        new[before.value] = new.get(before.value, 0) - 1
        if new[before.value] <= 0:
            del new[before.value]
    new[now.value] = new.get(now.value, 0) + 1
    return new


def moved(campaign: Campaign, before: Run, now: Run) -> Campaign:
    """The campaign's figures after one of its runs moved."""
    classes = dict(campaign.classes)
    for run, more in ((before, -1), (now, 1)):
        if run.state == RunState.FAILED and run.failure is not None:
            classes[run.failure.name] = classes.get(run.failure.name, 0) + more
    spent = [(sum(t.useful for t in times), sum(t.lost for t in times)) for times in (
        gpu_time(before, campaign.policy), gpu_time(now, campaign.policy),
    )]  # fmt: skip
    return replace(
        campaign,
        counts=recount(campaign.counts, before.state, now.state),
        classes={name: count for name, count in classes.items() if count > 0},
        gpu_useful=max(0.0, campaign.gpu_useful + spent[1][0] - spent[0][0]),
        gpu_lost=max(0.0, campaign.gpu_lost + spent[1][1] - spent[0][1]),
    )


def state_of(campaign: Campaign, owing: bool) -> CampaignState:
    """The state by its runs. `owing`: some ended run's files are still to be written, so it is not over."""
    counts = campaign.counts
    moving = any(counts.get(state.value) for state in MOVING)
    if moving or owing:
        return CampaignState.PAUSED if campaign.paused and moving else CampaignState.ACTIVE
    if counts.get(RunState.HELD.value):
        return CampaignState.HELD
    if counts.get(RunState.FAILED.value):
        return CampaignState.FAILED
    if counts.get(RunState.CANCELLED.value):
        return CampaignState.CANCELLED
    return CampaignState.SUCCEEDED


def settle(campaign: Campaign, owing: bool, at: Moment) -> Campaign:
    """The campaign with its state brought up to date."""
    state = state_of(campaign, owing)
    if state == campaign.state:
        return campaign
    over = state in OVER
    campaign = replace(campaign, state=state, ended=at if over else None)
    return replace(campaign, cancelling="", hold=None, roots={}) if over else campaign


def learn(campaign: Campaign, lesson: Lesson) -> tuple[Campaign, str | None]:
    """The campaign after a lesson, and the sentence to be said once, if any."""
    match lesson:
        case Finished(longest_quiet, longest_gap, seconds):
            campaign = _finished(campaign, longest_quiet, longest_gap, seconds)
            return scouts.let_go(campaign, "the first run has succeeded", proven=True)
        case Shown():
            return causes.shown(campaign, lesson)
        case Overcome():
            return causes.overcome(campaign, lesson)
        case Rooted():
            return scouts.rooted(campaign, lesson)
        case Struck():
            return hardware.struck(campaign, lesson), None
        case QuietPhase(run_id):
            if campaign.quiet_factor > 1:
                return campaign, None
            words = (
                f"two attempts of {run_id} stalled at the same place: taken for a quiet phase, automatic limits are "
                f"{QUIET_PHASE_FACTOR:.0f} times as long for this campaign"
            )
            return replace(campaign, quiet_factor=QUIET_PHASE_FACTOR), words
        case Failed(run_id):
            if not campaign.policy.fail_fast or campaign.cancelling:
                return campaign, None
            words = f"fail_fast: {run_id} failed, nothing more is started"
            return replace(campaign, cancelling=words), words


def _finished(campaign: Campaign, longest_quiet: float, longest_gap: float, seconds: float | None) -> Campaign:
    quickest = min((each for each in (campaign.quickest, seconds) if each is not None), default=None)
    known = campaign.longest_quiet, campaign.longest_gap, campaign.quickest
    if longest_quiet <= known[0] and longest_gap <= known[1] and quickest == known[2]:
        return campaign
    return replace(
        campaign,
        longest_quiet=max(campaign.longest_quiet, longest_quiet),
        longest_gap=max(campaign.longest_gap, longest_gap),
        quickest=quickest,
    )
