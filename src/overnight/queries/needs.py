"""The morning's two questions: what needs a person, and what was done without one."""

import os
import time

from overnight.artifacts.holder import boot_id
from overnight.model.campaign import Campaign
from overnight.model.classes import CLASSES, LOOK_FIRST
from overnight.model.reports import Need, SupervisorReport
from overnight.model.run import LOST_SECONDS
from overnight.model.states import ENDED, RunState
from overnight.model.time import Moment, elapsed
from overnight.ports import RunRef
from overnight.queries import causes
from overnight.queries.slots import quarantined
from overnight.queries.words import count, duration, sentence, times
from overnight.store import StoreReader
from overnight.store.reading import Setbacks, Tally

_NAMED = 10  # runs that a need lists
_SAID_SHOWN = 160  # characters of what a failed run said: the line before the one to type is to be read
_NOT_OURS = frozenset({"cancel", "pause"})  # ended by a person: no setback that was overcome
_SECONDS_AN_HOUR = 3600.0


def now() -> Moment:
    """This moment, as the supervisor of this host would write it."""
    return Moment(time.monotonic(), time.time(), boot_id())


def failures(tallies: list[Tally]) -> list[Tally]:
    """Those of failed runs, most runs first."""
    return sorted((t for t in tallies if t.state == "failed"), key=lambda t: (-t.runs, t.cause or ""))


def hours_lost(setbacks: list[Setbacks]) -> dict[str, float]:
    """GPU-hours lost by class, largest first."""
    found: dict[str, float] = {}
    for each in setbacks:
        found[each.failure_class] = found.get(each.failure_class, 0.0) + each.lost / _SECONDS_AN_HOUR
    rounded = {name: round(hours, 4) for name, hours in sorted(found.items(), key=lambda pair: -pair[1])}
    return {name: hours for name, hours in rounded.items() if hours}


# --- what needs a person -----------------------------------------------------------------------------------


def needs(
    store: StoreReader, campaign: Campaign, tallies: list[Tally], supervisor: SupervisorReport, root: str, at: Moment
) -> tuple[Need, ...]:
    """Most pressing first, each with the command to type."""
    unfinished = sum(t.runs for t in tallies if t.state not in ENDED)
    found = [*_of_the_supervisor(unfinished, supervisor, root), *_of_a_pause(campaign, tallies)]
    if campaign.no_room and unfinished:
        why = f"{campaign.no_room}. It goes on by itself once there is; limits.disk_free says how much that is"
        found.append(Need("nothing new starts: a disk is full", why, _typed("overnight doctor", root)))
    found += quarantined(campaign, os.environ)
    found += causes.needs(campaign, at)
    for tally in tallies:
        in_common = sum(cause.size for cause in campaign.causes.values() if cause.name == tally.cause)
        if tally.state == "held" and tally.runs > in_common:
            found.append(_held(store, campaign, tally, tally.runs - in_common))
    found += _lost(store, campaign, tallies, at)
    found += [_failed(store, campaign, tally) for tally in failures(tallies)]
    return tuple(found)


def _of_the_supervisor(unfinished: int, supervisor: SupervisorReport, root: str) -> list[Need]:
    if not unfinished:
        return []
    open_runs = f"{count(unfinished, 'run')} {'has' if unfinished == 1 else 'have'} not ended"
    if not supervisor.alive:
        known = f"; {supervisor.words}" if supervisor.words else ""
        why = f"{open_runs}; what runs goes on, bounded, but nothing new starts{known}"
        return [Need("nobody is watching", why, _typed("overnight supervisor start", root))]
    if supervisor.problem:
        why = (
            f"{supervisor.problem}; what runs is watched and kept to its limits, nothing new starts until that is cured"
        )
        return [Need("the supervisor cannot write its state", why, _typed("overnight doctor", root))]
    if supervisor.watch_only:
        why = f"{open_runs}; the supervisor died too often of its own fault and starts nothing new"
        return [Need("the supervisor only watches", why, _typed("overnight supervisor restart", root))]
    return []


def _typed(command: str, root: str) -> str:
    from overnight.artifacts.layout import of_root  # only where there is a need: `status` is to be instant

    return f"{command} {of_root(root)}"


def _of_a_pause(campaign: Campaign, tallies: list[Tally]) -> list[Need]:
    queued = sum(t.runs for t in tallies if t.state in {"pending", "waiting"})
    if not campaign.paused or not queued:
        return []
    why = f"{campaign.paused_why or 'a person paused it'}; {count(queued, 'run')} will not start meanwhile"
    return [Need("the campaign is paused", why, f"overnight resume {campaign.id}")]


