"""Processes of an attempt, read from /proc (proc(5)): who belongs to it, and what each is doing."""

import contextlib
import os
from collections.abc import Collection

from overnight.model.run import Process

MOST_CMDLINE_BYTES = 4096


def _stat(pid: int) -> list[bytes] | None:
    """Fields of /proc/PID/stat from the third on (state is 0); None if there is no such process."""
    data = _read(f"/proc/{pid}/stat")
    return data[data.rindex(b")") + 2 :].split() if b")" in data else None


def _read(path: str, most: int = 65_536) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(most) or b""
    except OSError:
        return b""


def identity_holds(process: Process) -> bool:
    """Whether that number still belongs to that very process of this host and namespace."""
    if process.boot and process.boot != _read("/proc/sys/kernel/random/boot_id").decode().strip():
        return False
    with contextlib.suppress(OSError):
        if process.pidns and process.pidns != str(os.stat("/proc/self/ns/pid").st_ino):
            return False
    fields = _stat(process.pid)
    return fields is not None and int(fields[19]) == process.start_ticks


def tree(root: int) -> dict[int, int]:
    """pid -> parent of `root`, all its descendants and the other members of its session, parents first."""
    parents: dict[int, int] = {}
    session: set[int] = set()
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))) is not None:
            parents[int(name)] = int(fields[1])
            if int(fields[3]) == root:
                session.add(int(name))
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found = {root: parents[root]} if root in parents else {}
    order = [root, *sorted(session - {root})]
    for pid in order:
        if pid in parents:
            found.setdefault(pid, parents[pid])
        for child in sorted(children.get(pid, ())):
            if child not in found:
                found[child] = pid
                order.append(child)
    return found


def python_processes(pids: Collection[int]) -> list[int]:
    """Those whose executable is a Python, the attempt's shim (the first of the tree) last: its stack is ours, and only
    shows that py-spy can read this Python."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if os.path.basename(os.readlink(f"/proc/{pid}/exe")).startswith("python"):
                found.append(pid)
    shim = next(iter(pids), None)
    return sorted(found, key=lambda pid: pid == shim)


def _name(pid: int) -> str:
    return _read(f"/proc/{pid}/comm").decode("utf-8", "replace").strip()


def describe(pid: int) -> dict[str, object]:
    """What a process is and does. `rss_kib`, `cpu_seconds` (user and system); what cannot be read is left out. The
    command line is read last: of a stuck process that can block for ever."""
    fields = _stat(pid)
    if fields is None:
        return {"gone": True}
    tick = os.sysconf("SC_CLK_TCK")
    found: dict[str, object] = {
        "name": _name(pid),
        "state": fields[0].decode(),
        "threads": int(fields[17]),
        "rss_kib": int(fields[21]) * os.sysconf("SC_PAGE_SIZE") // 1024,
        "cpu_seconds": round((int(fields[11]) + int(fields[12])) / tick, 2),
        "wchan": _read(f"/proc/{pid}/wchan").decode("utf-8", "replace"),
    }
    if kernel := _read(f"/proc/{pid}/stack").decode("utf-8", "replace"):
        found["kernel_stack"] = kernel.splitlines()
    with contextlib.suppress(OSError):
        found["exe"] = os.readlink(f"/proc/{pid}/exe")
    with contextlib.suppress(OSError):
        found["descriptors"] = len(os.listdir(f"/proc/{pid}/fd"))
    command = _read(f"/proc/{pid}/cmdline", MOST_CMDLINE_BYTES)
    found["cmdline"] = [part.decode("utf-8", "replace") for part in command.rstrip(b"\0").split(b"\0")]
    return found
