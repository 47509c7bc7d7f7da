"""The moves that `core.tables` names: each takes (run, campaign, event) and returns the Step."""

import re as _re

from overnight.core import decide as _decide
from overnight.core import limits as _limits
from overnight.core.moving import end as _end
from overnight.core.moving import into as _into
from overnight.core.moving import newest as _newest
from overnight.core.moving import noting as _noting
from overnight.core.moving import owing as _owing
from overnight.core.moving import stop as _stop
from overnight.core.moving import uncounted as _uncounted
from overnight.core.moving import with_attempt as _with_attempt
from overnight.core.result import IllegalEvent as _IllegalEvent
from overnight.core.result import Step
from overnight.model import events as _e
from overnight.model.campaign import Campaign
from overnight.model.codec import replace
from overnight.model.effects import (
    FinishRun,
    QuarantineSlot,
    SetAside,
    SetBound,
    StartAttempt,
    StopAttempt,
    VerifyAttempt,
)
from overnight.model.events import Event
from overnight.model.run import Attempt, Budget, Run, Wish
from overnight.model.states import AttemptState, EndedBy, RunState
from overnight.model.time import Moment, after

# Never-begun attempts in a row before a start is tried with a pause, and before it is our fault.
_NEVER_BEGAN_PAUSE = 3
_NEVER_BEGAN_HELD = 30
_KEPT = StopAttempt | SetAside | QuarantineSlot  # owed even by a run that we failed with
_GLOB = _re.compile(r"[*?\[]")


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
    if run.live_attempt is None or run.live_attempt.stop is not None:
        return Step(run, ignored="nothing of it lives, or it is being ended already")
    return _stop(run, campaign, EndedBy.PAUSE, None, f"{event.by} paused the campaign now", evidence=False)


def stopped_for_deadline(run: Run, campaign: Campaign, event: Event) -> Step:
    """Its attempt gets TERM and its grace while the host is still there."""
    assert isinstance(event, _e.DeadlineReached)
    if run.live_attempt is None or run.live_attempt.stop is not None:
        return Step(run, ignored="nothing of it lives, or it is being ended already")
    return _stop(run, campaign, EndedBy.DEADLINE, "timeout.host", event.words, evidence=False)


def amended(run: Run, campaign: Campaign, event: Event) -> Step:
    """A revision's limits hold at once: the shim's bound is set anew."""
    return _bound_anew(run, campaign, "limits amended")


def row_amended(run: Run, campaign: Campaign, event: Event) -> Step:
    """What a row says of its own limit holds at once, too; its GPUs and its place in the queue when it next starts."""
    assert isinstance(event, _e.RowAmended)
    run = replace(run, policy=event.policy)
    if run.state == RunState.RUNNING:
        return _bound_anew(run, campaign, "the row's own policy amended")
    return Step(run, words="the row's own policy amended")


def _bound_anew(run: Run, campaign: Campaign, words: str) -> Step:
    attempt = _newest(run)
    seconds = _limits.bound_seconds(run, campaign)
    run = replace(run, owed=tuple(effect for effect in run.owed if not isinstance(effect, SetBound)))
    run, effects = _owing(run, SetBound(attempt.n, seconds, campaign.policy.limits.grace))
    return Step(run, effects, words=words)


def faulted(run: Run, campaign: Campaign, event: Event) -> Step:
    """Our own fault: this run is held with its story, and owes nothing until a person lets it go on."""
    assert isinstance(event, _e.RunFaulted)
    words = f"Overnight failed with this run: {event.problem}"
    run = replace(run, owed=tuple(effect for effect in run.owed if isinstance(effect, _KEPT)))
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
    by, name, words = _decide.of_limit(event, run)
    return _stop(run, campaign, by, name, words, evidence=event.limit != "log")  # which grows meanwhile


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
    run, effects = step.run, step.effects
    if verdict.quarantine is not None:
        run, more = _owing(run, QuarantineSlot(*verdict.quarantine))
        effects = (*effects, *more)
    return Step(run, effects, verdict.lessons, step.words)
