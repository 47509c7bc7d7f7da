"""Why a run, or a campaign, is as it is."""

import os

from overnight.core.ending import ended_by
from overnight.model.campaign import Campaign, StoryEntry
from overnight.model.classes import CLASSES
from overnight.model.reports import AttemptReport, StoryLine, WhyReport
from overnight.model.run import Attempt, Run
from overnight.model.states import AttemptState, RunState
from overnight.ports import RunRef
from overnight.queries import causes
from overnight.queries.find import one_run, record
from overnight.queries.needs import now
from overnight.queries.slots import quarantined
from overnight.queries.words import count, iso
from overnight.store import StoreReader

# What moves, what needs somebody, what has ended, what has not begun: as `status` counts.
_FIRST_TOLD = (
    RunState.RUNNING, RunState.VERIFYING, RunState.WAITING, RunState.HELD, RunState.FAILED, RunState.CANCELLED,
    RunState.SUCCEEDED, RunState.PENDING,
)  # fmt: skip
_RECENT = 50  # entries of its runs' stories that a campaign's own story shows


def why(store: StoreReader, campaign: str, run_id: str) -> WhyReport:
    """The sentence, the rule that decided, the attempts, the story and what to type. Raises NoSuchThing."""
    with store.snapshot():
        found = record(store, campaign)
        run = one_run(store, campaign, run_id)
        return WhyReport(
            campaign=campaign,
            run_id=run_id,
            state=run.state.value,
            words=_sentence(store, found, run),
            rule=_rule(run),
            remedy=_remedy(run),
            attempts=tuple(_attempt(a) for a in run.attempts),
            story=tuple(_line(entry) for entry in store.story(RunRef(campaign, run_id))),
            next=_next(found, run),
        )


def why_campaign(store: StoreReader, campaign: str) -> WhyReport:
    """The same of the campaign as a whole: `run_id` is empty, the story is that of the campaign and the newest
    of its runs. Raises NoSuchThing."""
    with store.snapshot():
        found = record(store, campaign)
        counts = ", ".join(f"{found.counts[each]:,} {each.value}" for each in _FIRST_TOLD if found.counts.get(each))
        paused = found.paused_why if found.paused else ""
        words = found.words or found.cancelling or paused or causes.words(found, found.counts, now())
        entries = reversed(store.recent(campaign, _RECENT))
        return WhyReport(
            campaign=campaign,
            run_id="",
            state=found.state.value,
            words=f"{words}: {counts}" if words and counts else words or counts,
            rule=None,
            attempts=(),
            story=tuple(_line(entry) for entry in entries),
            next=_next_of_all(found),
        )


def _next_of_all(campaign: Campaign) -> str | None:
    if campaign.paused or campaign.hold is not None or campaign.counts.get("held"):
        return f"overnight resume {campaign.id}"
    aside = quarantined(campaign, os.environ)
    return aside[0].command if aside else None


def _sentence(store: StoreReader, campaign: Campaign, run: Run) -> str:
    if run.state == RunState.HELD and run.held_by:
        more = causes.why_held(campaign, run.held_by, now())
        return "; ".join(part for part in (run.words, more) if part)
    if run.state != RunState.PENDING:
        return run.words or run.state.value
    parts = [run.words] if run.words else []
    if campaign.paused:
        parts.append(f"the campaign is paused ({campaign.paused_why or 'a person asked'})")
    elif campaign.cancelling:
        parts.append(campaign.cancelling)
    elif campaign.hold is not None:
        parts.append(causes.why_pending(campaign, now()))
    else:
        ahead = store.ahead(run)
        live = campaign.counts.get(RunState.RUNNING.value, 0)
        place = "it is next" if not ahead else f"{count(ahead, 'run')} {'is' if ahead == 1 else 'are'} before it"
        slots = count(campaign.slots, "attempt")
        parts.append(f"{place}; {live} of at most {slots} side by side {'runs' if live == 1 else 'run'} now")
    if campaign.words:
        parts.append(campaign.words)
    return "; ".join(parts)


def _rule(run: Run) -> str | None:
    if run.failure is not None:
        return run.failure.rule
    found = next((a.classification for a in reversed(run.attempts) if a.classification is not None), None)
    return found.rule if found is not None else None


def _remedy(run: Run) -> str:
    """What to do about what its newest attempt ended with; empty for a run that succeeded or was cancelled."""
    if run.state in (RunState.SUCCEEDED, RunState.CANCELLED):
        return ""
    found = run.failure or next(
        (a.classification for a in reversed(run.attempts) if a.classification is not None), None
    )
    return CLASSES[found.name].remedy if found is not None and found.name in CLASSES else ""


def _next(campaign: Campaign, run: Run) -> str | None:
    newest = run.attempt
    if run.state == RunState.HELD and _proven(campaign, run):
        return f"overnight resume {campaign.id}"
    if run.state == RunState.HELD:
        return f"overnight resume {campaign.id} {run.run_id}"
    if run.state == RunState.PENDING and campaign.hold is not None:
        return f"overnight resume {campaign.id}"
    if run.state == RunState.PENDING and campaign.paused:
        return f"overnight resume {campaign.id}"
    if run.state == RunState.PENDING and (aside := quarantined(campaign, os.environ)):
        return aside[0].command
    if run.state == RunState.FAILED:
        return f"overnight retry {campaign.id} {run.run_id}"
    if newest is not None and newest.state == AttemptState.LOST:
        return f"overnight logs {campaign.id} {run.run_id}"
    return None


def _proven(campaign: Campaign, run: Run) -> bool:
    cause = campaign.causes.get(run.held_by)
    return cause is not None and cause.held is not None


def _attempt(attempt: Attempt) -> AttemptReport:
    found, record = attempt.classification, attempt.exit
    evidence = None
    if found is not None and found.evidence is not None and found.evidence.text:
        where = found.evidence.file or ""
        where += f":{found.evidence.line}" if found.evidence.line is not None else ""
        evidence = f"{where}: {found.evidence.text}" if where else found.evidence.text
    return AttemptReport(
        n=attempt.n,
        state=attempt.state.value,
        revision=attempt.revision,
        slot=attempt.slot.name,
        seconds=round(attempt.seconds, 3),
        failure_class=found.name if found is not None and found.name != "none" else None,
        rule=found.rule if found is not None else None,
        message=found.message if found is not None else attempt.stop_words,
        evidence=evidence,
        ended_by=None if attempt.live or attempt.never_began else ended_by(attempt).value,
        exit_code=record.code if record is not None else None,
        signal=record.signal if record is not None else None,
        resumed_from=attempt.resume_from,
        flags=attempt.flags,
    )


def _line(entry: StoryEntry) -> StoryLine:
    return StoryLine(
        at=iso(entry.at) or "", event=entry.event, before=entry.before, state=entry.state, words=entry.words,
        attempt=entry.attempt, run_id=entry.run_id,
    )  # fmt: skip
