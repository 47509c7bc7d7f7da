"""What must hold of any one step, said without looking at how `core` does it."""

from overnight.core.invariants import broken
from overnight.core.result import IllegalEvent, Step
from overnight.core.step import step
from overnight.model import events as e
from overnight.model.campaign import Campaign
from overnight.model.classes import ATTEMPT_CEILING
from overnight.model.effects import SetBound, StopAttempt
from overnight.model.run import Run
from overnight.model.states import RunState


def stepped(run: Run, campaign: Campaign, event: e.Event) -> Step | None:
    """The step, checked, with the same word once more; None if the event is illegal here."""
    try:
        result = step(run, campaign, event)
    except IllegalEvent as problem:
        assert problem.run is run and problem.event is event and run.state.value in str(problem)
        return None
    _check(run, event, result)
    try:
        again = step(result.run, campaign, event)
    except IllegalEvent:
        return result
    assert again.run == result.run, f"{event} twice is not once"
    return result


def _check(before: Run, event: e.Event, result: Step) -> None:
    now = result.run
    assert broken(now) == [], f"{event} of {before}"
    if before.ended and now.state != before.state:
        assert isinstance(event, e.RetryRequested), "an ended run moves only by a person's retry"
    if result.ignored is not None:
        assert (now.state, now.attempts, now.budget) == (before.state, before.attempts, before.budget)
        assert result.effects == ()
    living = _living_after(before, event, now)
    live = now.live_attempt
    assert (live.n if live is not None else None) == living, "an attempt that lives was forgotten, or revived"
    assert now.attempts[: len(before.attempts) - 1] == before.attempts[:-1], "an old attempt was rewritten"
    assert set(result.effects) <= set(now.owed), "an effect that nobody owes is lost in a crash"
    for effect in before.owed:
        if isinstance(effect, StopAttempt) and living is not None:
            assert effect in now.owed, "it lives and is to be ended, and nobody owes that any more"
    for effect in now.owed:
        if isinstance(effect, StopAttempt | SetBound):
            assert effect.n == living, "a stop or a bound of what does not live"
    if now.state == RunState.PENDING:
        assert living is None, "queued while an attempt lives"
    begun = [a for a in now.attempts if a.epoch == now.epoch and not a.never_began]
    assert len(begun) <= ATTEMPT_CEILING


def _living_after(before: Run, event: e.Event, now: Run) -> int | None:
    """The attempt that may have processes, by the words alone: planned, until it ended or never began."""
    living = next((a.n for a in before.attempts if a.live), None)
    if len(now.attempts) > len(before.attempts):
        assert isinstance(event, e.RunPlanned) and living is None, "a second attempt beside a live one"
        assert event.n > max((a.n for a in before.attempts), default=0), "an attempt number used twice"
        return event.n
    if isinstance(event, e.AttemptEnded) and event.n == living:
        return None
    if isinstance(event, e.AttemptNeverBegan) and event.n == living:
        begun = before.attempts[-1].started is not None
        return living if begun else None
    return living
