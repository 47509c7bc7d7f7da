"""One campaign, and the list of all: what `status` says."""

import os

from overnight.model.campaign import Campaign
from overnight.model.manifest import Refusal
from overnight.model.reports import (
    CampaignLine,
    NoSuchThing,
    ProgressReport,
    RunReport,
    StatusReport,
    SupervisorReport,
)
from overnight.model.run import Run
from overnight.model.states import ENDED, RunState
from overnight.model.time import Moment
from overnight.queries import causes, needs
from overnight.queries.find import meant, record
from overnight.queries.slots import quarantined
from overnight.queries.words import count, iso
from overnight.store import StoreReader
from overnight.store.reading import Tally

_SECONDS_AN_HOUR = 3600.0
_MOST_RUNS = 1 << 40  # a page of more is all of them


def status(
    store: StoreReader,
    campaign: str,
    *,
    supervisor: SupervisorReport,
    root: str,
    limit: int = 1000,
    after: str | None = None,
    state: str | None = None,
    all: bool = False,
    at: Moment | None = None,
) -> StatusReport:
    """The campaign and a page of its runs in file order: up to `limit` behind the run `after`, only those in
    `state` if given; `all`: every one. `at`: now, for tests. All of it is of one moment.

    Raises NoSuchThing (campaign, `after`), Refusal (`state`) and StoreError.
    """
    _check_state(state)
    with store.snapshot():
        found = record(store, campaign)
        tallies = store.tallies(campaign)
        asked = None if all else max(0, min(limit, _MOST_RUNS))
        runs = store.page(campaign, after=after, limit=None if asked is None else asked + 1, state=state)
        if runs is None:
            raise NoSuchThing(f"{campaign} has no run {after!r}", "--after takes the last run_id of the page before")
        more = asked is not None and len(runs) > asked
        runs = runs[:asked]
        setbacks = store.setbacks(campaign)
        counts = _counts(tallies)
        moment = at or needs.now()
        return StatusReport(
            campaign=campaign,
            state=found.state.value,
            counts=counts,
            failures={t.cause or "unknown": t.runs for t in needs.failures(tallies)},
            supervisor=supervisor,
            runs_total=sum(counts.values()),
            runs=tuple(run_report(run) for run in runs),
            root=root,
            path=os.path.join(root, "campaigns", campaign),
            manifest_sha256=found.sha256,
            revision=found.revision,
            words=_words(found, counts, moment),
            needs=needs.needs(store, found, tallies, supervisor, root, moment),
            did=needs.did(found, setbacks),
            warnings=_warnings(store, found),
            gpu_hours=_hours(useful=sum(t.useful for t in tallies), lost=sum(t.lost for t in tallies)),
            gpu_hours_lost=needs.hours_lost(setbacks),
            slots=found.slots,
            created_at=iso(found.created) or "",
            ended_at=iso(found.ended),
            deadline_at=iso(found.deadline),
            next_after=runs[-1].run_id if more and runs else None,
            settled=causes.settled(found, counts) or _nowhere_to_run(found, counts),
            causes=causes.reports(found),
            scouts=causes.scouts(found),
        )


def campaigns(store: StoreReader, root: str) -> list[CampaignLine]:
    """All campaigns under a root, newest first. Counts are those of the campaigns' records."""
    return [
        CampaignLine(
            campaign=found.id,
            state=found.state.value,
            counts=_in_order(found.counts),
            runs_total=found.runs_total,
            created_at=iso(found.created) or "",
            root=root,
        )
        for found in reversed(store.campaigns())
    ]


def run_report(run: Run) -> RunReport:
    """One run as a line of the page."""
    newest = run.attempt
    live = run.live_attempt
    vitals = newest.vitals if newest is not None else None
    progress = None
    if vitals is not None and vitals.step is not None:
        progress = ProgressReport(vitals.step, vitals.total, vitals.rate if live else None, vitals.metrics)
    return RunReport(
        run_id=run.run_id,
        state=run.state.value,
        attempts=sum(not a.never_began for a in run.attempts),
        failure_class=run.failure.name if run.failure and run.state == RunState.FAILED else None,
        progress=progress,
        phase=live.vitals.phase if live else None,
        attempt_state=live.state.value if live else None,
        slot=live.slot.name if live else None,
        seconds=round(run.ran_seconds + (live.seconds if live else 0.0), 3),
        quiet_seconds=round(max(0.0, live.vitals.seconds - live.vitals.last_life), 3) if live else None,
        cause=run.cause,
        words=run.words,
        flags=_flags(run),
        revision=newest.revision if newest else None,
        changed_at=iso(run.changed),
    )


def _flags(run: Run) -> tuple[str, ...]:
    """Those of its ended attempts, and what is known of the live one already."""
    live = run.live_attempt
    return tuple(dict.fromkeys((*run.flags, *(("underused",) if live is not None and live.underused else ()))))


def _check_state(state: str | None) -> None:
    known = [each.value for each in RunState]
    if state is not None and state not in known:
        raise Refusal(f"{state!r} is no state of a run", meant(state, known) or f"one of {', '.join(known)}")


def _counts(tallies: list[Tally]) -> dict[str, int]:
    found: dict[str, int] = {}
    for tally in tallies:
        found[tally.state] = found.get(tally.state, 0) + tally.runs
    return _in_order(found)


def _in_order(counts: dict[str, int]) -> dict[str, int]:
    return {state.value: counts[state.value] for state in RunState if counts.get(state.value)}


def _words(campaign: Campaign, counts: dict[str, int], at: Moment) -> str:
    in_common = causes.words(campaign, counts, at)
    if campaign.words or in_common:
        return in_common or campaign.words
    total = sum(counts.values())
    ended = sum(counts.get(state, 0) for state in ENDED)
    parts = ", ".join(f"{number} {state}" for state, number in counts.items())
    if ended == total:
        return f"all {count(total, 'run')} ended: {parts}" if total else "it has no runs"
    return f"{ended} of {count(total, 'run')} ended: {parts}"


def _nowhere_to_run(campaign: Campaign, counts: dict[str, int]) -> bool:
    """Every GPU of it is quarantined, and nothing of it is at work."""
    if not campaign.devices or counts.get(RunState.RUNNING.value) or counts.get(RunState.VERIFYING.value):
        return False
    return len(quarantined(campaign, os.environ)) == len(campaign.devices)


def _warnings(store: StoreReader, campaign: Campaign) -> tuple[str, ...]:
    found: list[str] = []
    if campaign.policy.limits.timeout is None:
        found.append('limits.timeout is "none": nothing bounds how long a run may take')
    rows = store.unbounded_rows(campaign.id)
    if rows:
        found.append(f'{count(rows, "row")} {"says" if rows == 1 else "say"} @timeout "none": nothing bounds them')
    return tuple(found)


def _hours(**seconds: float) -> dict[str, float]:
    return {name: round(value / _SECONDS_AN_HOUR, 4) for name, value in seconds.items()}
