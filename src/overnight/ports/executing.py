"""Where attempts run, and who names them."""

from collections.abc import Sequence
from typing import Protocol

from overnight.model.codec import Struct, field
from overnight.model.events import Event
from overnight.model.run import Attempt, Slot, StopCommand
from overnight.model.time import Moment


class Clock(Protocol):
    """Where moments come from."""

    def now(self) -> Moment: ...


class RunRef(Struct, frozen=True, order=True):
    """Names one run."""

    campaign: str
    run_id: str


class SlotRequest(Struct, frozen=True):
    """What an attempt needs. `gpus` below 1 shares one. `avoid`: names of suspect slots."""

    campaign: str
    gpus: float
    devices: tuple[tuple[str, str | None], ...] = ()  # (CUDA_VISIBLE_DEVICES entry, uuid)
    avoid: tuple[str, ...] = ()


class Placement(Struct, frozen=True):
    """A slot that is now ours, and a TCP port that was free."""

    slot: Slot
    port: int | None = None


class Busy(Struct, frozen=True):
    """No slot now. `words` names the holder; `only_avoided`: just suspect slots were free."""

    words: str
    only_avoided: bool = False


class StartOrder(Struct, frozen=True):
    """Everything that an executor needs to begin an attempt. Paths are absolute."""

    ref: RunRef
    n: int
    attempt_id: str
    run_dir: str
    out_dir: str
    attempt_dir: str
    argv: tuple[str, ...]
    cwd: str
    env_set: dict[str, str]
    env_unset: tuple[str, ...]
    launch_env: str | None
    umask: int | None
    rlimits: dict[str, tuple[int, int]]
    slot: Slot
    bound_seconds: float | None
    grace: float
    run_json: bytes = b""
    env_default: dict[str, str] = field(default_factory=dict)  # set where nobody else has set them
    knobs: dict[str, object] = field(default_factory=dict)  # of the fake executor
    stop: StopCommand | None = None


class AttemptRef(Struct, frozen=True):
    """Names one attempt, where its files are and what is known of it."""

    ref: RunRef
    attempt: Attempt
    attempt_dir: str
    stop: StopCommand | None = None


class Condemned(Struct, frozen=True):
    """A slot that could not be proven free behind an attempt, and is quarantined a moment later."""

    ref: RunRef
    n: int
    slot: str
    why: str


class Executor(Protocol):
    """Where attempts run.

    Results come by `poll` as events: for every start that was asked for, in the end, exactly one of
    `AttemptNeverBegan`, `AttemptEnded` or (for ever) `AttemptLost`; until then any of the others, even twice.
    """

    name: str

    def acquire(self, request: SlotRequest) -> Placement | Busy:
        """Take a free slot. Never blocks."""

    def release(self, slot: Slot) -> None:
        """Give up a slot that was acquired here and not passed on by `start`."""

    def quarantine(self, slot: Slot, why: str) -> None:
        """Give the slot to nobody any more, until a person releases it: a fact of the host, for all roots and
        users. What runs on it goes on. Twice: the first reason stays. May block on the disk; raises OSError."""

    def freed(self) -> bool:
        """Whether a slot may have come free since the last call without an event that tells (a GPU has been found
        clean again). It is worth a try then."""

    def condemned(self) -> Sequence[Condemned]:
        """Slots that it is about to quarantine by itself, since the last call. Told before it is done: a supervisor
        that dies in between says it again, and nobody is left unaware."""

    def start(self, order: StartOrder) -> None:
        """Begin an attempt in its prepared, fresh directory."""

    def adopt(self, target: AttemptRef) -> None:
        """Find out what became of an attempt (recovery; or its directory exists already), and watch it."""

    def stop(self, target: AttemptRef, grace: float) -> None:
        """End the attempt's tree; its end arrives as an event."""

    def set_bound(self, target: AttemptRef, seconds: float | None, grace: float) -> None:
        """Replace the bound that the attempt's shim keeps."""

    def poll(self) -> Sequence[tuple[RunRef, Event]]:
        """What happened since the last call. Never blocks."""

    def fileno(self) -> int | None:
        """A descriptor that is readable when `poll` has something; None: use `due`."""

    def due(self) -> float | None:
        """When `poll` must be called at the latest (monotonic seconds); None: whenever `fileno` says."""

    def close(self) -> None:
        """Let go of everything; ends no attempt."""
