"""What the end of an attempt means for its run."""

from overnight.core import causes, deadline, ending, hardware, limits, retry, scouts
from overnight.core.checkpoint_names import step_of
from overnight.core.result import Failed, Finished, Lesson, Overcome, QuietPhase, Rooted, Shown
from overnight.model.campaign import Campaign
from overnight.model.classes import ATTEMPT_CEILING, Classification
from overnight.model.codec import Struct, replace
from overnight.model.events import AttemptVerified, LimitReached
from overnight.model.policy import AUTO
from overnight.model.run import Attempt, Run, Slot, Vitals
from overnight.model.states import EndedBy, RunState
from overnight.model.time import Moment

SHORT_OF_TOTAL = 0.9  # exit 0 below this share of a known total is flagged `short`


class Verdict(Struct, frozen=True):
    """Where the run goes. `delay` in seconds, of a waiting run."""

    run: Run
    state: RunState
    cause: str
    words: str
    delay: float = 0.0
    lessons: tuple[Lesson, ...] = ()
    held_by: str = ""  # key of the shared cause, of a held run
    quarantine: tuple[Slot, str] | None = None  # a GPU that is to be given to nobody, and why


def of_limit(event: LimitReached, run: Run) -> tuple[EndedBy, str, str]:
    """Who ends it, the class and the words of a limit that has passed."""
    seconds, seen = f"{event.seconds:.6g} s", f"{event.observed:.1f} s"
    phase = "" if event.vitals.phase is None else f" in its phase {event.vitals.phase}"
    match event.limit:
        case "timeout":
            whose = "limits.timeout" if run.policy.timeout is None else "its row's @timeout"
            return EndedBy.TIMEOUT, "timeout.wall", f"its running time reached {whose} (left: {seconds})"
        case "attempt_timeout":
            return EndedBy.TIMEOUT, "timeout.attempt", f"attempt ran {seen}, limits.attempt_timeout is {seconds}"
        case "log":
            words = f"its output has {event.observed / 1e6:.1f} MB, limits.log is {event.seconds / 1e6:.1f} MB"
            return EndedBy.TIMEOUT, "disk.full", words
        case "startup":
            return EndedBy.STALL, "stall.startup", f"no first advance in {seen}, limits.startup is {seconds}{phase}"
        case "heartbeat":
            return EndedBy.STALL, "stall.output", f"no sign of life for {seen}, limits.heartbeat is {seconds}{phase}"
        case "progress":
            return EndedBy.STALL, "stall.progress", f"no advance for {seen}, limits.progress is {seconds}{phase}"


def verdict(run: Run, campaign: Campaign, event: AttemptVerified) -> Verdict:
    """Succeeded, tried again (waiting), let go on later (pending), failed or cancelled."""
    newest = run.attempt
    assert newest is not None
    found = event.classification
    attempt = replace(newest, vitals=event.vitals, classification=found)
    flags = (*newest.flags, *found.flags, *_flags(run, attempt))
    by = ending.ended_by(attempt)
    if by in (EndedBy.PAUSE, EndedBy.DEADLINE):
        attempt = replace(attempt, counted=False)
    attempt = replace(attempt, flags=flags)
    run = replace(run, attempts=(*run.attempts[:-1], attempt), checkpoints=event.checkpoints)
    run = replace(run, flags=tuple(dict.fromkeys((*run.flags, *flags))))
    if found.name in ("none", "teardown.hung"):
        return _succeeded(run, campaign, attempt, event.at)
    if run.wish is not None:
        return Verdict(replace(run, failure=None), RunState.CANCELLED, "cancelled", f"cancelled: {run.wish.why}")
    if by in (EndedBy.PAUSE, EndedBy.CANCEL, EndedBy.DEADLINE) and retry.tries(run) >= ATTEMPT_CEILING:
        words = f"{ATTEMPT_CEILING} attempts are the end; the last one was ended from outside"
        run = replace(run, failure=Classification("unknown", "attempt-ceiling", words))
        return Verdict(run, RunState.FAILED, "unknown", f"unknown: {words}", lessons=(Failed(run.run_id),))
    if by in (EndedBy.PAUSE, EndedBy.CANCEL, EndedBy.DEADLINE):  # its mark counts all the same
        budget, _ = retry.spend(run, attempt, event.at)
        run = replace(run, budget=budget)
    if by == EndedBy.PAUSE:
        return Verdict(run, RunState.PENDING, "paused", "ended by a pause; it goes on when the campaign does")
    if by == EndedBy.DEADLINE:
        words = f"{attempt.stop_words}; it goes on from its checkpoint when it is resumed"
        return Verdict(run, RunState.HELD, deadline.CAUSE, words)
    if by == EndedBy.CANCEL:  # carried out by the shim for a supervisor that forgot: nobody's wish any more
        return Verdict(run, RunState.PENDING, "stopped", "ended by a request nobody remembers; it goes on")
    if found.name == "cancelled":  # whoever took the job out of its batch system meant this run
        return Verdict(replace(run, failure=None), RunState.CANCELLED, "cancelled", f"cancelled: {found.message}")
    if found.name != "gpu.hardware":
        return _failed(run, campaign, attempt, found, event.at, event.roll)
    verdict_ = _failed(run, campaign, attempt, found, event.at, event.roll)
    lessons = (*verdict_.lessons, hardware.lesson_of(run.run_id, attempt))
    aside = hardware.to_quarantine(campaign, run.run_id, attempt, found)
    words = verdict_.words if aside is None else f"{verdict_.words}; {aside[0].name} is quarantined"
    return replace(verdict_, lessons=lessons, quarantine=aside, words=words)


