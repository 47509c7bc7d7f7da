"""The processes of an attempt, found without its shim's help."""

import os
from collections.abc import Collection

from overnight.model.codec import Struct
from overnight.shim.shim import Stat, process_stat, send


class Member(Struct, frozen=True):
    """A live process of an attempt's tree. `state` as in /proc/PID/stat."""

    pid: int
    start_ticks: int
    parent: int
    state: str

    @property
    def words(self) -> str:
        """For people: number, name and state."""
        return f"{self.pid} ({_name(self.pid)}, state {self.state})"

    def signal(self, signum: int) -> bool:
        """Signal that very process; False if it is gone."""
        return send(self.pid, self.start_ticks, signum)


def members(*, below: int | None = None, session: int | None = None, attempt_id: str | None = None) -> list[Member]:
    """Live processes of one tree, parents first: all below the process `below`, all of a dead shim's session,
    all that carry the attempt's id in their environment, and what is below any of these.

    Never among them: the caller, and those above it.
    """
    found = _members(below, session, attempt_id)
    # One look that shows nothing is no proof: a process in the middle of exec has no environment for a moment.
    return found if found or attempt_id is None else _members(below, session, attempt_id)


def _members(below: int | None, session: int | None, attempt_id: str | None) -> list[Member]:
    stats = _processes()
    ours = _ancestors(stats)
    roots = set() if below is None else {below}
    for pid, stat in stats.items():
        if pid in ours:
            continue
        if (session is not None and stat.session == session) or _carries(pid, attempt_id):
            roots.add(pid)
    found = _closure(stats, roots)
    return [
        Member(pid, stats[pid].start_ticks, stats[pid].parent, stats[pid].state)
        for pid in found
        if pid != below and pid not in ours and _lives(pid, stats[pid])
    ]


def alive(processes: Collection[tuple[int, int]]) -> list[Member]:
    """Those (pid, start ticks) that live, and everything below them."""
    stats = _processes()
    roots = {pid for pid, ticks in processes if pid in stats and stats[pid].start_ticks == ticks}
    return [
        Member(pid, stats[pid].start_ticks, stats[pid].parent, stats[pid].state)
        for pid in _closure(stats, roots)
        if _lives(pid, stats[pid])
    ]


def _processes() -> dict[int, Stat]:
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := process_stat(int(name))) is not None:
            found[int(name)] = stat
    return found


def _ancestors(stats: dict[int, Stat]) -> set[int]:
    pid, found = os.getpid(), {1}
    while pid in stats and pid not in found:
        found.add(pid)
        pid = stats[pid].parent
    return found


def _closure(stats: dict[int, Stat], roots: set[int]) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        children.setdefault(stat.parent, []).append(pid)
    queue = [pid for pid in roots if pid in stats]
    seen = set(queue)
    for pid in queue:
        for child in children.get(pid, ()):
            if child not in seen:
                seen.add(child)
                queue.append(child)
    return queue


def _lives(pid: int, stat: Stat) -> bool:
    """A zombie does not, unless only its first thread has ended and others go on."""
    if not stat.dead:
        return True
    try:
        return len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False


def _carries(pid: int, attempt_id: str | None) -> bool:
    if attempt_id is None:
        return False
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            environment = file.read()
    except OSError:  # another user's, or gone
        return False
    return b"\0OVERNIGHT_ATTEMPT_ID=" + attempt_id.encode() + b"\0" in b"\0" + environment + b"\0"


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", "rb", buffering=0) as file:
            return file.read().decode(errors="replace").strip()
    except OSError:
        return "?"
