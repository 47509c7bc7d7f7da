"""What became of an attempt, from its files and its shim: DESIGN's recovery table, in one place.

The same look decides for a shim that has just ended, for one that a restarted supervisor finds, and for an
order whose keeper died: there is no second implementation of it.
"""

import os

from overnight.executors.records import Claim, DamagedRecord, read_claim, read_exit
from overnight.model.codec import Struct
from overnight.model.run import ExitRecord, Process
from overnight.model.time import Moment
from overnight.shim.shim import claim, host_identity, process_start_ticks


class Unclaimed(Struct, frozen=True):
    """Nobody began it and nobody will: the claim is a supervisor's."""

    why: str


class Alive(Struct, frozen=True):
    """Its shim lives. `pidfd` is the caller's to close; None if there are no descriptors left for one."""

    process: Process
    started: Moment | None
    pidfd: int | None


class Over(Struct, frozen=True):
    """It has ended, and its tree with it."""

    exit: ExitRecord
    process: Process | None
    started: Moment | None
    cause: str | None = None
    words: str = ""


class ShimDied(Struct, frozen=True):
    """On this boot of this host, without a record: its tree may still live."""

    process: Process
    started: Moment | None


class Unknown(Struct, frozen=True):
    """Nobody here can tell. Unknown is not dead."""

    words: str


Verdict = Unclaimed | Alive | Over | ShimDied | Unknown


def open_process(pid: int, start_ticks: int) -> int | None:
    """A pidfd of that very process, or None if it is gone. Raises OSError (no descriptor left).

    The start time is read after the descriptor is open: from then on the number cannot change its meaning.
    """
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if process_start_ticks(pid) != start_ticks:
        os.close(fd)
        return None
    return fd


def process_here(pid: int, start_ticks: int) -> Process:
    """A process of this host, as its own claim would name it."""
    here = host_identity()
    return Process(
        str(here["hostname"]), str(here["boot"]), str(here["pidns"]), int(here["init_start"]), pid, start_ticks
    )


def look(
    directory: str, *, known: Process | None = None, dead_pid: int = 0, submitting: bool = False, asked_in: str = ""
) -> Verdict:
    """Apply the table to the attempt in `directory`.

    `known`: its process as somebody saw it, in case the files cannot say. `dead_pid`: a shim that has ended
    for certain. `submitting`: nobody has seen a sign of it yet, so that a missing directory means that it was
    never made. `asked_in`: the boot of this host in which its start was asked for, if that is known. An attempt that
    nobody has claimed is claimed here.
    """
    try:
        found = read_claim(directory)
        if found is None:
            if claim(directory, "supervisor"):
                return Unclaimed("it was given up before its shim had claimed it")
            found = read_claim(directory)
        if found is not None and found.by != "shim":
            return Unclaimed("its start was given up")
        if found is not None:
            return _claimed(directory, found, dead_pid)
        problem = "its claim file appears and disappears"
    except FileNotFoundError:
        if known is None and submitting:
            return Unclaimed("its directory was never made")
        problem = f"its directory is gone: {directory}"
    except DamagedRecord as error:
        if known is None and asked_in not in ("", host_identity()["boot"]):
            # A claim reaches the platter some seconds after it was made: after a power cut it may be empty.
            return _node_lost(None, None, f"this host was restarted while it ran; {error}")
        problem = str(error)
    except OSError as error:
        problem = f"its files cannot be read: {error.strerror or error}: {directory}"
    if known is not None:
        return _fileless(directory, known, dead_pid, problem)
    return Unknown(problem)


def _claimed(directory: str, found: Claim, dead_pid: int) -> Verdict:
    process, started = found.process, found.moment
    verdict = _alive(process, started, dead_pid)
    if isinstance(verdict, Alive):
        return verdict
    # Only now: it may have written its record and died between two looks. A record proves the tree gone,
    # wherever it was written.
    try:
        record = read_exit(directory)
    except DamagedRecord as error:
        if not isinstance(verdict, ShimDied):  # torn by a power cut, or not all of another host's write is here yet
            return verdict
        return Over(ExitRecord(recorded=False), process, started, words=str(error))
    if record is not None:
        return Over(record, process, started)
    return verdict


def _alive(process: Process, started: Moment | None, dead_pid: int) -> Verdict:
    """Alive, ShimDied, Unknown, or Over (this host has been restarted); no file is read."""
    here = host_identity()
    if process.boot != here["boot"]:
        if process.host != here["hostname"]:
            return Unknown(f"started on host {process.host}, which has not answered")
        return _node_lost(process, started, "this host was restarted while it ran")
    if process.pidns != str(here["pidns"]):
        return Unknown(f"started in another container of this host ({process.host}), which cannot be seen from here")
    if process.init_start != here["init_start"]:
        # Namespaces that live have distinct numbers; ours bears that number now, so the old one has ended
        # and the kernel killed all that was in it.
        return _node_lost(process, started, "the container that it ran in was restarted")
    if process.pid == dead_pid:
        return ShimDied(process, started)
    try:
        pidfd = open_process(process.pid, process.start_ticks)
    except OSError:
        if process_start_ticks(process.pid) == process.start_ticks:
            return Alive(process, started, None)
        return ShimDied(process, started)
    return ShimDied(process, started) if pidfd is None else Alive(process, started, pidfd)


def gone(process: Process) -> bool:
    """Whether it is dead for certain: of this boot and namespace, and its number is nobody's, or another's."""
    verdict = _alive(process, None, 0)
    if isinstance(verdict, Alive) and verdict.pidfd is not None:
        os.close(verdict.pidfd)
    return isinstance(verdict, ShimDied)


def _node_lost(process: Process | None, started: Moment | None, words: str) -> Over:
    return Over(ExitRecord(recorded=False), process, started, cause="node.lost", words=words)


def _fileless(directory: str, known: Process, dead_pid: int, problem: str) -> Verdict:
    """Its claim cannot be read, but its process is known; its record may still be there."""
    verdict = _alive(known, None, dead_pid)
    if isinstance(verdict, Alive | Unknown):
        return verdict
    try:
        record = read_exit(directory)
    except (OSError, DamagedRecord):
        record = None
    if record is not None:
        return Over(record, known, None)
    if isinstance(verdict, Over):
        return verdict
    return ShimDied(known, None) if os.path.isdir(directory) or dead_pid else Unknown(problem)
