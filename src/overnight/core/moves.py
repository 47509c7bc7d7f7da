"""The moves that `core.tables` names: each takes (run, campaign, event) and returns the Step."""

import re as _re

from overnight.core import deadline as _deadline
from overnight.core import decide as _decide
from overnight.core import limits as _limits
from overnight.core.result import Failed, Step
from overnight.core.result import IllegalEvent as _IllegalEvent
from overnight.model import events as _e
from overnight.model.campaign import Campaign
from overnight.model.codec import replace
from overnight.model.effects import Effect, FinishRun, SetAside, SetBound, StartAttempt, StopAttempt, VerifyAttempt
from overnight.model.events import Event
from overnight.model.run import Attempt, Budget, Run, Wish
from overnight.model.states import AttemptState, EndedBy, RunState
from overnight.model.time import Moment, after

# Never-begun attempts in a row before a start is tried with a pause, and before it is our fault.
_NEVER_BEGAN_PAUSE = 3
_NEVER_BEGAN_HELD = 30
_GLOB = _re.compile(r"[*?\[]")


def _into(run: Run, state: RunState, at: Moment, cause: str, words: str) -> Run:
    return replace(run, state=state, cause=cause, words=words, changed=at, due=None, held_by="")


def _with_attempt(run: Run, attempt: Attempt) -> Run:
    return replace(run, attempts=(*run.attempts[:-1], attempt))


def _noting(run: Run, cause: str, words: str) -> Run:
    """What its attempt is about; a held run goes on saying why it is held."""
    return run if run.state == RunState.HELD else replace(run, cause=cause, words=words)


def _newest(run: Run) -> Attempt:
    attempt = run.attempt
    assert attempt is not None  # the tables name attempt moves only where there is one
    return attempt


def _owing(run: Run, *effects: Effect) -> tuple[Run, tuple[Effect, ...]]:
    new = tuple(effect for effect in effects if effect not in run.owed)
    return replace(run, owed=run.owed + new), effects


def _stop(run: Run, campaign: Campaign, by: EndedBy, name: str | None, words: str, *, evidence: bool) -> Step:
    """Begin to end the newest attempt. A lost one stays lost, with the wish noted."""
    attempt = _newest(run)
    state = attempt.state if attempt.state == AttemptState.LOST else AttemptState.STOPPING
    attempt = replace(attempt, state=state, stop=by, stop_class=name, stop_words=words)
    run = _noting(_with_attempt(run, attempt), by.value, words)
    run, effects = _owing(run, StopAttempt(attempt.n, campaign.policy.limits.grace, evidence))
    return Step(run, effects, words=words)


def _end(run: Run, state: RunState, at: Moment, cause: str, words: str) -> Step:
    run, effects = _owing(_into(run, state, at, cause, words), FinishRun(run.epoch))
    return Step(run, effects, words=words)


# --- of the run --------------------------------------------------------------------------------------------


def planned(run: Run, campaign: Campaign, event: Event) -> Step:
    """A slot is there: the next attempt is asked for."""
    assert isinstance(event, _e.RunPlanned)
    if event.n <= (0 if run.attempt is None else run.attempt.n):
        raise _IllegalEvent(run, event)  # numbered from 1, never reused
    usable = [c for c in run.checkpoints if c not in run.excluded]
    resume_from = usable[0] if usable and not run.scratch else None
    path = campaign.policy.checkpoint.path
    if resume_from is None and path is not None and not _GLOB.search(path):
        run = replace(run, excluded=())  # the one file of this name is about to be written anew
    attempt = Attempt(
        n=event.n, epoch=run.epoch, state=AttemptState.SUBMITTING, revision=event.revision, slot=event.slot,
        planned=event.at, code=event.code, resume_from=resume_from, port=event.port,
        offline="tracker.offline" in run.flags,
    )  # fmt: skip
    words = f"attempt {event.n} on {event.slot.name}"
    if resume_from is not None:
        words += f", resuming from {resume_from.rsplit('/', 1)[-1]}"
    run = replace(run, attempts=(*run.attempts, attempt), scratch=False)
    run, effects = _owing(_into(run, RunState.RUNNING, event.at, "planned", words), StartAttempt(event.n))
    return Step(run, effects, words=words)