def _succeeded(run: Run, campaign: Campaign, attempt: Attempt, at: Moment) -> Verdict:
    budget, _ = retry.spend(run, attempt, attempt.ended or attempt.planned)
    run = replace(run, failure=None, budget=budget)
    words = "succeeded" if retry.tries(run) == 1 else f"succeeded on attempt {attempt.n}"
    lessons: list[Lesson] = [
        Finished(attempt.vitals.longest_quiet, attempt.vitals.longest_gap, deadline.kept_after(run, campaign))
    ]
    if campaign.causes:
        shown = (causes.key_of(a.classification) for a in run.attempts if a.classification is not None)
        keys = tuple(dict.fromkeys(key for key in shown if key is not None))
        lessons.append(Overcome(run.run_id, at, keys, attempt.started or attempt.planned))
    return Verdict(run, RunState.SUCCEEDED, "none", words, lessons=tuple(lessons))


def _failed(run: Run, campaign: Campaign, attempt: Attempt, found: Classification, at: Moment, roll: float) -> Verdict:
    decision = retry.decide(run, campaign, attempt, found.name, at, roll)
    before, run = run, replace(run, budget=decision.budget)
    if isinstance(decision, retry.Retry):
        whole = limits.run_timeout(run, campaign)
        if whole is not None and run.ran_seconds >= whole:
            message = f"its attempts ran {run.ran_seconds:.1f} s together, limits.timeout is {whole:.6g} s"
            found = Classification("timeout.wall", "supervisor-timeout", f"{message}; last: {found.name}",
                                   found.evidence, (*found.consequences, found.name))  # fmt: skip
            decision = retry.Final(decision.budget, f"timeout.wall: {message}", "supervisor-timeout")
    lessons = _lessons(run, campaign, attempt, found, decision, at)
    in_common = None
    if not (isinstance(decision, retry.Final) and decision.rule == "attempt-ceiling"):
        proof = any(isinstance(lesson, Shown) and lesson.proves for lesson in lessons)
        in_common = causes.judge(run, campaign, attempt, found, isinstance(decision, retry.Final), proof)
    if in_common is not None:
        return _not_its_own(before, campaign, attempt, found, in_common, lessons, at, roll)
    if isinstance(decision, retry.Final):
        run = replace(run, failure=found)
        return Verdict(run, RunState.FAILED, found.name, decision.words, lessons=(*lessons, Failed(run.run_id)))
    run = replace(
        run,
        avoid=(*run.avoid, decision.avoid) if decision.avoid is not None else run.avoid,
        excluded=(*run.excluded, decision.exclude) if decision.exclude is not None else run.excluded,
        flags=tuple(dict.fromkeys((*run.flags, "tracker.offline"))) if decision.offline else run.flags,
    )
    return Verdict(run, RunState.WAITING, found.name, decision.words, decision.delay, lessons)


