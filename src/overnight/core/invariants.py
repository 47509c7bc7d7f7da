"""What must hold of every run after every step. Checked after each one in tests and in the simulator."""

from overnight.core.tables import IN_RUN
from overnight.model.classes import ATTEMPT_CEILING
from overnight.model.effects import FinishRun, SetAside, StartAttempt, VerifyAttempt
from overnight.model.run import Run
from overnight.model.states import RunState


def broken(run: Run) -> list[str]:
    """The invariants that do not hold, as sentences; empty when all do."""
    faults: list[str] = []
    live = [a.n for a in run.attempts if a.live]
    if len(live) > 1:
        faults.append(f"attempts {live} are live at once")
    if live and live[0] != run.attempts[-1].n:
        faults.append(f"attempt {live[0]} is live but not the newest")
    numbers = [a.n for a in run.attempts]
    if numbers != sorted(set(numbers)):
        faults.append(f"attempt numbers {numbers} are not increasing")
    newest = run.attempt
    if newest is None:
        if run.state in (RunState.RUNNING, RunState.VERIFYING):
            faults.append(f"{run.state.value} without an attempt")
    elif newest.state not in IN_RUN[run.state]:
        faults.append(f"run {run.state.value} with attempt {newest.state.value}")
    if run.state == RunState.WAITING and run.due is None:
        faults.append("waiting without a time")
    if run.state != RunState.WAITING and run.due is not None:
        faults.append(f"{run.state.value} with a time to wait for")
    if run.state == RunState.FAILED and run.failure is None:
        faults.append("failed without a class")
    if run.state == RunState.SUCCEEDED and run.failure is not None:
        faults.append("succeeded with a failure")
    counted = sum(1 for a in run.attempts if a.epoch == run.epoch and not a.never_began)
    if counted > ATTEMPT_CEILING:
        faults.append(f"{counted} attempts")
    return faults + _owed(run)


def _owed(run: Run) -> list[str]:
    faults: list[str] = []
    if len(set(run.owed)) != len(run.owed):
        faults.append("an effect is owed twice")
    newest = run.attempt
    for effect in run.owed:
        if isinstance(effect, StartAttempt) and (newest is None or not newest.live or effect.n != newest.n):
            faults.append(f"{effect} is owed but that attempt does not live")
        elif (isinstance(effect, VerifyAttempt) and run.state != RunState.VERIFYING) or (
            isinstance(effect, FinishRun) and not run.ended
        ):
            faults.append(f"{effect} is owed by a run that is {run.state.value}")
        elif isinstance(effect, SetAside) and run.epoch <= effect.epoch:
            faults.append(f"{effect} is owed before its epoch is over")
    if run.state == RunState.VERIFYING and not any(isinstance(effect, VerifyAttempt) for effect in run.owed):
        faults.append("verifying, but nobody was asked to verify")
    return faults
