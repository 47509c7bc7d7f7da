"""What is known of a run and its attempts: the state that `core.step` turns into the next one."""

from overnight.model.classes import Classification
from overnight.model.codec import Struct, field
from overnight.model.effects import Effect
from overnight.model.policy import RowPolicy
from overnight.model.slot import Slot as Slot
from overnight.model.states import ENDED, LIVE, AttemptState, EndedBy, RunState
from overnight.model.time import Moment


class StopCommand(Struct, frozen=True):
    """What ends an attempt's work that lives elsewhere: arguments, killed after `timeout` seconds."""

    argv: tuple[str, ...]
    timeout: float


class Process(Struct, frozen=True):
    """Who a process is, beyond its number: host boot, PID namespace, start time of PID 1, own start time."""

    host: str
    boot: str
    pidns: str
    init_start: int
    pid: int
    start_ticks: int


LOST_SECONDS = 30 * 60.0  # an attempt lost for longer needs a person


class ExitRecord(Struct, frozen=True, omit_defaults=True):
    """How a command ended, as the shim wrote it. `raw` is the wait status, so exit 137 and SIGKILL differ. `seconds` of
    running, without those in which the shim could not run; `ended_mono` by the monotonic clock of its boot."""

    code: int | None = None
    signal: str | None = None
    raw: int | None = None
    seconds: float = 0.0
    stopped: str | None = None  # `request`, `bound`, or None: it ended by itself
    error: str | None = None  # the command could not be started: why
    error_kind: str | None = None  # `exec`, `cwd`, `log`, `env`
    errno: int | None = None
    cpu_seconds: float = 0.0
    max_rss_kib: int = 0
    swept: int = 0  # processes killed after the command had ended
    ended_mono: float | None = None
    recorded: bool = True  # False: nobody wrote a record (the shim died)


class Vitals(Struct, frozen=True, omit_defaults=True):
    """What looks at a live attempt have shown. Times are seconds of running since the attempt started, with
    suspensions taken out; `step` and `total` in the program's own unit."""

    lines: int = 0
    size: int = 0
    first_step: float | None = None
    step: float | None = None
    best: float | None = None  # the highest step: only one beyond it is an advance
    total: float | None = None
    declared: bool = False  # its progress file names the steps, whatever the log counts
    metrics: dict[str, float] = field(default_factory=dict)
    phase: str | None = None  # what the program says it is about
    quiet: float | None = None  # seconds of silence that it says this phase may take
    excused: dict[str, float] = field(default_factory=dict)  # such seconds by phase, since the last advance
    moved_at: float | None = None  # when the first advance was seen
    gpus_used: int | None = None  # of its slot's, at most at once, from five minutes after that; None: not known
    leaving: bool = False  # silent, and its stacks show only who leaves: it is done
    started_moving: bool = False  # the first advance (no marker known: the tenth line) has been seen
    marked: bool = False  # a marker was seen
    last_life: float = 0.0
    last_advance: float = 0.0
    last_grown: float = 0.0  # a file under {out_dir} grew while the log was silent
    longest_quiet: float = 0.0  # longest gap between signs of life after the first advance
    longest_gap: float = 0.0  # longest gap between advances
    rate: float | None = None  # steps a second, smoothed
    seconds: float = 0.0  # of running, at the last look
    first_saved: float | None = None  # when its first checkpoint was seen to be written


class Attempt(Struct, frozen=True, omit_defaults=True):
    """One execution of a run, numbered from 1, never reused."""

    n: int
    epoch: int
    state: AttemptState
    revision: int
    slot: Slot
    planned: Moment
    code: str | None = None
    resume_from: str | None = None
    offline: bool = False  # the tracker is told to stay offline
    port: int | None = None
    process: Process | None = None
    job: str | None = None  # the batch system's object
    started: Moment | None = None
    ended: Moment | None = None
    lost_since: Moment | None = None
    never_began: bool = False
    stop: EndedBy | None = None  # whom we are ending it for
    stop_class: str | None = None  # the class that goes with it: `stall.output`, `timeout.wall`, …
    stop_words: str = ""
    exit: ExitRecord | None = None
    cause: str | None = None  # an end that the executor knows: `node.lost`, `preempted`, …
    cause_words: str = ""
    scheduler: str | None = None  # the batch system's own word for its end: `OUT_OF_MEMORY`, `PREEMPTED`, …
    vitals: Vitals = field(default_factory=Vitals)
    classification: Classification | None = None
    flags: tuple[str, ...] = ()
    counted: bool = True

    @property
    def live(self) -> bool:
        """Not known to have ended."""
        return self.state in LIVE

    @property
    def seconds(self) -> float:
        """Running time: the record's if there is one, else what the looks last saw."""
        if self.exit is not None and self.exit.recorded:
            return self.exit.seconds
        return self.vitals.seconds

    @property
    def underused(self) -> bool:
        """It uses fewer GPUs than it was given, by several looks after its first advance."""
        used = self.vitals.gpus_used
        return used is not None and used < len(self.slot.gpu_ids)


class Budget(Struct, frozen=True, omit_defaults=True):
    """What an epoch has used up. Reset by a person's retry."""

    counted: int = 0  # counted attempts since the last refill
    free: int = 0
    failures: int = 0  # in a row without an advance: the exponent of the backoff
    by_class: dict[str, int] = field(default_factory=dict)  # retries already given to each class
    outage_since: Moment | None = None
    best: float | None = None  # best mark of all attempts that ended


class Wish(Struct, frozen=True):
    """A person's standing wish to cancel this run."""

    by: str
    why: str


class Run(Struct, frozen=True, omit_defaults=True):
    """One row of the manifest and all that happened to it."""

    campaign: str
    run_id: str
    position: int
    state: RunState = RunState.PENDING
    policy: RowPolicy = field(default_factory=RowPolicy)
    epoch: int = 1
    attempts: tuple[Attempt, ...] = ()
    owed: tuple[Effect, ...] = ()
    budget: Budget = field(default_factory=Budget)
    due: Moment | None = None  # of a waiting run
    wish: Wish | None = None
    cause: str = ""  # why it is in this state: one word or class
    words: str = ""  # the same as a sentence
    avoid: tuple[str, ...] = ()  # names of suspect slots
    checkpoints: tuple[str, ...] = ()  # whole ones, newest first, as last seen
    excluded: tuple[str, ...] = ()  # checkpoints that would not load
    scratch: bool = False  # the next attempt starts from nothing
    held_by: str = ""  # key of the shared cause that holds it, in `Campaign.causes`
    failure: Classification | None = None
    flags: tuple[str, ...] = ()
    changed: Moment | None = None  # when it came into this state

    @property
    def ended(self) -> bool:
        """Final, unless a person says retry."""
        return self.state in ENDED

    @property
    def attempt(self) -> Attempt | None:
        """The newest attempt."""
        return self.attempts[-1] if self.attempts else None

    @property
    def live_attempt(self) -> Attempt | None:
        """The attempt that may still have processes; at most one."""
        last = self.attempt
        return last if last is not None and last.live else None

    @property
    def ran_seconds(self) -> float:
        """Running time of all ended attempts of this epoch together."""
        return sum(a.seconds for a in self.attempts if a.epoch == self.epoch and not a.live)