def _lessons(
    run: Run, campaign: Campaign, attempt: Attempt, found: Classification, decision: retry.Retry | retry.Final,
    at: Moment,
) -> tuple[Lesson, ...]:  # fmt: skip
    """What the campaign learns from an attempt that failed."""
    lessons: list[Lesson] = [QuietPhase(run.run_id)] if _same_place(run, campaign, attempt) else []
    final = isinstance(decision, retry.Final)
    key = causes.key_of(found)
    if key is not None:
        proof = causes.proves(found, final, decision.budget.outage_since, at)
        lessons.append(Shown(run.run_id, key, found.name, found.about, found.message, at, proof))
    elif campaign.causes:
        lessons.append(Overcome(run.run_id, at))
    root = scouts.root_of(found)
    if final and root is not None:
        lessons.append(Rooted(run.run_id, root, found.name, found.message, at, attempt.seconds, attempt.vitals.step))
    return tuple(lessons)


def _not_its_own(
    run: Run, campaign: Campaign, attempt: Attempt, found: Classification, how: causes.Held | causes.Before,
    lessons: tuple[Lesson, ...], at: Moment, roll: float,
) -> Verdict:  # fmt: skip
    """The attempt is held against a cause that others have, too: it costs the run nothing but its mark."""
    budget, _ = retry.spend(run, attempt, at)
    attempts = (*run.attempts[:-1], replace(attempt, counted=False))
    run = replace(run, attempts=attempts, budget=replace(budget, outage_since=None))
    if isinstance(how, causes.Before):
        delay = retry.backoff(campaign.policy.retry.backoff, 1, roll)
        return Verdict(run, RunState.WAITING, found.name, how.words, delay)
    return Verdict(run, RunState.HELD, found.name, how.words, lessons=lessons, held_by=causes.key_of(found) or "")


def _same_place(run: Run, campaign: Campaign, attempt: Attempt) -> bool:
    """Two attempts stalled at the same place under an automatic limit: a quiet phase, it seems."""
    limit = {"stall.output": campaign.policy.limits.heartbeat, "stall.progress": campaign.policy.limits.progress}
    if attempt.stop_class not in limit or limit[attempt.stop_class] != AUTO:
        return False
    place = _place(attempt.vitals)
    return any(
        a.epoch == attempt.epoch and a.stop_class == attempt.stop_class and _place(a.vitals) == place
        for a in run.attempts[:-1]
    )


def _place(vitals: Vitals) -> tuple[float | None, int]:
    """Where in its work an attempt is: the step, else the line of output."""
    return (None, vitals.lines) if vitals.step is None else (vitals.step, 0)


def _flags(run: Run, attempt: Attempt) -> tuple[str, ...]:
    vitals = attempt.vitals
    flags: list[str] = []
    found = attempt.classification
    succeeded = found is not None and found.name == "none"
    if succeeded and vitals.step is not None and vitals.total and vitals.step < SHORT_OF_TOTAL * vitals.total:
        flags.append("short")
    if found is not None and found.name == "teardown.hung":
        flags.append("teardown.hung")
    if attempt.underused:
        flags.append("underused")
    if attempt.resume_from is not None and vitals.first_step is not None and _ignored(run, attempt):
        flags.append("resume.ignored")
    return tuple(flags)


def _ignored(run: Run, attempt: Attempt) -> bool:
    """The first step after a resume lies below the checkpoint's (the number in its name; without one: it is
    where the run's very first attempt began, although the run had come further)."""
    first = attempt.vitals.first_step
    assert first is not None and attempt.resume_from is not None
    saved_at = step_of(attempt.resume_from)
    if saved_at is not None:
        return first < saved_at
    begun = [a.vitals.first_step for a in run.attempts if a.epoch == attempt.epoch and a.vitals.first_step is not None]
    best = run.budget.best
    return bool(begun) and best is not None and best > begun[0] and first <= begun[0]
