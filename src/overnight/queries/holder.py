"""Whether a supervisor lives, from what the holder of `<state>/lock` wrote there.

The file is one JSON line padded to 512 bytes: {"pid", "start_ticks", "boot", "pidns", "init_start", "hostname",
"term", "beat", "watch_only"}. Nothing is locked to find out: a reader must not be in a supervisor's way.
"""

import errno
import os

from overnight.model.codec import Struct, from_json
from overnight.model.reports import SupervisorReport


class Holder(Struct, frozen=True):
    """What is needed of the line to know the process again."""

    pid: int
    start_ticks: int
    boot: str
    pidns: str
    init_start: int = 0
    hostname: str = ""
    watch_only: bool = False
    problem: str = ""


def supervisor_report(state_dir: str | os.PathLike[str]) -> SupervisorReport:
    """Whether the process that last held the lock lives. Not alive, with words, where that cannot be seen from
    here (another host, another container)."""
    try:
        with open(os.path.join(state_dir, "lock"), "rb") as file:
            holder = from_json(file.read().strip(b"\0 \n"), Holder)
    except FileNotFoundError:
        return SupervisorReport(alive=False)
    except (OSError, ValueError) as problem:
        return SupervisorReport(alive=False, words=f"its lock file cannot be read: {problem}")
    boot, pidns = boot_id(), _pid_namespace()
    if holder.boot != boot:
        if holder.hostname and holder.hostname != os.uname().nodename:
            return SupervisorReport(alive=False, words=f"it was last on host {holder.hostname}: ask there")
        return SupervisorReport(alive=False)  # this host has booted since
    if holder.pidns != pidns or _start_ticks(1) not in {holder.init_start, None}:
        return SupervisorReport(alive=False, words="it was last in another container of this host: ask there")
    if _start_ticks(holder.pid) != holder.start_ticks:
        return SupervisorReport(alive=False)
    return SupervisorReport(True, holder.pid, holder.watch_only, problem=holder.problem or _read_only(state_dir))


def _read_only(state_dir: str | os.PathLike[str]) -> str:
    """A supervisor whose disk has gone read-only cannot say so in its lock file."""
    try:
        os.utime(os.path.join(state_dir, "lock"))
    except OSError as problem:
        if problem.errno == errno.EROFS:
            return f"{os.fspath(state_dir)} is on a file system that has become read-only"
    return ""


def boot_id() -> str:
    """Which boot of this host this is; empty where the kernel does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return ""


def _start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat (proc_pid_stat(5)); None if there is no such process, or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return None if fields[0] in {b"Z", b"X", b"x"} else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None
