"""What several runs have in common, for people: held causes, judgements that wait, scouts; and whether anything of a
campaign can still move without a person."""

from overnight.model.campaign import Campaign, Cause
from overnight.model.classes import CLASSES
from overnight.model.reports import CauseReport, Need, ScoutsReport
from overnight.model.states import OVER, CampaignState, RunState
from overnight.model.time import Moment
from overnight.queries.words import count, duration, iso, sentence

_AT_WORK = (RunState.RUNNING.value, RunState.VERIFYING.value)


def settled(campaign: Campaign, counts: dict[str, int]) -> bool:
    """Nothing can move without a person. A cause that is probed may let its runs go; a scout may let all go."""
    if campaign.state in OVER:
        return True
    if campaign.state == CampaignState.PAUSED:
        return not any(counts.get(state) for state in _AT_WORK)
    return campaign.state == CampaignState.HELD and not any(_may_let_go(c) for c in campaign.causes.values())


def _may_let_go(cause: Cause) -> bool:
    return bool(cause.freed) or (cause.held is not None and cause.due is not None)


def reports(campaign: Campaign) -> tuple[CauseReport, ...]:
    """Causes that hold runs, those that are proven first."""
    found = [
        CauseReport(
            failure_class=cause.name, about=cause.about, message=cause.message, runs=cause.runs, held=cause.size,
            proven=cause.held is not None, since=iso(cause.held or cause.since), probe_at=iso(cause.due),
            found=cause.found,
        )
        for cause in campaign.causes.values()
        if cause.size
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda report: (not report.proven, -report.held)))


def scouts(campaign: Campaign) -> ScoutsReport | None:
    """Of a campaign of which nothing but scouts starts."""
    hold = campaign.hold
    root = campaign.roots.get(hold.root) if hold is not None else None
    if hold is None or root is None:
        return None
    return ScoutsReport(
        failure_class=root.name, message=root.message, runs=root.runs, started=hold.scouts, next_at=iso(hold.due) or "",
        since=iso(hold.since) or "",
    )  # fmt: skip


def words(campaign: Campaign, counts: dict[str, int], at: Moment) -> str:
    """The campaign in a sentence, where something in common decides how it goes on; else empty."""
    hold = campaign.hold
    if hold is not None:
        wait = counts.get(RunState.PENDING.value, 0) + counts.get(RunState.WAITING.value, 0)
        return (
            f"nothing but scouts starts: {count(hold.scouts, 'scout')} tried, the next {_in(hold.due, at)}; {wait} wait"
        )
    if campaign.state == CampaignState.HELD and not settled(campaign, counts):
        return "all that is left is held; a probe may still let it go"
    return ""


def needs(campaign: Campaign, at: Moment) -> list[Need]:
    """What a person must do about it, most pressing first, each with the command to type."""
    found = [_of_scouts(campaign, at)] if scouts(campaign) is not None else []
    held = sorted((c for c in campaign.causes.values() if c.size), key=lambda c: (c.held is None, -c.size))
    return found + [_of_cause(campaign, cause, at) for cause in held]


def _of_cause(campaign: Campaign, cause: Cause, at: Moment) -> Need:
    runs = f"{count(cause.size, 'run')} {'is' if cause.size == 1 else 'are'}"
    remedy = sentence(CLASSES[cause.name].remedy.removesuffix(", then retry"))
    command = f"overnight resume {campaign.id}"
    from overnight.core.causes import PROOF, what  # only where there is one: `status` is to be instant

    subject = what(cause.name, cause.about, cause.message)
    message = cause.message.rstrip(".")
    if cause.freed:
        return Need(f"{runs} being let go: {subject}", cause.freed, f"overnight status {campaign.id}", cause.runs)
    if cause.held is None:
        rest = PROOF - len(cause.runs)
        why = (
            f"{message}. {count(rest, 'more run')} with the same would prove a cause in common; without, "
            f"{'it fails' if cause.size == 1 else 'they fail'} when nothing else can move. {remedy}"
        )
        return Need(f"{runs} held until judged: {subject}", why, f"{command} {' '.join(cause.runs)}", cause.runs)
    them = "it" if cause.size == 1 else "them"
    if cause.due is not None:
        ends = f"a probe lets {them} go when it is cured, the next {_in(cause.due, at)}"
    else:
        ends = f"nothing lets {them} go but you"
    ends += f"; last look: {cause.found}" if cause.found else ""
    return Need(f"{runs} held: {subject}", f"{message}. {remedy}; {ends}", command, cause.runs)


def _of_scouts(campaign: Campaign, at: Moment) -> Need:
    hold = campaign.hold
    assert hold is not None
    root = campaign.roots[hold.root]
    remedy = sentence(CLASSES[root.name].remedy.partition(", then retry")[0])
    why = (
        f"{', '.join(root.runs[:3])} failed alike before anything succeeded: {root.message.rstrip('.')}. {remedy}; "
        f"{count(hold.scouts, 'scout')} tried so far, the next {_in(hold.due, at)}, and the first success lets all go"
    )
    return Need(f"nothing but scouts starts: {root.name}", why, f"overnight resume {campaign.id}", root.runs)


def _in(due: Moment, at: Moment) -> str:
    left = due.mono - at.mono if due.boot == at.boot else due.wall - at.wall
    return f"in {duration(left)}" if left >= 1 else "when there is room"


def why_pending(campaign: Campaign, at: Moment) -> str:
    """Why a run that could start does not, if scouts are why."""
    hold = campaign.hold
    root = campaign.roots.get(hold.root) if hold is not None else None
    if hold is None or root is None:
        return ""
    return (
        f"only scouts start, since {', '.join(root.runs[:3])} failed alike ({root.name}): "
        f"{count(hold.scouts, 'scout')} tried, the next {_in(hold.due, at)}"
    )


def why_held(campaign: Campaign, key: str, at: Moment) -> str:
    """What is known of the cause that holds a run, behind the run's own sentence."""
    cause = campaign.causes.get(key)
    if cause is None:
        return ""
    if cause.held is None:
        return "it fails when nothing else of the campaign can move"
    shown = f"shown by {', '.join(cause.runs)}; it holds {count(cause.size, 'run')}" if cause.runs else ""
    if cause.due is None:
        return f"{shown}; nothing lets it go but a person"
    last = f" (last: {cause.found})" if cause.found else ""
    return f"{shown}; the next probe {_in(cause.due, at)}{last}"
