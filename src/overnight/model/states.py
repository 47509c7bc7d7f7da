"""The states of runs, attempts and campaigns. Adjectives and participles; nothing else is a state."""

from enum import StrEnum


class RunState(StrEnum):
    """A row of the manifest on its way to an honest end."""

    PENDING = "pending"
    RUNNING = "running"
    VERIFYING = "verifying"
    WAITING = "waiting"  # until a known time
    HELD = "held"  # until a person, or a cured cause
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})
MOVING = frozenset(RunState) - ENDED - {RunState.HELD}  # they go on without a person


class AttemptState(StrEnum):
    """One execution of a run."""

    SUBMITTING = "submitting"  # asked for; nothing known yet
    QUEUED = "queued"  # a batch system has it
    STARTING = "starting"  # a shim exists; it has not claimed yet
    RUNNING = "running"
    STOPPING = "stopping"  # we asked it to end
    LOST = "lost"  # no word, fate unknown; nothing replaces it
    ENDED = "ended"


LIVE = frozenset(AttemptState) - {AttemptState.ENDED}


class CampaignState(StrEnum):
    """All runs of one manifest together."""

    ACTIVE = "active"
    PAUSED = "paused"
    HELD = "held"  # nothing runs or waits, and some run is held
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


OVER = frozenset({CampaignState.SUCCEEDED, CampaignState.FAILED, CampaignState.CANCELLED})
UNENDED = frozenset(CampaignState) - OVER


class EndedBy(StrEnum):
    """Who brought an attempt to its end."""

    ITSELF = "itself"
    STALL = "stall"
    TIMEOUT = "timeout"
    CANCEL = "cancel"
    PAUSE = "pause"
    DEADLINE = "deadline"
    LOST = "lost"
