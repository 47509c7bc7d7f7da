"""What is seen of an attempt: looks while it lives, the examination of what it left."""

from collections.abc import Sequence
from typing import Protocol

from overnight.model.classes import Classification
from overnight.model.codec import Struct, field
from overnight.model.cures import Cured, CureOrder
from overnight.model.policy import OwnRules
from overnight.model.run import Attempt, Vitals
from overnight.ports.executing import AttemptRef, RunRef


class Cursor(Struct, frozen=True):
    """How far a log has been read, and what was last seen of the rest."""

    size: int = 0
    inode: int = 0
    offset: int = 0
    tail: bytes = b""  # an unfinished line
    lines: int = 0
    out_signature: int = 0  # changes when a file under out_dir grows
    checkpoints: int = 0  # changes when a checkpoint comes or changes; 0: not looked yet
    progress: int = 0  # changes when the progress file does; 0: there is none
    replaced: bool = False  # another log stands there than the one that the command was given


class LookOrder(Struct, frozen=True):
    """Look at a live attempt."""

    ref: RunRef
    n: int
    attempt_dir: str
    out_dir: str
    pattern: str | None
    cursor: Cursor
    checkpoint: str | None = None  # expanded path or glob
    gpus: tuple[str, ...] = ()  # UUIDs, where it is to be said how many of them are in use


class Mark(Struct, frozen=True):
    """A marker's newest value."""

    step: float
    total: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


class Said(Struct, frozen=True):
    """What a run says of itself in its progress file. `quiet`: seconds of silence that `phase` may take."""

    mark: Mark | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    phase: str | None = None
    quiet: float | None = None


class Look(Struct, frozen=True):
    """What a look saw. `life`: output or a growing file since the cursor; `grown`: the latter. `mark`: the newest
    marker in the new output, `first` the first one there; `anew`: of another count than the marks before. `saved`: a
    checkpoint has changed since the cursor. `worked`: a counter beside the marker has moved on (a bar of an
    evaluation). `said`: the progress file, where it has changed. `gpus_used`: how many of the order's GPUs are in use,
    if that was asked and is known."""

    ref: RunRef
    n: int
    cursor: Cursor
    life: bool
    grown: bool = False
    lines: int = 0
    first: Mark | None = None
    mark: Mark | None = None
    anew: bool = False
    saved: bool = False
    worked: bool = False
    said: Said | None = None
    gpus_used: int | None = None
    problem: str | None = None  # could not look: the run is unknown, not silent


class Probe(Protocol):
    """Looks at live attempts; may block, so it is called off the loop."""

    def look(self, order: LookOrder) -> Look: ...

    def save_evidence(self, target: AttemptRef) -> Sequence[str]:
        """Save stacks and process state into the attempt's evidence/, within 10 s. Returns file names."""


class CureProbe(Protocol):
    """Looks whether causes are cured; may block (bounded), called off the loop. Changes nothing."""

    def cured(self, order: CureOrder) -> Cured: ...


class ExamineOrder(Struct, frozen=True):
    """Look at everything an attempt left."""

    ref: RunRef
    attempt: Attempt
    run_dir: str
    out_dir: str
    attempt_dir: str
    pattern: str | None
    required: tuple[str, ...]
    checkpoint: str | None = None
    complete: str | None = None
    excluded: tuple[str, ...] = ()
    rules: OwnRules | None = None  # a person's, tried before ours
    logs: tuple[str, ...] = ()  # absolute globs of further logs
    elastic_error_file: str | None = None  # a person's own TORCHELASTIC_ERROR_FILE


class Examined(Struct, frozen=True):
    """The findings. `vitals` are the attempt's, after the last lines."""

    classification: Classification
    vitals: Vitals
    checkpoints: tuple[str, ...] = ()


class Examiner(Protocol):
    """Says why an attempt ended as it did; may block (bounded), called off the loop."""

    def examine(self, order: ExamineOrder) -> Examined: ...
