"""Ports: what the supervisor needs from the world, as protocols. Adapters are thread-safe unless said."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from overnight.model.campaign import Campaign, StoryEntry
from overnight.model.classes import Classification
from overnight.model.codec import Struct, field
from overnight.model.cures import Cured, CureOrder
from overnight.model.events import Event
from overnight.model.manifest import RunSpec
from overnight.model.notices import Delivery, Notice, NoticeText
from overnight.model.policy import CodeIdentity, OwnRules
from overnight.model.requests import Answer, Request
from overnight.model.run import Attempt, Run, Slot, Vitals
from overnight.model.settings import Settings
from overnight.model.time import Moment


class Clock(Protocol):
    """Where moments come from."""

    def now(self) -> Moment: ...


class RunRef(Struct, frozen=True, order=True):
    """Names one run."""

    campaign: str
    run_id: str


# --- executors ---------------------------------------------------------------------------------------------


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


class AttemptRef(Struct, frozen=True):
    """Names one attempt, where its files are and what is known of it."""

    ref: RunRef
    attempt: Attempt
    attempt_dir: str


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


# --- looks -------------------------------------------------------------------------------------------------


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


class LookOrder(Struct, frozen=True):
    """Look at a live attempt."""

    ref: RunRef
    n: int
    attempt_dir: str
    out_dir: str
    pattern: str | None
    cursor: Cursor
    checkpoint: str | None = None  # expanded path or glob


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
    evaluation). `said`: the progress file, where it has changed. `begun`: the claim file exists."""

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
    begun: bool = True
    problem: str | None = None  # could not look: the run is unknown, not silent


class Probe(Protocol):
    """Looks at live attempts; may block, so it is called off the loop."""

    def look(self, order: LookOrder) -> Look: ...

    def save_evidence(self, target: AttemptRef) -> Sequence[str]:
        """Save stacks and process state into the attempt's evidence/, within 10 s. Returns file names."""


class CureProbe(Protocol):
    """Looks whether causes are cured; may block (bounded), called off the loop. Changes nothing."""

    def cured(self, order: CureOrder) -> Cured: ...


# --- verification and files --------------------------------------------------------------------------------


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
    cursor: Cursor = field(default_factory=Cursor)
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


class FinishOrder(Struct, frozen=True):
    """Write what remains of a run that has ended."""

    run: Run
    spec: RunSpec
    campaign: Campaign
    run_dir: str
    devices: int = 0


class Files(Protocol):
    """The files of a campaign that people and tools read. Called off the loop; every call may come twice."""

    def prepare(self, order: StartOrder) -> bool:
        """Make the attempt's directory and what its shim reads. False: the directory exists already."""

    def publish(self, target: AttemptRef) -> None:
        """Copy an attempt that has ended to the root, if it lived elsewhere."""

    def finish(self, order: FinishOrder) -> None:
        """Write inventory.jsonl and summary.json."""

    def set_aside(self, run_dir: str, epoch: int, scratch: bool) -> None:
        """Move an earlier epoch's summary (and, for scratch, its out/) out of the way."""

    def write_campaign(self, campaign: Campaign) -> None:
        """Replace campaign.json."""


class CodeWatch(Protocol):
    """Tells which code a campaign would run now; may block (bounded), called off the loop."""

    def identity(self, cwd: str) -> CodeIdentity: ...

    def patch(self, cwd: str) -> str | None: ...


class Notifier(Protocol):
    """Tells a person. May block (bounded), called off the loop."""

    def settings(self) -> Settings:
        """What the person wants now. Raises `Refusal` where it cannot be read."""

    def deliver(self, text: NoticeText, told: tuple[str, ...]) -> tuple[Delivery, ...]:
        """Try every channel that has not taken it. Nothing: nobody wants it. Raises `Refusal` as `settings`."""

    def ping(self, url: str) -> str:
        """Call an address; the words of what went wrong, empty if nothing did."""


class Tenure(Protocol):
    """Our term as the leader of a root that other hosts may mount, too."""

    def renew(self, live: int) -> str:
        """Say that we still lead, with so many live attempts; words if somebody else does by now. May block; raises
        OSError, and then nothing is known."""


# --- store and inbox ---------------------------------------------------------------------------------------


class PendingRun(Struct, frozen=True):
    """A queue entry."""

    position: int
    priority: int


class VitalsRow(Struct, frozen=True):
    """Progress of a live attempt, for readers."""

    ref: RunRef
    vitals: Vitals


class Batch(Struct):
    """All that one turn changes; committed whole or not at all."""

    campaigns: dict[str, Campaign] = field(default_factory=dict)
    added: dict[str, list[tuple[int, RunSpec]]] = field(default_factory=dict)  # campaign: (position, row)
    revisions: list[tuple[str, int, bytes]] = field(default_factory=list)  # campaign, n, document
    manifests: dict[str, bytes] = field(default_factory=dict)
    runs: dict[RunRef, Run] = field(default_factory=dict)
    story: list[StoryEntry] = field(default_factory=list)
    vitals: dict[RunRef, Vitals] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)  # by request id
    meta: dict[str, str] = field(default_factory=dict)
    notices: dict[str, Notice] = field(default_factory=dict)  # by key
    durable: bool = False  # an attempt starts or a run ends in it: on the platter before anything is done

    def __bool__(self) -> bool:
        return bool(
            self.campaigns or self.added or self.revisions or self.runs or self.story or self.vitals
            or self.answers or self.meta or self.notices
        )  # fmt: skip


class Store(Protocol):
    """The database, as its one writer sees it. Called from the loop's thread alone."""

    def commit(self, batch: Batch) -> None:
        """Apply the batch in one transaction; raises `StoreError` and changes nothing if it cannot."""

    def campaigns(self) -> list[Campaign]: ...

    def unfinished_runs(self) -> Iterable[Run]:
        """Runs that are neither pending nor ended, and those that owe effects: all that recovery needs."""

    def pending(self, campaign: str) -> list[PendingRun]:
        """The queue, in planner's order: priority, then position."""

    def run_at(self, campaign: str, position: int) -> Run | None: ...

    def run(self, ref: RunRef) -> Run | None: ...

    def spec(self, ref: RunRef) -> RunSpec | None: ...

    def positions(
        self,
        campaign: str,
        *,
        states: Sequence[str] = (),
        failure_class: str | None = None,
        run_ids: Sequence[str] = (),
    ) -> list[int]:
        """Positions of the runs that match all that is given, in file order."""  # fmt: skip

    def manifest(self, campaign: str) -> bytes | None: ...

    def revisions(self, campaign: str) -> list[bytes]: ...

    def answer(self, request_id: str) -> Answer | None: ...

    def meta(self, key: str) -> str | None: ...

    def owed_notices(self) -> list[Notice]:
        """Notices that are not settled, oldest first."""

    def newest_notice(self, campaign: str, cause: str) -> Notice | None:
        """The last one of that cause, settled or not."""

    def close(self) -> None: ...


class StoreError(Exception):
    """The database could not be read or written; the message says why."""


class Inbox(Protocol):
    """Requests of clients."""

    def read(self) -> Sequence[Request]:
        """Whole requests, oldest first. Files that cannot be read are moved aside and named in the log."""

    def delete(self, request_ids: Sequence[str]) -> None: ...
