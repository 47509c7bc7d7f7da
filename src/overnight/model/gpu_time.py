"""GPU time, useful and lost: the one rule behind `status`, `report` and summary.json.

Useful is what is in a result: the last attempt of a succeeded run, and each earlier one whose progress the next
attempt took over by resuming, up to that earlier one's last advance (what it hung afterwards is lost). An attempt
was taken over if the next one resumed (and was not seen to ignore its checkpoint) and began further than the
earlier one had; where steps are unknown, resuming is believed. The steps between the last checkpoint and the end
of an attempt that was taken over count as useful: nobody saw where exactly the checkpoint was written.

Lost is the rest of what has ended. Of a run that has not ended, attempts that a later one may still build on are
neither.
"""

from overnight.model.codec import Struct
from overnight.model.policy import Policy
from overnight.model.run import Attempt, Run
from overnight.model.states import RunState


class AttemptTime(Struct, frozen=True):
    """GPU-seconds of one attempt."""

    n: int
    useful: float
    lost: float


def gpus_of(run: Run, attempt: Attempt, policy: Policy) -> float:
    """How many GPUs the attempt held; a shared one counts as its share."""
    asked = run.policy.gpus if run.policy.gpus is not None else policy.resources.gpus
    share = asked if 0 < asked < 1 else 1.0
    return len(attempt.slot.gpu_ids) * share


def gpu_time(run: Run, policy: Policy) -> tuple[AttemptTime, ...]:
    """Useful and lost GPU-seconds of every attempt that has begun, oldest first."""
    began = [a for a in run.attempts if not a.never_began]
    if not began or not any(a.slot.gpu_ids for a in began):
        return ()
    taken = _taken_over(began)
    times: list[AttemptTime] = []
    for attempt in began:
        held = gpus_of(run, attempt, policy)
        seconds = 0.0 if attempt.live else attempt.seconds
        useful = 0.0
        if run.state == RunState.SUCCEEDED and attempt.n in taken:
            useful = seconds if attempt is began[-1] else _until_last_advance(attempt)
        undecided = not run.ended and attempt.n in taken
        lost = 0.0 if undecided else seconds - useful
        times.append(AttemptTime(attempt.n, useful * held, lost * held))
    return tuple(times)


def _until_last_advance(attempt: Attempt) -> float:
    vitals = attempt.vitals
    return min(attempt.seconds, vitals.last_advance) if vitals.marked else attempt.seconds


def _taken_over(began: list[Attempt]) -> set[int]:
    """Numbers of the newest attempt and of those whose work it stands on."""
    taken = {began[-1].n}
    for later, earlier in zip(reversed(began), reversed(began[:-1]), strict=False):
        if later.resume_from is None or "resume.ignored" in later.flags:
            break
        start, before = later.vitals.first_step, earlier.vitals.first_step
        if start is None or before is None or start > before:
            taken.add(earlier.n)
    return taken
