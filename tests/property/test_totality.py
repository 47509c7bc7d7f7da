"""Every (state, event) pair is a move, an ignore or an illegal event; and all of it survives the store."""

from collections.abc import Iterator
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import stepped
from run_events import POLICIES, any_event, campaign, moment, one_of_each, vitals

from overnight.core import holding, moves
from overnight.core.result import IllegalEvent
from overnight.core.step import step
from overnight.core.tables import ATTEMPT_MOVES, DISCHARGES, IN_RUN, OLD_ATTEMPT, RUN_MOVES, Ignore, Move
from overnight.model import effects, events
from overnight.model.campaign import Campaign, StoryEntry
from overnight.model.codec import from_json, replace, to_json
from overnight.model.events import Event
from overnight.model.policy import Policy
from overnight.model.run import Run, Slot, Vitals
from overnight.model.states import AttemptState, RunState

CAMPAIGN = campaign(POLICIES[0])
HANDLERS_IN = {moves.__name__, holding.__name__}
EVENT_TYPES = frozenset(get_args(Event))


def shape(run: Run) -> tuple[object, ...]:
    """What decides a step, so that the search ends: not how often, only where."""
    a = run.attempt
    owed = frozenset(type(effect).__name__ for effect in run.owed)
    of_attempt = a and (a.state, a.stop, a.never_began, a.started is None, a.classification is None, a.exit is None)
    return run.state, of_attempt, owed, run.wish is None, min(run.epoch, 2), min(len(run.attempts), 3)


def reachable() -> dict[tuple[object, ...], Run]:
    """A run of every shape that events can bring about."""
    start = Run("c-1", "r", 0)
    found = {shape(start): start}
    open_ends = [start]
    while open_ends:
        run = open_ends.pop()
        for event in one_of_each(run.attempt.n if run.attempt else 0, moment(1.0)):
            try:
                after = step(run, CAMPAIGN, event).run
            except IllegalEvent:
                continue
            if shape(after) not in found:
                found[shape(after)] = after
                open_ends.append(after)
    return found


@pytest.fixture(scope="module")
def runs() -> Iterator[list[Run]]:
    """All shapes, searched once."""
    yield list(reachable().values())


def test_every_pair_is_a_move_an_ignore_or_an_illegal_event(runs: list[Run]) -> None:
    """A KeyError in a handler held runs at three in the morning, one after the other."""
    assert len(runs) > 100
    now, slot = moment(2.0), Slot("gpu:0")
    for run in runs:
        n = run.attempt.n if run.attempt else 0
        for event in one_of_each(n, now):
            stepped(run, CAMPAIGN, event)
        for event in one_of_each(n + 1, now):
            if isinstance(event, events.OfAttempt):
                assert stepped(run, CAMPAIGN, event) is None, "a word of an attempt that nobody asked for"
        for event in one_of_each(n - 1, now):
            if isinstance(event, events.OfAttempt) and n > 0:
                old = stepped(run, CAMPAIGN, event)
                assert old is not None and old.run is run and old.ignored == OLD_ATTEMPT.reason
        for number in range(1, n + 1):
            assert stepped(run, CAMPAIGN, events.RunPlanned(now, number, slot, 1)) is None


def test_every_state_can_be_reached(runs: list[Run]) -> None:
    """A pair of run and attempt states that nothing leads to is a row of the table that nobody has tried."""
    seen = {(run.state, run.attempt.state) for run in runs if run.attempt is not None}
    assert seen == {(state, attempt) for state, attempts in IN_RUN.items() for attempt in attempts}


def test_the_tables_know_every_event_and_state() -> None:
    """An event type without a row was an error in every state."""
    assert set(RUN_MOVES) | set(ATTEMPT_MOVES) == EVENT_TYPES
    assert set(RUN_MOVES) & set(ATTEMPT_MOVES) == set()
    assert all(issubclass(kind, events.OfAttempt) for kind in ATTEMPT_MOVES)
    assert all(set(row) <= set(RunState) for row in RUN_MOVES.values())
    assert all(set(row) <= set(AttemptState) for row in ATTEMPT_MOVES.values())
    for row in (*RUN_MOVES.values(), *ATTEMPT_MOVES.values()):
        for cell in row.values():
            assert (cell.reason if isinstance(cell, Ignore) else cell.handler) != ""


def test_every_move_has_a_handler_and_every_handler_a_move() -> None:
    """A handler renamed in one place only is an exception in the night."""
    named = {
        cell.handler
        for row in (*RUN_MOVES.values(), *ATTEMPT_MOVES.values())
        for cell in row.values()
        if isinstance(cell, Move)
    }
    handlers = vars(moves) | vars(holding)
    defined = {name for name, value in handlers.items() if getattr(value, "__module__", "") in HANDLERS_IN}
    assert named == {name for name in defined if not name.startswith("_")}


def test_every_effect_has_a_result() -> None:
    """An effect that nothing discharges is performed again at every restart, for ever."""
    kinds = {kind.__name__ for kind in get_args(effects.Effect)}
    assert {name for names in DISCHARGES.values() for name in names} == kinds
    assert set(DISCHARGES) <= EVENT_TYPES


def test_runs_survive_the_store(runs: list[Run]) -> None:
    """After a restart a run owed nothing: one effect had been written in a form that was read as another."""
    for run in runs:
        assert from_json(to_json(run), Run) == run


@settings(max_examples=80, deadline=None, database=None)
@given(st.data())
def test_events_survive_the_wire(data: st.DataObject) -> None:
    """A float, a quote or a line break in somebody's words must not hold the run."""
    event = data.draw(any_event(2, moment(3.5)))
    assert from_json(to_json(event), Event) == event
    assert to_json(from_json(to_json(event), Event)) == to_json(event)


@settings(max_examples=30, deadline=None, database=None)
@given(policy=st.sampled_from(POLICIES), seen=vitals, factor=st.sampled_from([1.0, 4.0]))
def test_campaigns_and_stories_survive_the_store(policy: Policy, seen: Vitals, factor: float) -> None:
    """A policy with "none" in it came back with the default timeout."""
    changed = replace(campaign(policy), quiet_factor=factor)
    assert from_json(to_json(changed), Campaign) == changed
    entry = StoryEntry("c-1", "r", moment(1), "Said", "", "", "words", 1, {"a": 1.5, "b": None})
    assert from_json(to_json(entry), StoryEntry) == entry
    assert from_json(to_json(seen), Vitals) == seen