def _held(store: StoreReader, campaign: Campaign, tally: Tally, runs: int) -> Need:
    names = store.names(campaign.id, "held", tally.cause, _NAMED)
    run = store.run(RunRef(campaign.id, names[0])) if names else None
    known = CLASSES.get(tally.cause or "")
    why = (run.words if run else "") or (known.meaning if known else "held")
    if known is not None and known.remedy:
        why += f". {sentence(known.remedy)}"
    what = f"{count(runs, 'run')} {'is' if runs == 1 else 'are'} held: {tally.cause}"
    return Need(what, why, f"overnight resume {campaign.id}", tuple(names))


def _lost(store: StoreReader, campaign: Campaign, tallies: list[Tally], at: Moment) -> list[Need]:
    names: list[str] = []
    words, longest = "", 0.0
    for tally in tallies:
        if tally.cause != "lost" or tally.state == RunState.HELD:
            continue
        for name in store.names(campaign.id, tally.state, "lost", tally.runs):
            run = store.run(RunRef(campaign.id, name))
            attempt = run.live_attempt if run else None
            since = elapsed(attempt.lost_since, at) if attempt and attempt.lost_since else 0.0
            if run is not None and since > LOST_SECONDS:
                names.append(name)
                longest, words = max(longest, since), words or run.words
    if not names:
        return []
    what = f"{count(len(names), 'attempt')} lost for up to {duration(longest)}"
    why = f"{words}. Nothing replaces it and its slot stays taken: see whether its processes live"
    return [Need(what, why, f"overnight why {campaign.id} {names[0]}", tuple(names[:_NAMED]))]


def _failed(store: StoreReader, campaign: Campaign, tally: Tally) -> Need:
    name = tally.cause or "unknown"
    names = store.names(campaign.id, "failed", tally.cause, _NAMED)
    run = store.run(RunRef(campaign.id, names[0])) if names else None
    known = CLASSES.get(name)
    said = run.failure.message if run is not None and run.failure is not None else ""
    why = f"{names[0]}: {said}" if said and names else (known.meaning if known else name)
    if len(why) > _SAID_SHOWN:
        why = why[:_SAID_SHOWN].rstrip() + "…"
    if known is not None and known.remedy:
        why = f"{why.rstrip('.')}{'' if why.endswith('…') else '.'} {sentence(known.remedy)}"
    look = name in LOOK_FIRST and names
    command = f"overnight logs {campaign.id} {names[0]}" if look else f"overnight retry {campaign.id} --class {name}"
    return Need(f"{count(tally.runs, 'run')} failed: {name}", why, command, tuple(names))


# --- what was done without one -----------------------------------------------------------------------------


def did(campaign: Campaign, setbacks: list[Setbacks]) -> tuple[str, ...]:
    """One sentence each, with counts. Only what was really overcome: attempts that were followed by another."""
    overcome: dict[str, list[int]] = {}
    stalls = [0, 0, 0]
    for each in setbacks:
        if each.ended_by in _NOT_OURS or each.failure_class == "cancelled":
            continue
        total = stalls if each.ended_by == "stall" else overcome.setdefault(each.failure_class, [0, 0, 0])
        total[0] += each.attempts
        total[1] += each.again
        total[2] += each.resumed
    found: list[str] = []
    if stalls[0]:
        found.append(f"ended {count(stalls[0], 'stalled attempt')}{_went_on(stalls[1], stalls[2])}")
    for name, (_, again, resumed) in sorted(overcome.items(), key=lambda pair: -pair[1][1]):
        if again:
            known = CLASSES.get(name)
            meaning = f" ({known.meaning})" if known else ""
            found.append(f"tried again {times(again)} after {name}{meaning}{_resumed(again, resumed)}")
    if campaign.recovered:
        found.append(f"the supervisor came up again {times(campaign.recovered)} and took over what it found")
    return tuple(found)


def _went_on(again: int, resumed: int) -> str:
    return f"; {again} started again{_resumed(again, resumed)}" if again else ""


def _resumed(again: int, resumed: int) -> str:
    if not resumed:
        return ""
    if resumed < again:
        return f", {resumed} of them from a checkpoint"
    return ", all from a checkpoint" if again > 1 else ", from a checkpoint"
