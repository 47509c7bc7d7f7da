"""The files an attempt and its supervisor speak through: `started`, `bound`, `exit`. Read, checked, replaced.

Their format is specified in docs/reference/attempt-files.md.
"""

import contextlib
import os
import threading
from typing import TypeVar

from overnight.model.codec import Struct, field, from_json, to_json
from overnight.model.run import ExitRecord, Process
from overnight.model.time import Moment

T = TypeVar("T")


class DamagedRecord(Exception):
    """A file of the attempt is there and cannot be understood; the message names it."""


class _Host(Struct, frozen=True):
    hostname: str = ""
    boot: str = ""
    pidns: str | int = ""
    init_start: int = 0


class Claim(Struct, frozen=True):
    """The content of `started`: who began the attempt (`by` is `shim`) or gave it up (`supervisor`)."""

    by: str
    pid: int
    host: _Host = field(default_factory=_Host)
    start_ticks: int | None = None
    mono: float = 0.0
    wall: float = 0.0

    @property
    def process(self) -> Process:
        """The identity of the claimant."""
        host = self.host
        return Process(host.hostname, host.boot, str(host.pidns), host.init_start, self.pid, self.start_ticks or 0)

    @property
    def moment(self) -> Moment:
        """When it was claimed, by the claimant's own clocks."""
        return Moment(self.mono, self.wall, self.host.boot)


class _Usage(Struct, frozen=True):
    utime: float = 0.0
    stime: float = 0.0
    maxrss_kib: int = 0


class _StartFault(Struct, frozen=True):
    what: str = "exec"
    errno: int | None = None
    message: str = ""


class _Exit(Struct, frozen=True):
    code: int | None = None
    signal: str | None = None
    raw: int | None = None
    seconds: float = 0.0
    ended_mono: float | None = None
    rusage: _Usage = field(default_factory=_Usage)
    stopped: str | None = None
    swept: int = 0
    error: _StartFault | None = None


class _Spec(Struct, frozen=True):
    attempt_id: str = ""


class Bound(Struct, frozen=True, omit_defaults=True):
    """What the shim keeps. `seconds` of running from the attempt's start; None: unbounded."""

    seconds: float | None
    grace: float
    margin: float = 600.0


def _read(directory: str, name: str) -> bytes | None:
    try:
        fd = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return os.read(fd, os.fstat(fd).st_size or 65_536)
    finally:
        os.close(fd)


def _decoded(directory: str, name: str, kind: type[T]) -> T | None:
    data = _read(directory, name)
    if data is None:
        return None
    try:
        return from_json(data, kind)
    except ValueError as error:
        raise DamagedRecord(f"{directory}/{name} cannot be understood: {error}") from error


def read_claim(directory: str) -> Claim | None:
    """`started`, or None if nobody has claimed the attempt. Raises OSError, DamagedRecord."""
    return _decoded(directory, "started", Claim)


def read_exit(directory: str) -> ExitRecord | None:
    """`exit`, or None if there is none. Raises OSError, DamagedRecord."""
    found = _decoded(directory, "exit", _Exit)
    if found is None:
        return None
    fault = found.error
    return ExitRecord(
        code=found.code,
        signal=found.signal,
        raw=found.raw,
        seconds=found.seconds,
        stopped=found.stopped,
        error=None if fault is None else fault.message,
        error_kind=None if fault is None else fault.what,
        errno=None if fault is None else fault.errno,
        cpu_seconds=found.rusage.utime + found.rusage.stime,
        max_rss_kib=found.rusage.maxrss_kib,
        swept=found.swept,
        ended_mono=found.ended_mono,
    )


def read_bound(directory: str) -> Bound | None:
    """`bound`, or None where there is none or it cannot be understood (then the shim keeps the last one)."""
    try:
        return _decoded(directory, "bound", Bound)
    except DamagedRecord:
        return None


def write_bound(directory: str, bound: Bound) -> None:
    """Replace `bound` by rename. Raises OSError; the old one is in force then."""
    final = f"{directory}/bound"
    temporary = f"{final}.{os.getpid()}.{threading.get_ident()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, to_json(bound))
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    finally:
        os.close(fd)
    os.rename(temporary, final)


def attempt_id(directory: str) -> str | None:
    """The attempt's id as its `env.json` has it; None where that cannot be read."""
    try:
        spec = _decoded(directory, "env.json", _Spec)
    except (OSError, DamagedRecord):
        return None
    return spec.attempt_id if spec is not None and spec.attempt_id else None
