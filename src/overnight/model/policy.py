"""Policy: how the runs of a campaign are run. Never part of a campaign's identity; kept in revisions.

All durations are seconds. `None` where a duration may be absent means the person wrote "none": unbounded.
"""

from typing import Literal

from overnight.model.codec import Struct, field

DAY = 86_400.0
AUTO: Literal["auto"] = "auto"


class Resources(Struct, frozen=True):
    """What one attempt gets. `gpus` below 1 shares a GPU; `slots` bounds attempts side by side."""

    gpus: float = 0
    slots: int | None = None  # None: as many as there are GPUs for; without GPUs 1


class Limits(Struct, frozen=True):
    """Bounds on a run. `AUTO` limits are computed by `core.limits`."""

    timeout: float | None = DAY
    attempt_timeout: float | None = DAY
    startup: float | None = 3600.0
    heartbeat: float | Literal["auto"] | None = AUTO
    progress: float | Literal["auto"] | None = AUTO
    grace: float = 30.0
    disk_free: int | None = 64 << 20  # bytes that a volume must have left, or a tenth of it, whichever is less
    log: int | None = None  # bytes of an attempt's output
    deadline: str | None = None  # as written: `08:00`, `8h` from launch, `none`; None: when the scheduler's job ends


class Progress(Struct, frozen=True):
    """How an advance is read from the output. `pattern`: a regular expression with a group named `step`."""

    pattern: str | None = None


class Checkpoint(Struct, frozen=True):
    """Where a run leaves its checkpoints and which arguments make it resume. Placeholders allowed."""

    path: str | None = None
    complete: str | None = None
    resume: tuple[str, ...] = ()


class Backoff(Struct, frozen=True):
    """Exponential: `first * factor ** k`, at most `max`, times a random factor in 1 ± jitter."""

    first: float = 30.0
    factor: float = 2.0
    max: float = 900.0
    jitter: float = 0.5


class RetryPolicy(Struct, frozen=True):
    """Budgets. `by_class` replaces a class's own number of retries; keys may hold wildcards (`nccl.*`)."""

    max_attempts: int = 4
    outage: float = 7200.0
    backoff: Backoff = field(default_factory=Backoff)
    by_class: dict[str, int] = field(default_factory=dict)


class OwnRules(Struct, frozen=True):
    """A person's file of rules, as it was when it was launched or amended: its text, not the file, is what counts."""

    file: str  # as the person would open it
    sha256: str  # of the text, in UTF-8
    text: str


class Failures(Struct, frozen=True):
    """How failures are classified. `logs`: globs of further logs, all below `{out_dir}` or `{run_dir}`."""

    rules: OwnRules | None = None
    logs: tuple[str, ...] = ()


class Artifacts(Struct, frozen=True):
    """`exclude`: patterns that a fetch leaves out unless asked. (`required` is in the manifest.)"""

    exclude: tuple[str, ...] = ()


class Results(Struct, frozen=True):
    """What `results` shows of a run beside the numbers of its output. `file`: relative to `{out_dir}`; a CSV file
    with one row of data, or a JSON object."""

    file: str | None = None


class Stop(Struct, frozen=True):
    """`command` ends work that lives elsewhere than in the attempt's processes: arguments, or a string for bash;
    empty: there is none. Placeholders allowed. Killed after `timeout` seconds."""

    command: tuple[str, ...] | str = ()
    timeout: float = 30.0


class Code(Struct, frozen=True):
    """What a change of the code means for runs that have not started: `run` with it, or `hold`."""

    on_change: Literal["run", "hold"] = "run"


class Policy(Struct, frozen=True):
    """Everything of a campaign file that is not the manifest."""

    resources: Resources = field(default_factory=Resources)
    limits: Limits = field(default_factory=Limits)
    progress: Progress = field(default_factory=Progress)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    failures: Failures = field(default_factory=Failures)
    artifacts: Artifacts = field(default_factory=Artifacts)
    results: Results = field(default_factory=Results)
    code: Code = field(default_factory=Code)
    stop: Stop = field(default_factory=Stop)
    fail_fast: bool = False
    executor: str = "local"
    fake: dict[str, object] = field(default_factory=dict)  # the `[fake]` table: knobs of the fake executor
    cwd: str = "."  # as written; made absolute against the campaign file's folder at launch


class RowPolicy(Struct, frozen=True, omit_defaults=True):
    """What the `@` columns of one row set. `None`: the campaign's."""

    gpus: float | None = None
    timeout: float | None = None
    unbounded: bool = False  # `@timeout` says "none"
    priority: int = 0  # larger first; equal: file order


class CodeIdentity(Struct, frozen=True):
    """What code ran: a digest over (path, content) of the files that count. `digest` is None when it could
    not be taken in time, and `problem` says why."""

    digest: str | None = None
    files: int = 0
    commit: str | None = None  # git's HEAD, for people
    problem: str | None = None
