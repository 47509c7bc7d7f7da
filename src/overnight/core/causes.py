"""The shared-cause hold: what three distinct runs show is no run's own fault.

A *cause* is a shareable root (FAILURES.md) about one host, path, volume or module. A run that ends with one waits for
judgement, held, as long as others may show it too; the third distinct run proves it. Then all of its runs stay held,
their attempts uncounted, until a probe shows it cured or a person lets it go. Where no third comes, the runs that
waited have failed. The record is `Campaign.causes`, committed like everything.
"""

from overnight.core.result import Overcome, Shown
from overnight.model.campaign import Campaign, Cause
from overnight.model.classes import CLASSES, Classification, RetryRule
from overnight.model.codec import Struct, replace
from overnight.model.run import Attempt, Run
from overnight.model.states import MOVING, RunState
from overnight.model.time import Moment, after, elapsed

PROOF = 3  # distinct runs
SUBJECT_CHARACTERS = 80
OUTAGE_SECONDS = 600.0  # a run's outage counts for the proof once it has lasted so long
MOST = 64  # causes that a campaign remembers; where so many hold runs, the next one is judged at once

BY_ENVIRONMENT = frozenset({"auth", "import", "gpu.driver"})  # a changed launch environment may have mended them
BY_CODE = frozenset({"import"})  # changed code may have
PROBE_FIRST = 5.0  # seconds
PROBE_MAX = 600.0
PROBES_END = 24 * 3600.0  # a cause that has been probed in vain for so long is a person's
RELAPSES = 3  # a cause that a probe has let go so often is a person's, too …
RELAPSE_SECONDS = 2 * 3600.0  # … if it came back each time before this long

_NEEDS_NO_SUBJECT = frozenset({"gpu.driver"})


class Held(Struct, frozen=True):
    """The run is held: by the proven cause, or until it is judged."""

    words: str


class Before(Struct, frozen=True):
    """Its attempt began before the cause was let go: it proves nothing and is tried again, uncounted."""

    words: str


def key_of(found: Classification) -> str | None:
    """What names the cause of this end among those of other runs; None: no other run can have it in common."""
    kind = CLASSES[found.name]
    if not kind.shareable:
        return None
    if found.name in _NEEDS_NO_SUBJECT:
        return found.name
    return f"{found.name}:{found.about}" if found.about else None


def can_be_probed(cause: Cause) -> bool:
    """Whether a cheap look can show it cured: a host, a path or a volume of this machine, nobody's quota."""
    match cause.name:
        case "network":
            return "." in cause.about or ":" in cause.about or cause.about == "localhost"
        case "data.missing":
            return "://" not in cause.about
        case "disk.full":
            return cause.about.startswith("/")
    return False


def proves(found: Classification, final: bool, outage_since: Moment | None, at: Moment) -> bool:
    """Whether this end counts for the proof: a final one does, an outage once it has lasted."""
    if final or CLASSES[found.name].retry != RetryRule.OUTAGE:
        return final
    return outage_since is not None and elapsed(outage_since, at) >= OUTAGE_SECONDS


def judge(
    run: Run, campaign: Campaign, attempt: Attempt, found: Classification, final: bool, proof: bool
) -> Held | Before | None:
    """Whether the run's end is held against a cause instead of the run. None: it goes the run's own way."""
    key = key_of(found)
    if key is None or campaign.policy.fail_fast or campaign.cancelling:
        return None
    cause = campaign.causes.get(key)
    if cause is not None and (cause.held is not None or cause.freed):
        return Held(_words(found))
    if cause is not None and cause.freed_at is not None and earlier(attempt.started or attempt.planned, cause.freed_at):
        return Before(f"{found.name}: its attempt began before {found.about or found.name} was back; again, uncounted")
    shown = len({*(cause.runs if cause is not None else ()), run.run_id})
    if proof and shown >= PROOF:
        return Held(_words(found))
    full = cause is None and sum(1 for each in campaign.causes.values() if each.size) >= MOST
    if final and not full and _others_may_show(campaign):
        rest = PROOF - shown
        return Held(
            f"{found.name}: {found.message}; judgement waits: {rest} more distinct run{'' if rest == 1 else 's'} "
            f"would prove it a cause in common"
        )
    return None


