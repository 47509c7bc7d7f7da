"""What is known of an attempt's end beside its output."""

from overnight.model.codec import Struct


class ElasticError(Struct, frozen=True):
    """One of torchelastic's error files: its name for people, and its contents."""

    file: str
    text: str


class Outcome(Struct, frozen=True):
    """Facts that are not guessed from the log. Everything may be missing: then only the log speaks.

    `exit_code` is the command's own status (137 is an exit code here, SIGKILL is `signal`); both None means
    that the end is not known. `kernel` are kernel and cgroup lines from the attempt's time on its host;
    `elastic_errors` what torchelastic's error files of the attempt hold.
    """

    exit_code: int | None = None
    signal: str | None = None  # "SIGKILL"
    ended_by: str = "itself"  # itself stall timeout cancel pause deadline lost
    stall: str | None = None  # stall.startup | stall.output | stall.progress
    timeout: str | None = None  # timeout.wall | timeout.attempt | disk.full (of its own log)
    words: str = ""  # why the supervisor ended it
    scheduler_state: str | None = None  # the scheduler's word: OUT_OF_MEMORY, PREEMPTED, Evicted, …
    start_error: str | None = None  # the command could not be started: the system's words
    start_errno: int | None = None
    kernel: tuple[str, ...] = ()
    free_bytes: int | None = None
    free_inodes: int | None = None
    elastic_errors: tuple[ElasticError, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Whether its end is known to be good."""
        if self.exit_code is None and self.signal is None:
            return self._state in ("COMPLETED", "CD", "SUCCEEDED", "DONE")
        return self.exit_code == 0 and self.signal is None

    @property
    def end_known(self) -> bool:
        """Whether anything says that the attempt ended badly or well."""
        live = self._state in ("", "RUNNING", "R", "PENDING", "PD", "COMPLETING", "CG", "CONFIGURING", "UNKNOWN")
        return not (self.exit_code is None and self.signal is None and live)

    @property
    def _state(self) -> str:
        words = (self.scheduler_state or "").split()
        return words[0].upper().rstrip("+:,") if words else ""