def retry_due(run: Run, campaign: Campaign, event: Event) -> Step:
    """The wait is over."""
    words = "its wait is over; it is next when a slot is free"
    return Step(_into(run, RunState.PENDING, event.at, "retry", words), words=words)


def cancelled_at_rest(run: Run, campaign: Campaign, event: Event) -> Step:
    """Nothing of it lives: it is cancelled at once."""
    assert isinstance(event, _e.CancelRequested)
    return _end(run, RunState.CANCELLED, event.at, "cancelled", f"cancelled: {event.why}")


def cancelled_held(run: Run, campaign: Campaign, event: Event) -> Step:
    """A held run may still have a live attempt; then it goes the way of a running one."""
    if run.live_attempt is None:
        return cancelled_at_rest(run, campaign, event)
    return cancel_wished(replace(run, state=RunState.RUNNING), campaign, event)


def cancel_wished(run: Run, campaign: Campaign, event: Event) -> Step:
    """Its attempt is ended first."""
    assert isinstance(event, _e.CancelRequested)
    run = replace(run, wish=Wish(event.by, event.why))
    return _stop(run, campaign, EndedBy.CANCEL, "cancelled", f"being ended: {event.why}", evidence=False)


def cancel_noted(run: Run, campaign: Campaign, event: Event) -> Step:
    """It has ended already and is being verified: if it passes it has succeeded."""
    assert isinstance(event, _e.CancelRequested)
    return Step(replace(run, wish=Wish(event.by, event.why)), words=f"cancel noted while verifying: {event.why}")


def retried(run: Run, campaign: Campaign, event: Event) -> Step:
    """A person's retry: a new epoch with whole budgets; an unfinished summary is owed no more."""
    assert isinstance(event, _e.RetryRequested)
    words = f"{event.by} asked for another try" + (" from scratch" if event.scratch else "")
    run = replace(
        run, epoch=run.epoch + 1, budget=Budget(), wish=None, avoid=(), failure=None, flags=(), scratch=event.scratch,
        checkpoints=() if event.scratch else run.checkpoints, excluded=(),
        owed=tuple(effect for effect in run.owed if not isinstance(effect, FinishRun)),
    )  # fmt: skip
    run, effects = _owing(
        _into(run, RunState.PENDING, event.at, "retry", words), SetAside(run.epoch - 1, event.scratch)
    )
    return Step(run, effects, words=words)


def retried_held(run: Run, campaign: Campaign, event: Event) -> Step:
    """Held by a cause in common, it has as good as ended: a retry begins anew, as for one that failed."""
    if not run.held_by:
        return Step(run, ignored="it has not ended; resume is for runs that are held")
    return retried(run, campaign, event)


def resumed(run: Run, campaign: Campaign, event: Event) -> Step:
    """A person lets it go on, from where its newest attempt is."""
    assert isinstance(event, _e.ResumeRequested)
    words = f"{event.by} let it go on"
    if run.held_by:
        run = _uncounted(run)
    run = replace(run, wish=None)  # a person's last word holds: an earlier cancel is taken back
    attempt = run.attempt
    if attempt is not None and attempt.live:
        # Asked for once more: its directory and claim file make that a look at what became of it.
        run = _into(run, RunState.RUNNING, event.at, "resumed", words)
        run, effects = _owing(run, StartAttempt(attempt.n))
        return Step(run, effects, words=words)
    if attempt is not None and attempt.classification is None and not attempt.never_began:
        return _verify(run, event.at, "resumed", words)
    return Step(_into(run, RunState.PENDING, event.at, "resumed", words), words=words)


