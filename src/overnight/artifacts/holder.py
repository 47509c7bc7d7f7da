"""Who supervises a root: what the holder of `<state>/lock` writes there about itself, and whether that process lives.

The file is one JSON line, padded. Nothing is locked to find out: who looks must not be in a supervisor's way.
"""

import os

from overnight.model.codec import Struct, from_json

STOPPED = "stopped"  # in the state directory: nobody is to watch, and why
_REASON_BYTES = 500


class Holder(Struct, frozen=True):
    """The process that holds the lock, or held it last. `beat` moves with each of its turns."""

    pid: int
    start_ticks: int
    boot: str
    pidns: str
    init_start: int = 0
    hostname: str = ""
    term: int = 0
    beat: int = 0
    watch_only: bool = False
    problem: str = ""  # why it can commit nothing


def read_holder(state: str | os.PathLike[str]) -> Holder:
    """The last word of the last holder. Raises OSError (FileNotFoundError: there was none yet), ValueError (it is being
    written right now)."""
    with open(os.path.join(state, "lock"), "rb") as file:
        return from_json(file.read().strip(b"\0 \n"), Holder)


def stopped(state: str | os.PathLike[str]) -> str:
    """Why nobody is to watch, in words; empty: somebody is."""
    try:
        with open(os.path.join(state, STOPPED), "rb") as file:
            return file.read(_REASON_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def of_this_boot(holder: Holder) -> bool:
    """It was of this host, and the host has not been restarted since."""
    return holder.boot == boot_id()


def visible(holder: Holder) -> bool:
    """Its number means here what it meant there: the same PID namespace, and no container restarted in between."""
    return holder.pidns == _pid_namespace() and _start_ticks(1) in {holder.init_start, None}


def lives(holder: Holder) -> bool:
    """Whether that very process lives on this boot, in this PID namespace. A zombie does not."""
    return of_this_boot(holder) and visible(holder) and _start_ticks(holder.pid) == holder.start_ticks


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
    """Field 22 of /proc/PID/stat (proc_pid_stat(5)); None if there is no such process, or a zombie. The shim reads the
    same; importing it would cost `status` a third of its time."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return None if fields[0] in {b"Z", b"X", b"x"} else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None
