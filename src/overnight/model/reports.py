"""Reports: what readers get, computed from the store alone. Field names are the JSON contract."""

from overnight.model.codec import Struct, field


class NoSuchThing(Exception):
    """What was asked about is not there. Exit code 3."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SupervisorReport(Struct, frozen=True):
    """Whether somebody is watching. `words` says what cannot be seen from here, else it is empty."""

    alive: bool
    pid: int | None = None
    watch_only: bool = False
    words: str = ""
    problem: str = ""  # why it can commit nothing: what lives is watched, nothing new starts


class ProgressReport(Struct, frozen=True):
    """How far a run has come, in the program's own unit. `rate`: steps a second."""

    step: float
    total: float | None = None
    rate: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


class RunReport(Struct, frozen=True):
    """One run in a status document. `class` is null unless the run failed."""

    run_id: str
    state: str
    attempts: int
    failure_class: str | None = field(default=None, name="class")
    progress: ProgressReport | None = None
    phase: str | None = None  # what the program says it is about
    attempt_state: str | None = None
    slot: str | None = None
    seconds: float = 0.0  # running time of all attempts of this epoch
    quiet_seconds: float | None = None  # since the last sign of life, as the supervisor last wrote it
    cause: str = ""
    words: str = ""
    flags: tuple[str, ...] = ()
    revision: int | None = None
    changed_at: str | None = None


class Need(Struct, frozen=True):
    """Something that needs a person: what, why, and the command to type."""

    what: str
    why: str
    command: str
    runs: tuple[str, ...] = ()


class CauseReport(Struct, frozen=True):
    """What several runs have in common, or may have: `proven` once three have shown it."""

    failure_class: str = field(name="class")
    about: str
    message: str
    runs: tuple[str, ...]  # that showed it; three prove it, no more are named
    held: int  # runs that it holds
    proven: bool
    since: str | None
    probe_at: str | None = None  # the next look whether it is cured; null: only a person lets it go
    found: str = ""  # what the last look found


class ScoutsReport(Struct, frozen=True):
    """Nothing but scouts starts, since these runs failed alike before anything succeeded."""

    failure_class: str = field(name="class")
    message: str
    runs: tuple[str, ...]
    started: int
    next_at: str
    since: str


class StatusReport(Struct, frozen=True):
    """One campaign."""

    campaign: str
    state: str
    counts: dict[str, int]
    failures: dict[str, int]
    supervisor: SupervisorReport
    runs_total: int
    runs: tuple[RunReport, ...]
    root: str = ""
    path: str = ""
    manifest_sha256: str = ""
    revision: int = 1
    words: str = ""
    needs: tuple[Need, ...] = ()
    did: tuple[str, ...] = ()  # what it did by itself, one sentence each
    warnings: tuple[str, ...] = ()
    gpu_hours: dict[str, float] = field(default_factory=dict)  # useful, lost: model.gpu_time
    gpu_hours_lost: dict[str, float] = field(default_factory=dict)  # by class
    slots: int = 0
    created_at: str = ""
    ended_at: str | None = None
    deadline_at: str | None = None  # when the host is taken away
    next_after: str | None = None  # pass to --after for the next page
    settled: bool = False  # nothing can move without a person
    causes: tuple[CauseReport, ...] = ()
    scouts: ScoutsReport | None = None


class CampaignLine(Struct, frozen=True):
    """One campaign in a list."""

    campaign: str
    state: str
    counts: dict[str, int]
    runs_total: int
    created_at: str
    root: str


class StoryLine(Struct, frozen=True):
    """One step of a run's story; without `run_id` it concerns the campaign as a whole."""

    at: str
    event: str
    before: str
    state: str
    words: str
    attempt: int | None = None
    run_id: str = ""


class AttemptReport(Struct, frozen=True):
    """One attempt, for `why`."""

    n: int
    state: str
    revision: int
    slot: str
    seconds: float
    failure_class: str | None = field(default=None, name="class")
    rule: str | None = None
    message: str = ""
    evidence: str | None = None  # file:line: text
    saved: tuple[str, ...] = ()  # files in its evidence/
    ended_by: str | None = None
    exit_code: int | None = None
    signal: str | None = None
    resumed_from: str | None = None
    flags: tuple[str, ...] = ()


class WhyReport(Struct, frozen=True):
    """Why a run is as it is."""

    campaign: str
    run_id: str
    state: str
    words: str
    rule: str | None
    attempts: tuple[AttemptReport, ...]
    story: tuple[StoryLine, ...]
    remedy: str = ""  # what a person can do about its failure
    next: str | None = None  # the command to type, if anything is to be done


class RunResult(Struct, frozen=True):
    """What one run came to. `metrics`: the last named numbers of its output, and what the results file holds."""

    campaign: str
    run_id: str
    state: str
    failure_class: str | None = field(default=None, name="class")  # null unless the run failed
    code: str | None = None  # digest of the code that the newest attempt ran
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float | str] = field(default_factory=dict)
    seconds: float = 0.0  # running time since a person's last retry, as in summary.json
    gpu_hours: float = 0.0  # that all attempts held, useful or lost
    ended_at: str | None = None
    path: str = ""
    problem: str | None = None  # why the results file could not be read


class ResultsReport(Struct, frozen=True):
    """The runs of some campaigns. `params`, `metrics`: all names, in the order they were met."""

    campaigns: tuple[str, ...]
    counts: dict[str, int]  # runs of all these campaigns by state, shown or not
    params: tuple[str, ...]
    metrics: tuple[str, ...]
    results: tuple[RunResult, ...]
    metric: str | None = None  # by which they are sorted


class Example(Struct, frozen=True):
    """The attempt of a group that cost most, and what to type about it."""

    campaign: str
    run_id: str
    attempt: int
    command: str


class LossLine(Struct, frozen=True):
    """Attempts that ended badly and have something in common."""

    name: str
    attempts: int
    runs: int
    gpu_hours_lost: float
    example: Example
    host: str | None = None  # of a slot
    last_at: str | None = None


class UnreadRoot(Struct, frozen=True):
    """A root whose database did not answer, so that a report leaves it out."""

    root: str
    why: str


class LossReport(Struct, frozen=True):
    """What ended badly in all campaigns under some roots, and what it cost."""

    by: str
    since: str | None
    roots: tuple[str, ...]
    campaigns: int
    attempts: int
    runs: int
    gpu_hours_lost: float
    lines: tuple[LossLine, ...]
    unread: tuple[UnreadRoot, ...] = ()


class SlotLine(Struct, frozen=True):
    """One slot of this host. `state`: free, busy, checking (its last attempt is gone, its memory not yet proven back),
    drained or quarantined. `run_id` and `attempt` are of who holds it, or held it last while it is checked."""

    slot: str  # `gpu:0`, `gpu:0#1` (a share of it), `cpu:3`
    key: str  # the name of its lock file
    state: str
    uuid: str | None = None
    campaign: str | None = None
    run_id: str | None = None
    attempt: int | None = None
    user: str | None = None  # who holds it, or set it aside
    since: str | None = None
    until: str | None = None  # a drain ends by itself then
    memory_used: int | None = None  # bytes
    memory_total: int | None = None
    reason: str = ""
    command: str | None = None  # what a person can type about it


class SlotsReport(Struct, frozen=True):
    """All GPUs of this host, and its CPU slots that are in use."""

    host: str
    directory: str
    slots: tuple[SlotLine, ...]