def paused(run: Run, campaign: Campaign, event: Event) -> Step:
    """`pause --now`: the live attempt ends uncounted."""
    assert isinstance(event, _e.PauseRequested)
    if _newest(run).stop is not None:
        return Step(run, ignored="it is being ended already")
    return _stop(run, campaign, EndedBy.PAUSE, None, f"{event.by} paused the campaign now", evidence=False)


def held(run: Run, campaign: Campaign, event: Event) -> Step:
    """It waits for a person or a cure."""
    assert isinstance(event, _e.HoldRequested)
    if event.key:
        run = _uncounted(run)
    run = replace(_into(run, RunState.HELD, event.at, event.cause, event.words), held_by=event.key)
    return Step(run, words=event.words)


def held_on(run: Run, campaign: Campaign, event: Event) -> Step:
    """It waited for judgement, and the cause is proven now."""
    assert isinstance(event, _e.HoldRequested)
    if not event.key or run.held_by != event.key:
        return Step(run, ignored="it is held already, for another reason")
    return Step(replace(run, words=event.words), words=event.words)


def cured(run: Run, campaign: Campaign, event: Event) -> Step:
    """The cause that held it is let go: it goes on, its proving attempt uncounted."""
    assert isinstance(event, _e.CauseCured)
    if run.held_by != event.key:
        return Step(run, ignored="another cause holds it")
    return Step(_into(_uncounted(run), RunState.PENDING, event.at, "cured", event.words), words=event.words)


def judged(run: Run, campaign: Campaign, event: Event) -> Step:
    """No other run showed its cause, and none is left that could: it has failed by itself."""
    assert isinstance(event, _e.JudgementDue)
    found = None if run.attempt is None else run.attempt.classification
    if run.held_by != event.key or found is None:
        return Step(run, ignored="no judgement waits for it")
    run = replace(_with_attempt(run, replace(_newest(run), counted=True)), failure=found)
    words = f"{found.name}: {found.message}; too few other runs have met it, and none is left that could"
    step = _end(run, RunState.FAILED, event.at, found.name, words)
    return Step(step.run, step.effects, (Failed(run.run_id),), step.words)


def _uncounted(run: Run) -> Run:
    """What a shared cause cost it is given back: the attempt, and the time that its outage has lasted."""
    budget = replace(run.budget, outage_since=None)
    if run.attempt is None:
        return run
    return _with_attempt(replace(run, budget=budget), replace(run.attempt, counted=False))


def held_for_deadline(run: Run, campaign: Campaign, event: Event) -> Step:
    """The host is taken away before it could reach anything worth keeping: whoever brings another lets it go on."""
    assert isinstance(event, _e.DeadlineReached)
    return Step(_into(run, RunState.HELD, event.at, _deadline.CAUSE, event.words), words=event.words)


def stopped_for_deadline(run: Run, campaign: Campaign, event: Event) -> Step:
    """Its attempt gets TERM and its grace while the host is still there."""
    assert isinstance(event, _e.DeadlineReached)
    if _newest(run).stop is not None:
        return Step(run, ignored="it is being ended already")
    return _stop(run, campaign, EndedBy.DEADLINE, "timeout.host", event.words, evidence=False)


def amended(run: Run, campaign: Campaign, event: Event) -> Step:
    """A revision's limits hold at once: the shim's bound is set anew."""
    attempt = _newest(run)
    seconds = _limits.bound_seconds(run, campaign)
    run = replace(run, owed=tuple(effect for effect in run.owed if not isinstance(effect, SetBound)))
    run, effects = _owing(run, SetBound(attempt.n, seconds, campaign.policy.limits.grace))
    return Step(run, effects, words="limits amended")


def faulted(run: Run, campaign: Campaign, event: Event) -> Step:
    """Our own fault: this run is held with its story, and owes nothing until a person lets it go on."""
    assert isinstance(event, _e.RunFaulted)
    words = f"Overnight failed with this run: {event.problem}"
    run = replace(run, owed=tuple(effect for effect in run.owed if isinstance(effect, StopAttempt | SetAside)))
    return Step(_into(run, RunState.HELD, event.at, "internal", words), words=words)


