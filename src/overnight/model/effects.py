"""Effects: what is to be done, in imperatives.

An effect is owed from the transaction that asks for it until the event that is its result; recovery performs
what is still owed. Each says how it survives being done twice.
"""

from overnight.model.codec import Struct
from overnight.model.slot import Slot


class _Effect(Struct, frozen=True, tag=True):
    pass


class StartAttempt(_Effect, frozen=True):
    """Begin attempt `n`. Twice: its directory and its claim file exist once."""

    n: int


class StopAttempt(_Effect, frozen=True):
    """End attempt `n`'s tree, evidence first. Twice: identity and pidfd are checked right before the signal,
    and the sequence that a shim has begun goes on."""

    n: int
    grace: float  # seconds from TERM to KILL
    evidence: bool = False  # save stacks first


class SetBound(_Effect, frozen=True):
    """Tell attempt `n`'s shim its bound. Twice: a file replaced by rename."""

    n: int
    seconds: float | None  # of running, from the attempt's start; None: unbounded
    grace: float


class VerifyAttempt(_Effect, frozen=True):
    """Look at what attempt `n` left: class, required artifacts, last marker. Twice: reads only."""

    n: int


class FinishRun(_Effect, frozen=True):
    """Write inventory and summary of a run that has ended. Twice: files replaced by rename."""

    epoch: int


class SetAside(_Effect, frozen=True):
    """Before a retry's first attempt: summary.json becomes summary.<epoch>.json; with `scratch` out/ becomes
    out.<epoch>/. Twice: a rename whose source is gone is done."""

    epoch: int
    scratch: bool


class QuarantineSlot(_Effect, frozen=True):
    """Give the GPU to nobody of this host any more. Twice: the first reason stays."""

    slot: Slot
    why: str


Effect = QuarantineSlot | StartAttempt | StopAttempt | SetBound | VerifyAttempt | FinishRun | SetAside
