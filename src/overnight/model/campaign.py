"""A campaign as the supervisor keeps it: the policy in force and what its runs have taught."""

from overnight.model.codec import Struct, field
from overnight.model.policy import Policy
from overnight.model.states import CampaignState
from overnight.model.time import Moment


class Device(Struct, frozen=True):
    """A GPU of the launching shell. `entry` as in CUDA_VISIBLE_DEVICES; `uuid` None where nobody knows it."""

    entry: str
    uuid: str | None = None


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
    quickest: float | None = None  # seconds that its quickest succeeded run took, all attempts together
    deadline: Moment | None = None  # when the host is taken away; None: nobody says so
    cancelling: str = ""  # why nothing of it is to start any more; empty: it may
    ended: Moment | None = None
    words: str = ""

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