def faulted_late(run: Run, campaign: Campaign, event: Event) -> Step:
    """Our own fault after the run's end: the outcome stands, what was still to be written is given up."""
    assert isinstance(event, _e.RunFaulted)
    words = f"Overnight failed after its end: {event.problem}"
    return Step(replace(run, owed=(), flags=tuple(dict.fromkeys((*run.flags, "internal")))), words=words)


def discharged(run: Run, campaign: Campaign, event: Event) -> Step:
    """What was owed has come about; nothing else changes."""
    return Step(run)


# --- of its newest attempt ---------------------------------------------------------------------------------


def queued(run: Run, campaign: Campaign, event: Event) -> Step:
    """A batch system has it."""
    assert isinstance(event, _e.AttemptQueued)
    attempt = replace(_newest(run), job=event.job)
    run = _with_attempt(run, attempt)
    if attempt.started is not None or attempt.stop is not None:
        return found(run, campaign, event)  # lost, and this is an old word of it: it cannot go back before its start
    attempt = replace(attempt, state=AttemptState.QUEUED, lost_since=None)
    return Step(_with_attempt(run, attempt), words=f"queued as {event.job}")


def starting(run: Run, campaign: Campaign, event: Event) -> Step:
    """A shim exists."""
    attempt = _newest(run)
    if attempt.started is not None or attempt.stop is not None:
        return found(run, campaign, event)
    return Step(_with_attempt(run, replace(attempt, state=AttemptState.STARTING, lost_since=None)))


def started(run: Run, campaign: Campaign, event: Event) -> Step:
    """Its shim has claimed it. A lost one that is being ended goes on being ended."""
    assert isinstance(event, _e.AttemptStarted)
    attempt = _newest(run)
    state = AttemptState.RUNNING if attempt.stop is None else AttemptState.STOPPING
    attempt = replace(attempt, state=state, process=event.process, started=event.started, lost_since=None)
    words = f"attempt {attempt.n} runs on {attempt.slot.name}"
    return Step(_noting(_with_attempt(run, attempt), "started", words), words=words)


def started_stopping(run: Run, campaign: Campaign, event: Event) -> Step:
    """It began while it was being ended."""
    assert isinstance(event, _e.AttemptStarted)
    attempt = replace(_newest(run), process=event.process, started=event.started)
    return Step(_with_attempt(run, attempt))


def never_began(run: Run, campaign: Campaign, event: Event) -> Step:
    """Nothing ran and nothing will: no stop or bound of it is owed, the next number is started, uncounted."""
    assert isinstance(event, _e.AttemptNeverBegan)
    attempt = replace(_newest(run), state=AttemptState.ENDED, never_began=True, counted=False, ended=event.at)
    run = _with_attempt(run, attempt)
    # Not in DISCHARGES: where this word is ignored, an attempt lives that is still to be stopped.
    run = replace(run, owed=tuple(effect for effect in run.owed if not isinstance(effect, StopAttempt | SetBound)))
    words = f"attempt {attempt.n} never began: {event.why}"
    if run.state == RunState.HELD:
        return Step(run, words=words)
    if run.wish is not None:
        return _end(run, RunState.CANCELLED, event.at, "cancelled", f"cancelled: {run.wish.why}")
    row = 0
    for earlier in reversed(run.attempts):
        row += earlier.never_began
        if not earlier.never_began:
            break
    if row >= _NEVER_BEGAN_HELD:
        return Step(_into(run, RunState.HELD, event.at, "internal", words), words=words)
    if row >= _NEVER_BEGAN_PAUSE:
        due = after(event.at, min(60.0, 2.0 ** (row - _NEVER_BEGAN_PAUSE)))
        return Step(replace(_into(run, RunState.WAITING, event.at, "start", words), due=due), words=words)
    return Step(_into(run, RunState.PENDING, event.at, "start", words), words=words)


