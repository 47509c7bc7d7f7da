"""What moves are made of: a run in another state, with a changed attempt, owing effects."""

from overnight.core.result import Step
from overnight.model.campaign import Campaign
from overnight.model.codec import replace
from overnight.model.effects import Effect, FinishRun, StopAttempt
from overnight.model.run import Attempt, Run
from overnight.model.states import AttemptState, EndedBy, RunState
from overnight.model.time import Moment


def into(run: Run, state: RunState, at: Moment, cause: str, words: str) -> Run:
    """In this state from now on, for this reason."""
    return replace(run, state=state, cause=cause, words=words, changed=at, due=None, held_by="")


def with_attempt(run: Run, attempt: Attempt) -> Run:
    """With its newest attempt as it is now."""
    return replace(run, attempts=(*run.attempts[:-1], attempt))


def noting(run: Run, cause: str, words: str) -> Run:
    """What its attempt is about; a held run goes on saying why it is held."""
    return run if run.state == RunState.HELD else replace(run, cause=cause, words=words)


def newest(run: Run) -> Attempt:
    """Of a run that has an attempt: the tables name attempt moves only where there is one."""
    attempt = run.attempt
    assert attempt is not None  # the tables name attempt moves only where there is one
    return attempt


def owing(run: Run, *effects: Effect) -> tuple[Run, tuple[Effect, ...]]:
    """Owes these effects, too; those that it owed already are asked for again."""
    new = tuple(effect for effect in effects if effect not in run.owed)
    return replace(run, owed=run.owed + new), effects


def stop(run: Run, campaign: Campaign, by: EndedBy, name: str | None, words: str, *, evidence: bool) -> Step:
    """Begin to end the newest attempt. A lost one stays lost, with the wish noted."""
    attempt = newest(run)
    state = attempt.state if attempt.state == AttemptState.LOST else AttemptState.STOPPING
    attempt = replace(attempt, state=state, stop=by, stop_class=name, stop_words=words)
    run = noting(with_attempt(run, attempt), by.value, words)
    run, effects = owing(run, StopAttempt(attempt.n, campaign.policy.limits.grace, evidence))
    return Step(run, effects, words=words)


def end(run: Run, state: RunState, at: Moment, cause: str, words: str) -> Step:
    """Ended so; its files are still to be written."""
    run, effects = owing(into(run, state, at, cause, words), FinishRun(run.epoch))
    return Step(run, effects, words=words)


def uncounted(run: Run) -> Run:
    """What a shared cause cost it is given back: the attempt, and the time that its outage has lasted."""
    budget = replace(run.budget, outage_since=None)
    if run.attempt is None:
        return run
    return with_attempt(replace(run, budget=budget), replace(run.attempt, counted=False))
