"""The moves into and out of a hold, of runs that do not live: `core.tables` names them like those of `core.moves`."""

from overnight.core import deadline
from overnight.core.moving import end, into, newest, uncounted, with_attempt
from overnight.core.result import Failed, Step
from overnight.model import events as e
from overnight.model.campaign import Campaign
from overnight.model.codec import replace
from overnight.model.events import Event
from overnight.model.run import Run
from overnight.model.states import RunState


def held(run: Run, campaign: Campaign, event: Event) -> Step:
    """It waits for a person or a cure."""
    assert isinstance(event, e.HoldRequested)
    if event.key:
        run = uncounted(run)
    run = replace(into(run, RunState.HELD, event.at, event.cause, event.words), held_by=event.key)
    return Step(run, words=event.words)


def held_on(run: Run, campaign: Campaign, event: Event) -> Step:
    """It waited for judgement, and the cause is proven now."""
    assert isinstance(event, e.HoldRequested)
    if not event.key or run.held_by != event.key:
        return Step(run, ignored="it is held already, for another reason")
    return Step(replace(run, words=event.words), words=event.words)


def cured(run: Run, campaign: Campaign, event: Event) -> Step:
    """The cause that held it is let go: it goes on, its proving attempt uncounted."""
    assert isinstance(event, e.CauseCured)
    if not event.key or run.held_by != event.key:
        return Step(run, ignored="another cause holds it")
    return Step(into(uncounted(run), RunState.PENDING, event.at, "cured", event.words), words=event.words)


def judged(run: Run, campaign: Campaign, event: Event) -> Step:
    """No other run showed its cause, and none is left that could: it has failed by itself."""
    assert isinstance(event, e.JudgementDue)
    found = None if run.attempt is None else run.attempt.classification
    if not event.key or run.held_by != event.key or found is None:
        return Step(run, ignored="no judgement waits for it")
    run = replace(with_attempt(run, replace(newest(run), counted=True)), failure=found)
    words = f"{found.name}: {found.message}; too few other runs have met it, and none is left that could"
    step = end(run, RunState.FAILED, event.at, found.name, words)
    return Step(step.run, step.effects, (Failed(run.run_id),), step.words)


def held_for_deadline(run: Run, campaign: Campaign, event: Event) -> Step:
    """The host is taken away before it could reach anything worth keeping: whoever brings another lets it go on."""
    assert isinstance(event, e.DeadlineReached)
    return Step(into(run, RunState.HELD, event.at, deadline.CAUSE, event.words), words=event.words)
