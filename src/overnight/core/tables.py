"""The legal moves, as data. A pair that is not here is an error that carries the run's story.

`Move` names the handler in `core.moves`; `Ignore` says why nothing happens.
"""

from collections.abc import Mapping

from overnight.model import events as e
from overnight.model.codec import Struct
from overnight.model.states import AttemptState as A
from overnight.model.states import RunState as R


class Move(Struct, frozen=True):
    """The event is handled by this function of `core.moves`."""

    handler: str


class Ignore(Struct, frozen=True):
    """The event changes nothing, and this is why."""

    reason: str


Cell = Move | Ignore
Row = Mapping[R, Cell] | Mapping[A, Cell]


def _row(default: Cell | None, states: type[R] | type[A], **cells: Cell) -> dict[R | A, Cell]:
    row: dict[R | A, Cell] = {} if default is None else dict.fromkeys(states, default)
    for name, cell in cells.items():
        row[states[name.upper()]] = cell
    return row


_gone = Ignore("the run has ended; only a person's retry moves it")

RUN_MOVES: Mapping[type, Mapping[R | A, Cell]] = {
    e.RunPlanned: _row(None, R, pending=Move("planned")),
    e.RetryDue: _row(Ignore("it no longer waits"), R, waiting=Move("retry_due")),
    e.CancelRequested: _row(
        _gone, R, pending=Move("cancelled_at_rest"), waiting=Move("cancelled_at_rest"),
        held=Move("cancelled_held"), running=Move("cancel_wished"), verifying=Move("cancel_noted"),
    ),
    e.RetryRequested: _row(
        Ignore("it has not ended; retry is for runs that have"), R,
        succeeded=Move("retried"), failed=Move("retried"), cancelled=Move("retried"), held=Move("retried_held"),
    ),
    e.ResumeRequested: _row(Ignore("it is not held"), R, held=Move("resumed")),
    e.PauseRequested: _row(Ignore("it does not run"), R, running=Move("paused"), held=Move("paused")),
    e.HoldRequested: _row(
        Ignore("it is at work or has ended"), R, pending=Move("held"), waiting=Move("held"), held=Move("held_on"),
    ),
    e.DeadlineReached: _row(
        Ignore("nothing of it runs or would start"), R, pending=Move("held_for_deadline"),
        waiting=Move("held_for_deadline"), running=Move("stopped_for_deadline"), held=Move("stopped_for_deadline"),
    ),
    e.CauseCured: _row(Ignore("it is not held"), R, held=Move("cured")),
    e.JudgementDue: _row(Ignore("it is not held"), R, held=Move("judged")),
    e.LimitsAmended: _row(Ignore("it does not run; limits hold from its next start"), R, running=Move("amended")),
    e.RowAmended: _row(Move("row_amended"), R),
    e.RunFaulted: _row(
        Move("faulted"), R, succeeded=Move("faulted_late"), failed=Move("faulted_late"), cancelled=Move("faulted_late"),
    ),
    e.RunFinished: _row(Move("discharged"), R),
    e.SlotQuarantined: _row(Move("discharged"), R),
    e.SetAsideDone: _row(Move("discharged"), R),
}  # fmt: skip
"""(event, run state) of everything that is said of a run."""

_known = Ignore("a later word was heard first")
_late = Ignore("late word of an attempt that has ended")

ATTEMPT_MOVES: Mapping[type, Mapping[R | A, Cell]] = {
    e.AttemptQueued: _row(_known, A, submitting=Move("queued"), lost=Move("queued"), ended=_late),
    e.AttemptStarting: _row(
        _known, A, submitting=Move("starting"), queued=Move("starting"), lost=Move("starting"), ended=_late,
    ),
    e.AttemptStarted: _row(
        Move("started"), A, running=Ignore("its start is known"), stopping=Move("started_stopping"), ended=_late,
    ),
    e.AttemptNeverBegan: _row(
        Move("never_began"), A, running=Ignore("it had begun: its record decides"),
        stopping=Move("never_began_stopping"), lost=Move("never_began_stopping"), ended=_late,
    ),
    e.AttemptEnded: _row(Move("attempt_ended"), A, ended=Ignore("its end is known")),
    e.AttemptLost: _row(Move("lost"), A, lost=Ignore("it is lost already"), ended=_late),
    e.AttemptFound: _row(Ignore("it was not lost"), A, lost=Move("found"), ended=_late),
    e.LimitReached: _row(
        Ignore("nothing runs yet"), A, running=Move("limit_reached"), stopping=Ignore("it is being ended already"),
        lost=Ignore("unknown is not stalled; its shim keeps the bound"), ended=_late,
    ),
    e.BoundSet: _row(Move("discharged"), A),
    e.AttemptVerified: _row(None, A, ended=Move("verified")),
}  # fmt: skip
"""(event, state of the attempt it names). Words of attempts before the newest one are ignored unread."""

OLD_ATTEMPT = Ignore("late word of an old attempt")

DISCHARGES: Mapping[type, tuple[str, ...]] = {
    e.AttemptQueued: ("StartAttempt",),
    e.AttemptStarting: ("StartAttempt",),
    e.AttemptStarted: ("StartAttempt",),
    e.AttemptLost: ("StartAttempt",),
    e.AttemptFound: ("StartAttempt",),
    e.AttemptNeverBegan: ("StartAttempt",),
    e.AttemptEnded: ("StartAttempt", "StopAttempt", "SetBound"),
    e.BoundSet: ("SetBound",),
    e.AttemptVerified: ("VerifyAttempt",),
    e.RunFinished: ("FinishRun",),
    e.SetAsideDone: ("SetAside",),
    e.SlotQuarantined: ("QuarantineSlot",),
}
"""Which owed effects an event is the result of (of the attempt or epoch that it names)."""

IN_RUN: Mapping[R, frozenset[A]] = {
    R.PENDING: frozenset({A.ENDED}),
    R.RUNNING: frozenset(A) - {A.ENDED},
    R.VERIFYING: frozenset({A.ENDED}),
    R.WAITING: frozenset({A.ENDED}),
    R.HELD: frozenset(A),  # a fault of ours does not end what lives
    R.SUCCEEDED: frozenset({A.ENDED}),
    R.FAILED: frozenset({A.ENDED}),
    R.CANCELLED: frozenset({A.ENDED}),
}
"""Which states the newest attempt may have in each run state (a run without attempts may be in any but
running and verifying)."""