def never_began_stopping(run: Run, campaign: Campaign, event: Event) -> Step:
    """It was being ended, or lost: if it had begun, its record decides."""
    if _newest(run).started is not None:
        return Step(run, ignored="it had begun: its record decides")
    return never_began(run, campaign, event)


def attempt_ended(run: Run, campaign: Campaign, event: Event) -> Step:
    """Its tree is proven gone: the slot is free, what it left is verified."""
    assert isinstance(event, _e.AttemptEnded)
    attempt = _newest(run)
    attempt = replace(
        attempt, state=AttemptState.ENDED, exit=event.exit, ended=event.at, lost_since=None,
        process=attempt.process or event.process, started=attempt.started or event.started,
        cause=event.cause, cause_words=event.words, scheduler=event.scheduler,
        flags=event.flags,
    )  # fmt: skip
    run = _with_attempt(run, attempt)
    if run.state == RunState.HELD:
        return Step(run, words=f"attempt {attempt.n} ended")
    return _verify(run, event.at, "ended", f"attempt {attempt.n} ended; looking at what it left")


def _verify(run: Run, at: Moment, cause: str, words: str) -> Step:
    run, effects = _owing(_into(run, RunState.VERIFYING, at, cause, words), VerifyAttempt(_newest(run).n))
    return Step(run, effects, words=words)


def lost(run: Run, campaign: Campaign, event: Event) -> Step:
    """No word from it. Nothing replaces it, nothing else uses its slot."""
    assert isinstance(event, _e.AttemptLost)
    attempt = replace(_newest(run), state=AttemptState.LOST, lost_since=event.at)
    words = f"attempt {attempt.n} is lost: {event.why}"
    return Step(_noting(_with_attempt(run, attempt), "lost", words), words=words)


def found(run: Run, campaign: Campaign, event: Event) -> Step:
    """It answers again."""
    attempt = _newest(run)
    if attempt.stop is not None:
        state = AttemptState.STOPPING
    else:
        state = AttemptState.RUNNING if attempt.started is not None else AttemptState.SUBMITTING
    words = f"attempt {attempt.n} is found again"
    attempt = replace(attempt, state=state, lost_since=None)
    return Step(_noting(_with_attempt(run, attempt), "found", words), words=words)


def limit_reached(run: Run, campaign: Campaign, event: Event) -> Step:
    """Over a limit: evidence, then the whole tree is ended."""
    assert isinstance(event, _e.LimitReached)
    run = _with_attempt(run, replace(_newest(run), vitals=event.vitals))
    by, name, words = _decide.of_limit(event)
    return _stop(run, campaign, by, name, words, evidence=True)


def verified(run: Run, campaign: Campaign, event: Event) -> Step:
    """All is known of the attempt: succeeded, tried again, or failed."""
    assert isinstance(event, _e.AttemptVerified)
    if run.state != RunState.VERIFYING:
        return Step(run, ignored="it is not being verified")
    verdict = _decide.verdict(run, campaign, event)
    run = verdict.run
    if verdict.state == RunState.HELD:
        run = replace(_into(run, RunState.HELD, event.at, verdict.cause, verdict.words), held_by=verdict.held_by)
        step = Step(run, words=verdict.words)
    elif verdict.state == RunState.PENDING:
        step = Step(_into(run, RunState.PENDING, event.at, verdict.cause, verdict.words), words=verdict.words)
    elif verdict.state == RunState.WAITING:
        due = after(event.at, verdict.delay)
        run = replace(_into(run, RunState.WAITING, event.at, verdict.cause, verdict.words), due=due)
        step = Step(run, words=verdict.words)
    else:
        step = _end(run, verdict.state, event.at, verdict.cause, verdict.words)
    return Step(step.run, step.effects, verdict.lessons, step.words)
