"""One scripted attempt as the fake world keeps it."""

import math
import os
import signal
from enum import StrEnum

from overnight.executors.fake.knobs import Knobs
from overnight.executors.fake.script import Script
from overnight.model.run import ExitRecord, Slot
from overnight.model.time import Moment
from overnight.ports import RunRef

STOP_SECONDS = 0.05  # from TERM to the end of a command that obeys
STACKS_SECONDS = 1.0  # between the grace and KILL


class State(StrEnum):
    """How far it has come."""

    WAITING = "waiting"  # ordered, not claimed
    LIVE = "live"
    OVER = "over"
    NEVER = "never"  # given up before it began


class Life:
    """A record that the world changes. Times are monotonic seconds of the world's clock."""

    def __init__(
        self, ref: RunRef, n: int, directory: str, out_dir: str, slot: Slot, knobs: Knobs, script: Script
    ) -> None:
        self.ref = ref
        self.n = n
        self.directory = directory
        self.out_dir = out_dir
        self.slot = slot
        self.knobs = knobs
        self.script = script
        self.state = State.WAITING
        self.started: Moment | None = None
        self.hidden = False  # lost: it goes on, and nobody hears of it
        self.bound: float | None = None  # seconds of running
        self.grace = 0.0
        self.stop_at: float | None = None  # when a stop that was asked for has its way
        self.stopped: str | None = None
        self.end_number = 0  # the newest of the ends that were scheduled; the others are void
        self.printed = -1.0  # seconds since its start until which its output is in the sink
        self.saved = 0  # step of the newest checkpoint in the sink
        self.ended = math.inf
        self.exit = ExitRecord(recorded=False)
        self.cause: str | None = None
        self.words = ""
        self.scheduler: str | None = None
        self.told = False  # the present window has had its one terminal report

    @property
    def began(self) -> float:
        """When it started."""
        assert self.started is not None
        return self.started.mono

    def ends(self) -> tuple[float, str]:
        """When it ends as things stand, and by what: `itself`, `vanished`, `bound` or `request`."""
        knobs = self.knobs
        ends = [(self.began + self.script.end, "itself")]
        if knobs.vanishes_at is not None:
            ends.append((self.began + knobs.vanishes_at, "vanished"))
        if self.stop_at is not None:
            ends.append((self.stop_at, "request"))
        if self.bound is not None:
            ends.append((self.began + self.bound + knobs.margin + self.delay(self.grace), "bound"))
        return min(ends)

    def delay(self, grace: float) -> float:
        """Seconds from a stop to its effect."""
        return grace + STACKS_SECONDS if self.knobs.ignores_term else STOP_SECONDS

    def record(self, at: float, why: str) -> ExitRecord:
        """How it ended."""
        knobs, seconds = self.knobs, at - self.began
        if why == "vanished":
            return ExitRecord(recorded=False)
        if why == "itself" and knobs.signal is None:
            return ExitRecord(code=knobs.exit_code, raw=knobs.exit_code << 8, seconds=seconds, cpu_seconds=seconds)
        name = knobs.signal
        stopped = None if why == "itself" else why
        if name is None or stopped is not None:
            name = "SIGKILL" if knobs.ignores_term else "SIGTERM"
        return ExitRecord(
            signal=name, raw=int(signal.Signals[name]), seconds=seconds, stopped=stopped, cpu_seconds=seconds
        )

    def elapsed(self, now: float) -> float:
        """Seconds of its life by then; it does not go on after its end."""
        if self.started is None:
            return -1.0
        return min(now, self.ended) - self.began

    def checkpoint_path(self, step: int) -> str:
        """The file of that step's checkpoint."""
        return os.path.join(self.out_dir, self.knobs.checkpoint_file.replace("{step}", str(step)))
