"""What the local executor keeps in mind of one attempt."""

from enum import StrEnum
from typing import Literal

from overnight.model.run import Process, Slot, StopCommand
from overnight.model.time import Moment
from overnight.ports import RunRef


class Phase(StrEnum):
    """How far we have seen it come."""

    ORDERED = "ordered"  # the keeper was told, or will be
    FORKED = "forked"  # its shim exists; it has not claimed yet
    RUNNING = "running"
    DYING = "dying"  # its shim died without a record; its tree is followed to its end
    UNKNOWN = "unknown"  # nobody here can tell
    CLEARING = "clearing"  # its tree is gone; its stop command runs once more
    DONE = "done"  # its one terminal event has been reported


class Watched:
    """A plain record; the executor's methods change it under the executor's lock."""

    __slots__ = (
        "asked_at", "asked_in", "attempt_id", "deadline", "died_at", "directory", "flags", "grace", "lost", "n", "note",
        "orphans", "overdue_since", "phase", "pid", "pidfd", "process", "ref", "slot", "started", "stop",
        "stop_command", "submitting", "tries", "word_of_keeper",
    )  # fmt: skip

    def __init__(self, ref: RunRef, n: int, directory: str, slot: Slot, attempt_id: str | None) -> None:
        self.ref = ref
        self.n = n
        self.directory = directory
        self.slot = slot
        self.attempt_id = attempt_id
        self.phase = Phase.ORDERED
        self.submitting = True  # nobody has seen a sign of it yet
        self.asked_in = ""  # the boot in which its start was asked for; empty: not known, or this one
        self.pid = 0  # of the shim that was forked for it
        self.pidfd: int | None = None
        self.process: Process | None = None
        self.started: Moment | None = None
        self.tries = 0
        self.lost = ""  # the words with which it was last reported lost
        self.note = ""  # what we did about it, for the words of its end
        self.stop: StopCommand | None = None  # what ends its work that lives elsewhere
        self.stop_command: Literal["", "runs", "ran"] = ""  # before the request to end
        self.grace = 0.0  # of the request that waits for it
        self.flags: tuple[str, ...] = ()
        # Of an ending, in monotonic seconds:
        self.deadline: float | None = None  # a shim that was asked to stop must have ended by then
        self.overdue_since: float | None = None
        self.died_at = 0.0  # the shim, without a record
        self.asked_at: float | None = None  # its tree, to end
        self.orphans: list[tuple[int, int]] = []  # (pid, start ticks) that fell to the keeper
        self.word_of_keeper = False  # the keeper has said what fell to it
