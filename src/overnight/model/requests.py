"""Requests: what clients ask of the supervisor, as files in its inbox."""

from overnight.model.campaign import Device
from overnight.model.codec import Struct, field
from overnight.model.manifest import Frozen, RunSpec
from overnight.model.policy import CodeIdentity, Policy


class Shell(Struct, frozen=True):
    """The shell that typed a request: what runs inherit."""

    env: dict[str, str]
    cwd: str
    umask: int
    rlimits: dict[str, tuple[int, int]] = field(default_factory=dict)


class _Request(Struct, frozen=True, tag=True):
    id: str  # unique; also the name of its file
    by: str  # user@host


class Launch(_Request, frozen=True):
    """A frozen campaign is to run."""

    frozen: Frozen
    shell: Shell
    devices: tuple[Device, ...]
    code: CodeIdentity
    fresh: bool = False
    patch: str | None = None  # of the code to its commit; in the others, where the code is not the campaign's any more


class Retry(_Request, frozen=True):
    """Ended runs are to be tried again. No `run_ids`: all failed and cancelled (or of `failure_class`)."""

    campaign: str
    shell: Shell
    code: CodeIdentity
    run_ids: tuple[str, ...] = ()
    failure_class: str | None = None
    scratch: bool = False
    patch: str | None = None


class Amend(_Request, frozen=True):
    """A new revision: policy, rows that are added, changed or dropped, environment."""

    campaign: str
    code: CodeIdentity
    policy: Policy | None = None
    added: tuple[RunSpec, ...] = ()
    changed: tuple[RunSpec, ...] = ()  # rows that are there, with another policy of their own
    dropped: tuple[str, ...] = ()
    shell: Shell | None = None
    why: str = ""
    words: str = ""  # what changes, for the campaign's story
    patch: str | None = None


class Pause(_Request, frozen=True):
    """Start nothing new; with `now`, end live attempts uncounted."""

    campaign: str
    now: bool = False


class Resume(_Request, frozen=True):
    """Let a paused campaign and its held runs go on. `devices`: of another host, which has taken the root over."""

    campaign: str
    shell: Shell
    code: CodeIdentity
    run_ids: tuple[str, ...] = ()
    devices: tuple[Device, ...] | None = None
    patch: str | None = None


class Cancel(_Request, frozen=True):
    """End runs. No `run_ids`: the whole campaign."""

    campaign: str
    run_ids: tuple[str, ...] = ()


class StopSupervisor(_Request, frozen=True):
    """The supervisor is to go; runs go on, bounded by their shims."""


Request = Launch | Retry | Amend | Pause | Resume | Cancel | StopSupervisor


def campaign_of(request: Request) -> str:
    """The campaign that it concerns; empty for the supervisor itself."""
    match request:
        case Launch():
            return request.frozen.campaign
        case StopSupervisor():
            return ""
        case _:
            return request.campaign


class Answer(Struct, frozen=True):
    """What became of a request. `ok` False: nothing was changed."""

    ok: bool
    message: str = ""
    hint: str | None = None
    campaign: str | None = None
    created: bool = False
    details: tuple[str, ...] = ()
