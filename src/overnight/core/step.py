"""The one door: `step(run, campaign, event)`. Pure and total."""

from collections.abc import Callable

from overnight.core import holding, moves
from overnight.core.result import IllegalEvent, Step
from overnight.core.tables import ATTEMPT_MOVES, DISCHARGES, OLD_ATTEMPT, RUN_MOVES, Ignore
from overnight.model.campaign import Campaign
from overnight.model.codec import replace
from overnight.model.effects import Effect, QuarantineSlot
from overnight.model.events import Event, OfAttempt
from overnight.model.run import Run

_HANDLERS: dict[str, Callable[[Run, Campaign, Event], Step]] = {
    name: function
    for module in (moves, holding)
    for name, function in vars(module).items()
    if callable(function) and not name.startswith("_")
}


def step(run: Run, campaign: Campaign, event: Event) -> Step:
    """The run after `event`, and what is to be done. Raises `IllegalEvent` for a pair without a move."""
    if isinstance(event, OfAttempt):
        newest = run.attempt
        if newest is not None and event.n < newest.n:
            return Step(run, ignored=OLD_ATTEMPT.reason)
        if newest is None or event.n > newest.n:
            raise IllegalEvent(run, event)
        cell = ATTEMPT_MOVES[type(event)].get(newest.state)
    else:
        cell = RUN_MOVES[type(event)].get(run.state)
    if cell is None:
        raise IllegalEvent(run, event)
    discharged = _discharge(run, event)
    if isinstance(cell, Ignore):
        return Step(discharged, ignored=cell.reason)
    return _HANDLERS[cell.handler](discharged, campaign, event)


def _discharge(run: Run, event: Event) -> Run:
    """Take off what was owed and has now come about."""
    kinds = DISCHARGES.get(type(event))
    if not kinds or not run.owed:
        return run
    rest = tuple(effect for effect in run.owed if not _is_result(effect, kinds, event))
    return run if len(rest) == len(run.owed) else replace(run, owed=rest)


def _is_result(effect: Effect, kinds: tuple[str, ...], event: Event) -> bool:
    if type(effect).__name__ not in kinds:
        return False
    if isinstance(event, OfAttempt):
        return getattr(effect, "n", None) == event.n
    if isinstance(effect, QuarantineSlot):
        return effect.slot == getattr(event, "slot", None)
    return getattr(effect, "epoch", None) == getattr(event, "epoch", None)
