"""The reference page of the states, from the very tables that decide: `python -m overnight.core.document`."""

import sys
from collections.abc import Iterable, Mapping

from overnight.core import holding, moves
from overnight.core.tables import ATTEMPT_MOVES, DISCHARGES, IN_RUN, OLD_ATTEMPT, RUN_MOVES, Cell, Ignore, Move
from overnight.model.effects import (
    FinishRun,
    QuarantineSlot,
    SetAside,
    SetBound,
    StartAttempt,
    StopAttempt,
    VerifyAttempt,
)
from overnight.model.states import AttemptState, EndedBy, RunState

_HEAD = """\
# States and events

Generated from the tables by `python -m overnight.core.document`; do not edit.

A run is a row of the manifest; an attempt is one execution of it, numbered from 1. Every event is either a *move*
(named below by the function of `core.moves` or `core.holding` that makes it), *ignored* for the reason given, or an
*error*: then nothing changes but that this one run is held, with its story, until a person says `resume`.
"""

_SEEN_BY_RUN = """\
## What is said of a run

Rows are events, the state is that of the run.
"""

_SEEN_BY_ATTEMPT = f"""\
## What is said of an attempt

The state is that of the run's newest attempt, and the event names that attempt. Words of earlier attempts are ignored
("{OLD_ATTEMPT.reason}"); a word of an attempt that nobody asked for is an error.
"""

_OWED = """\
## What is owed

An effect is owed from the transaction that asks for it until an event that is its result (of the same attempt or
epoch). What is still owed is performed again after a restart, so each is harmless when it is done twice.
"""

_TOGETHER = """\
## Which states go together

A run that has no attempt yet may be in any state but `running` and `verifying`.
"""

_EFFECTS = (QuarantineSlot, StartAttempt, StopAttempt, SetBound, VerifyAttempt, FinishRun, SetAside)


def page() -> str:
    """The whole page, Markdown, with a final newline."""
    parts = [_HEAD, _moves_table(), _SEEN_BY_RUN, *_events(RUN_MOVES, RunState)]
    parts += [_SEEN_BY_ATTEMPT, *_events(ATTEMPT_MOVES, AttemptState)]
    parts += [_OWED, _effects_table(), _TOGETHER, _together_table(), _ended_by()]
    return "\n".join(parts)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *map(list, rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _first_line(thing: object) -> str:
    return " ".join((thing.__doc__ or "").split("\n\n")[0].split()).replace("<", "&lt;")


def _moves_table() -> str:
    """Every handler once, with what it says of itself."""
    names = {
        cell.handler: None
        for row in (*RUN_MOVES.values(), *ATTEMPT_MOVES.values())
        for cell in row.values()
        if isinstance(cell, Move)
    }
    handlers = vars(moves) | vars(holding)
    return "## The moves\n\n" + _table(("move", "what happens"), ((f"`{n}`", _first_line(handlers[n])) for n in names))


def _events(
    table: Mapping[type, Mapping[RunState | AttemptState, Cell]], states: type[RunState] | type[AttemptState]
) -> list[str]:
    """One small table for each event: states that are treated alike stand in one row."""
    sections = []
    for event, row in table.items():
        alike: dict[str, list[str]] = {}
        for state in states:
            alike.setdefault(_cell(row.get(state)), []).append(f"`{state.value}`")
        rows = ((", ".join(names), what) for what, names in alike.items())
        sections.append(f"### {event.__name__}\n\n{_first_line(event)}\n\n" + _table(("in state", "then"), rows))
    return sections


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "**error**"
    return f"ignored: {cell.reason}" if isinstance(cell, Ignore) else f"`{cell.handler}`"


def _effects_table() -> str:
    rows = []
    for effect in _EFFECTS:
        results = [event.__name__ for event, names in DISCHARGES.items() if effect.__name__ in names]
        rows.append((f"`{effect.__name__}`", _first_line(effect), ", ".join(f"`{name}`" for name in results)))
    return _table(("effect", "what is to be done; done twice", "until"), rows)


def _together_table() -> str:
    rows = (
        (f"`{run.value}`", ", ".join(f"`{state.value}`" for state in AttemptState if state in attempts))
        for run, attempts in IN_RUN.items()
    )
    return _table(("run", "its newest attempt"), rows)


def _ended_by() -> str:
    words = ", ".join(f"`{by.value}`" for by in EndedBy)
    return f"Who brought an attempt to its end is one of {words}.\n"


if __name__ == "__main__":
    sys.stdout.write(page())