def _words(found: Classification) -> str:
    return f"held by a cause in common, {what(found.name, found.about, found.message)}: {found.message}"


def what(name: str, about: str, beside: str = "") -> str:
    """`auth (huggingface.co)`; of a cause that is about nothing in particular its class alone. `beside`: the message
    that will stand beside it, and may be all that it is about."""
    if not about or len(about) > SUBJECT_CHARACTERS or _letters(about) == _letters(beside):
        return name
    return f"{name} ({about})"


def _letters(text: str) -> str:
    return "".join(filter(str.isalpha, text))


def earlier(moment: Moment, than: Moment) -> bool:
    """Whether it came first; across boots by the wall clock, the only witness there is."""
    return moment.mono < than.mono if moment.boot == than.boot else moment.wall < than.wall


def _others_may_show(campaign: Campaign) -> bool:
    """Besides the run being judged: some other can still move, or may be let go by a cure."""
    moving = sum(campaign.counts.get(state.value, 0) for state in MOVING)
    return moving > 1 or any(cause.held is not None for cause in campaign.causes.values())


# --- what the campaign remembers ---------------------------------------------------------------------------


def shown(campaign: Campaign, lesson: Shown) -> tuple[Campaign, str | None]:
    """A run has shown a cause. Returns the words to be said once, when that proves it."""
    campaign = forget(campaign, lesson.run_id, lesson.key)
    cause = campaign.causes.get(lesson.key)
    if cause is None:
        cause = Cause(lesson.name, lesson.about, lesson.message, lesson.at)
    elif not cause.runs:
        cause = replace(cause, since=lesson.at, message=lesson.message)
    if not lesson.proves or cause.held is not None or cause.freed:
        return campaign, None
    if lesson.run_id not in cause.runs:
        cause = replace(cause, runs=(*cause.runs, lesson.run_id))
    if len(cause.runs) < PROOF:
        return _put(campaign, lesson.key, cause), None
    cause = _proven(cause, lesson.at)
    return _put(campaign, lesson.key, cause), _told(campaign, cause)


def _proven(cause: Cause, at: Moment) -> Cause:
    again = cause.freed_at is not None and elapsed(cause.freed_at, at) < RELAPSE_SECONDS
    relapses = cause.relapses if again else 0
    probed = can_be_probed(cause) and relapses < RELAPSES
    due = after(at, PROBE_FIRST * 12.0**relapses) if probed else None
    return replace(cause, held=at, due=due, probes=0, found="", relapses=relapses)


def _told(campaign: Campaign, cause: Cause) -> str:
    remedy = CLASSES[cause.name].remedy.removesuffix(", then retry")
    if cause.due is not None:
        ends = f"a probe lets its runs go when it is cured, or a person: overnight resume {campaign.id}"
    else:
        ends = f"then: overnight resume {campaign.id}"
    return (
        f"{', '.join(cause.runs)} met the same {what(cause.name, cause.about, cause.message)}: {cause.message}; the "
        f"runs that meet it are held, uncounted, the others go on. To do: {remedy}; {ends}"
    )


def newly_held(before: Campaign, now: Campaign) -> list[tuple[str, Cause]]:
    """The causes that have just been proven: their runs are to be held, wherever they wait."""
    if before.causes is now.causes:
        return []
    old = before.causes
    return [(k, c) for k, c in now.causes.items() if c.held is not None and (k not in old or old[k].held is None)]


def forget(campaign: Campaign, run_id: str, but: str = "") -> Campaign:
    """The run has gone another way: it counts no longer for causes that are not proven."""
    for key, cause in campaign.causes.items():
        if key != but and cause.held is None and run_id in cause.runs:
            campaign = _put(campaign, key, replace(cause, runs=tuple(r for r in cause.runs if r != run_id)))
    return campaign


def moved(campaign: Campaign, before: Run, now: Run) -> Campaign:
    """Count the runs that each cause holds. One that left on its own counts for none that is not proven."""
    if not campaign.causes:
        return campaign
    was = before.held_by if before.state == RunState.HELD else ""
    is_ = now.held_by if now.state == RunState.HELD else ""
    if was != is_:
        for key, more in ((was, -1), (is_, 1)):
            cause = campaign.causes.get(key)
            if cause is not None:
                campaign = _put(campaign, key, replace(cause, size=max(0, cause.size + more)), left=more < 0)
    if (was and was != is_) or (now.ended and not before.ended):
        campaign = forget(campaign, now.run_id)
    return campaign


