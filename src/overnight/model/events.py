"""Events: what happened, in the past tense. Time and chance arrive in them; nothing else brings any."""

from typing import Literal

from overnight.model.classes import Classification
from overnight.model.codec import Struct, field
from overnight.model.policy import RowPolicy
from overnight.model.run import ExitRecord, Process, Slot, Vitals
from overnight.model.time import Moment


class _Event(Struct, frozen=True, tag=True):
    at: Moment


# --- of the run: people, planner, timers -------------------------------------------------------------------


class RunPlanned(_Event, frozen=True):
    """The planner gave the run a slot."""

    n: int
    slot: Slot
    revision: int
    code: str | None = None
    port: int | None = None


class RetryDue(_Event, frozen=True):
    """A waiting run's time has come."""


class CancelRequested(_Event, frozen=True):
    """A person (or fail_fast, or `amend --drop`) wants this run ended."""

    by: str
    why: str = "a person asked"


class RetryRequested(_Event, frozen=True):
    """A person wants an ended run tried again: a new epoch, with whole budgets."""

    by: str
    scratch: bool = False


class ResumeRequested(_Event, frozen=True):
    """A person lets a held run go on."""

    by: str


class PauseRequested(_Event, frozen=True):
    """`pause --now`: live attempts end uncounted."""

    by: str


class HoldRequested(_Event, frozen=True):
    """The run is to wait for a person or a cure. `key`: of the shared cause, if it is one."""

    cause: str
    words: str
    key: str = ""


class CauseCured(_Event, frozen=True):
    """The shared cause that held the run is let go."""

    key: str
    words: str


class JudgementDue(_Event, frozen=True):
    """Nothing of the campaign can move any more: a run that waited for others to show its cause has failed."""

    key: str


class DeadlineReached(_Event, frozen=True):
    """The host's time is over, or too short for another start."""

    words: str


class LimitsAmended(_Event, frozen=True):
    """A revision changed policy: a live attempt's bound is set anew."""

    revision: int


class RowAmended(_Event, frozen=True):
    """A revision changed what the row says of its own policy."""

    policy: RowPolicy


class RunFaulted(_Event, frozen=True):
    """Our own fault with this run: an exception in a handler, a record that cannot be read."""

    problem: str


class RunFinished(_Event, frozen=True):
    """Inventory and summary of this epoch are on disk."""

    epoch: int


class SlotQuarantined(_Event, frozen=True):
    """The GPU is given to nobody any more."""

    slot: Slot


class SetAsideDone(_Event, frozen=True):
    """What an earlier epoch left has been moved out of the way."""

    epoch: int


# --- of an attempt: executors, looks, verification ---------------------------------------------------------


class OfAttempt(_Event, frozen=True):
    """An event that names attempt `n`."""

    n: int


class AttemptQueued(OfAttempt, frozen=True):
    """A batch system accepted it."""

    job: str


class AttemptStarting(OfAttempt, frozen=True):
    """A shim exists for it."""


class AttemptStarted(OfAttempt, frozen=True):
    """Its shim has claimed it; `started` is the shim's own moment."""

    process: Process | None
    started: Moment


class AttemptNeverBegan(OfAttempt, frozen=True):
    """We claimed its start ourselves, or nobody can have begun it: nothing ran, nothing will."""

    why: str


class AttemptEnded(OfAttempt, frozen=True):
    """Its tree is proven gone. `process` and `started` in case nobody saw it start. `cause` names an end that
    the executor knows (`node.lost`, `preempted`, …); `scheduler` is the batch system's own word for the end
    (`OUT_OF_MEMORY`), which is weighed against the log."""

    exit: ExitRecord
    process: Process | None = None
    started: Moment | None = None
    cause: str | None = None
    words: str = ""
    scheduler: str | None = None
    flags: tuple[str, ...] = ()


class AttemptLost(OfAttempt, frozen=True):
    """No word from it; its fate is unknown."""

    why: str


class AttemptFound(OfAttempt, frozen=True):
    """A lost attempt answers again."""


class LimitReached(OfAttempt, frozen=True):
    """A limit has passed, by two looks."""

    limit: Literal["timeout", "attempt_timeout", "startup", "heartbeat", "progress", "log"]
    seconds: float  # the limit; of `log`, bytes
    observed: float  # what was seen instead
    vitals: Vitals = field(default_factory=Vitals)


class BoundSet(OfAttempt, frozen=True):
    """The shim's bound file says what we want."""


class AttemptVerified(OfAttempt, frozen=True):
    """Everything that the attempt left has been looked at. `roll` in [0, 1) is the chance for the jitter."""

    classification: Classification
    vitals: Vitals
    checkpoints: tuple[str, ...] = ()  # whole ones, newest first, for the next attempt
    roll: float = 0.5


RunEvent = (
    RunPlanned
    | RetryDue
    | CancelRequested
    | RetryRequested
    | ResumeRequested
    | PauseRequested
    | HoldRequested
    | DeadlineReached
    | CauseCured
    | JudgementDue
    | LimitsAmended
    | RowAmended
    | RunFaulted
    | RunFinished
    | SetAsideDone
    | SlotQuarantined
)
AttemptEvent = (
    AttemptQueued
    | AttemptStarting
    | AttemptStarted
    | AttemptNeverBegan
    | AttemptEnded
    | AttemptLost
    | AttemptFound
    | LimitReached
    | BoundSet
    | AttemptVerified
)
Event = RunEvent | AttemptEvent
