"""A campaign as the supervisor keeps it: the policy in force and what its runs have taught."""

from overnight.model.codec import Struct, field
from overnight.model.policy import Policy
from overnight.model.states import CampaignState
from overnight.model.time import Moment


class Device(Struct, frozen=True):
    """A GPU of the launching shell. `entry` as in CUDA_VISIBLE_DEVICES; `uuid` None where nobody knows it."""

    entry: str
    uuid: str | None = None


class Cause(Struct, frozen=True):
    """A root that several runs may have in common: `core.causes`. Its key is in `Campaign.causes`."""

    name: str  # its class
    about: str  # the host, path, volume or module that it is about
    message: str
    since: Moment  # first shown
    runs: tuple[str, ...] = ()  # distinct runs that showed it: three prove it, no more are named
    size: int = 0  # runs that are held by it now
    held: Moment | None = None  # since when the cause itself is held; None: too few runs have shown it yet
    due: Moment | None = None  # the next probe; None: only a person, or what `core.causes` names, lets it go
    probes: int = 0  # that found it uncured
    found: str = ""  # what the last probe found
    freed: str = ""  # why its runs are being let go; empty: they are not
    freed_at: Moment | None = None  # when that began last: an attempt from before proves nothing any more
    relapses: int = 0  # times in a row that a probe let it go and it came again


class Root(Struct, frozen=True):
    """A root that will not pass by itself, shown before the campaign's first success: `core.scouts`."""

    name: str  # its class
    message: str
    runs: tuple[str, ...] = ()  # distinct runs that ended with it
    longest: float = 0.0  # seconds that their attempts ran at most
    furthest: float | None = None  # the last step that any of them reached


class Hold(Struct, frozen=True):
    """Nothing of the campaign starts but scouts."""

    root: str  # its key in `Campaign.roots`
    since: Moment
    due: Moment  # the next scout
    scouts: int = 0  # started so far


class Campaign(Struct, frozen=True):
    """The record of one campaign; runs are kept apart."""

    id: str
    name: str
    sha256: str
    created: Moment
    policy: Policy
    cwd: str
    umask: int = 0o022
    rlimits: dict[str, tuple[int, int]] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    command: tuple[str, ...] | str = ()
    env: dict[str, str] = field(default_factory=dict)  # `[env]` of the manifest, placeholders unexpanded
    revision: int = 1
    revision_digest: str | None = None
    code: str | None = None
    devices: tuple[Device, ...] = ()
    state: CampaignState = CampaignState.ACTIVE
    paused: bool = False
    paused_why: str = ""
    runs_total: int = 0
    counts: dict[str, int] = field(default_factory=dict)  # by run state; zero counts left out
    longest_quiet: float = 0.0  # of succeeded runs, seconds: DESIGN's `auto` limits
    longest_gap: float = 0.0
    quiet_factor: float = 1.0  # 4 once two attempts of a run stalled at the same place
    classes: dict[str, int] = field(default_factory=dict)  # failed runs by class
    gpu_useful: float = 0.0  # GPU-seconds of what has ended: model.gpu_time
    gpu_lost: float = 0.0
    no_room: str = ""  # why nothing new starts on its volumes
    quickest: float | None = None  # seconds until its quickest succeeded run had something to keep: core.deadline
    deadline: Moment | None = None  # when the host is taken away; None: nobody says so
    cancelling: str = ""  # why nothing of it is to start any more; empty: it may
    ended: Moment | None = None
    words: str = ""
    causes: dict[str, Cause] = field(default_factory=dict)
    roots: dict[str, Root] = field(default_factory=dict)
    hold: Hold | None = None
    hardware: dict[str, tuple[str, ...]] = field(default_factory=dict)  # GPU (lock key): attempts that broke on it
    recovered: int = 0  # times a supervisor that nobody had asked to go came up again and took it over
    proven: bool = False  # a run succeeded, or got well past where others failed: no scouts any more

    @property
    def slots(self) -> int:
        """Attempts side by side at most, by policy and devices."""
        resources = self.policy.resources
        if resources.gpus <= 0:
            return resources.slots or 1
        if resources.gpus < 1:
            room = len(self.devices) * int(1 / resources.gpus + 1e-9)
        else:
            room = len(self.devices) // int(resources.gpus)
        return min(room, resources.slots) if resources.slots is not None else room


class StoryEntry(Struct, frozen=True):
    """One line of a run's story. `event` is the event's type name."""

    campaign: str
    run_id: str
    at: Moment
    event: str
    before: str
    state: str
    words: str
    attempt: int | None = None
    data: dict[str, object] = field(default_factory=dict)