def _put(campaign: Campaign, key: str, cause: Cause, left: bool = False) -> Campaign:
    """Enter a cause. When the last run has `left`, what remains says only when it was let go, if it was."""
    causes = dict(campaign.causes)
    if left and not cause.size and (cause.held is not None or cause.freed):
        cause = replace(cause, held=None, due=None, freed="", found="", probes=0, runs=())
    if not cause.size and not cause.runs and not cause.freed and cause.freed_at is None:
        causes.pop(key, None)
    else:
        causes[key] = cause
    if len(causes) > MOST:
        idle = [k for k, c in causes.items() if not c.size and not c.freed and c.held is None and k != key]
        for each in idle[: len(causes) - MOST]:
            del causes[each]
    return replace(campaign, causes=causes)


# --- letting go --------------------------------------------------------------------------------------------


def let_go(campaign: Campaign, key: str, why: str, at: Moment, *, by_probe: bool = False) -> Campaign:
    """The cause holds nobody any more: its runs are swept to the queue, some each turn."""
    cause = campaign.causes[key]
    relapses = cause.relapses + 1 if by_probe else 0
    cause = replace(cause, freed=why, freed_at=at, due=None, relapses=relapses)
    return _put(campaign, key, cause, left=not cause.size)


def let_go_of(campaign: Campaign, names: frozenset[str] | None, why: str, at: Moment) -> Campaign:
    """All causes of these classes (None: of all) that hold runs."""
    for key, cause in list(campaign.causes.items()):
        if cause.size and not cause.freed and (names is None or cause.name in names):
            campaign = let_go(campaign, key, why, at)
    return campaign


def overcome(campaign: Campaign, lesson: Overcome) -> tuple[Campaign, str | None]:
    """A run went another way than before; where it succeeded, what it had shown is cured."""
    said = []
    for key in lesson.keys:
        cause = campaign.causes.get(key)
        if cause is None or cause.held is None or cause.freed or lesson.began is None:
            continue
        if earlier(cause.held, lesson.began):
            words = (
                f"{lesson.run_id}, which had met it, succeeded: {what(cause.name, cause.about)} holds nobody any more"
            )
            campaign = let_go(campaign, key, words, lesson.at)
            said.append(words)
    return forget(campaign, lesson.run_id), "; ".join(said) or None


def probed(campaign: Campaign, key: str, cured: bool, words: str, at: Moment) -> tuple[Campaign, str | None]:
    """A probe is back: let go, or looked at again later, or left to a person."""
    cause = campaign.causes.get(key)
    if cause is None or cause.held is None or cause.freed:
        return campaign, None
    if cured:
        said = f"{what(cause.name, cause.about)} is cured ({words}): what it held goes on"
        return let_go(campaign, key, said, at, by_probe=True), said
    if elapsed(cause.held, at) >= PROBES_END:
        cause = replace(cause, due=None, probes=cause.probes + 1, found=words)
        said = (
            f"{what(cause.name, cause.about)} has been probed in vain for {PROBES_END / 3600:.0f} h ({words}): now "
            f"only a person lets it go: overnight resume {campaign.id}"
        )
        return _put(campaign, key, cause), said
    delay = min(PROBE_FIRST * 2.0 ** min(cause.probes + 1, 20), PROBE_MAX)
    cause = replace(cause, due=after(at, delay), probes=cause.probes + 1, found=words)
    return _put(campaign, key, cause), None


def probes_due(campaign: Campaign, now: Moment) -> list[str]:
    """Keys of the causes to be probed now; after a reboot, all of them."""
    return [key for key, cause in campaign.causes.items() if cause.due is not None and passed(cause.due, now)]


def passed(due: Moment, now: Moment) -> bool:
    """Whether that time has come; across boots nobody knows, and asking too early costs nothing."""
    return due.boot != now.boot or due.mono <= now.mono


def judgements(campaign: Campaign) -> list[str]:
    """Keys of the causes whose runs have failed: nothing can move that might show them once more."""
    causes = campaign.causes.items()
    if any(campaign.counts.get(state.value) for state in MOVING) or any(c.held or c.freed for _, c in causes):
        return []
    return [key for key, cause in causes if cause.size]
