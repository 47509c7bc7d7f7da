"""Evidence: what an attempt's processes were doing, saved before it is ended. Bounded, and never an obstacle.

Everything is done by threads that are left behind when they are late: reading /proc/PID/cmdline of a process stuck in
the kernel can block for ever, and so can a GPU's driver. Stacks are read without pausing the process (`--nonblocking`),
so a dump that is killed half-way leaves nobody stopped. `evidence.json` is written last and says what is missing and
why; where it is there, the evidence is complete, and asking again (after a crash, with half the tree ended) changes
nothing.
"""

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence

from overnight import nvidia
from overnight.model.codec import builtins
from overnight.model.run import Process
from overnight.ports import AttemptRef
from overnight.probes.processes import describe, identity_holds, python_processes, tree
from overnight.probes.sockets import socket_inodes, sockets_of

ALL_SECONDS = 10.0
STACK_SECONDS = 3.0
GPU_SECONDS = 3.0
FINISH_SECONDS = 0.5  # kept back for writing what has come in
SIDE_BY_SIDE = 8
MOST_STACKS = 64
TAIL_LINES, TAIL_BYTES = 200, 64 << 10
MOST_BYTES = 1 << 20  # of one file
AT_ONCE = 16  # attempts whose evidence is saved in full at the same moment
HURRIED_SECONDS = 1.0  # for each one more: a thousand that stall together must not wait for each other's stacks
INDEX = "evidence.json"

_full = threading.BoundedSemaphore(AT_ONCE)


def save_evidence(target: AttemptRef) -> Sequence[str]:
    """Save into the attempt's `evidence/`: stacks-<pid>.txt by py-spy where it is found and permitted,
    processes.json, tail.txt, gpus.json where a driver tells, and evidence.json about it all. Returns the names of the
    files written.

    At most 10 s. Never raises: a full disk, a missing tool or a stuck process gives fewer files.
    """
    folder = os.path.join(target.attempt_dir, "evidence")
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError:
        return ()
    if os.path.exists(os.path.join(folder, INDEX)):
        return tuple(sorted(os.listdir(folder)))
    full = _full.acquire(blocking=False)
    try:
        return _save(target, folder, full)
    finally:
        if full:
            _full.release()


def _save(target: AttemptRef, folder: str, full: bool) -> Sequence[str]:
    saver = _Saver(folder, ALL_SECONDS if full else HURRIED_SECONDS)
    saver.run(lambda: saver.write("tail.txt", _tail(os.path.join(target.attempt_dir, "output.log"))))
    if full:
        saver.run(lambda: _gpus(saver, target))
    else:
        saver.note(f"the evidence of {AT_ONCE} others was being saved: no stacks, no GPUs")
    process = target.attempt.process
    if process is None or not identity_holds(process):
        saver.note("its shim is not there: nothing is known of its processes")
    else:
        saver.run(lambda: _processes(saver, process, full))
    return saver.finish()


class _Saver:
    """Threads with one deadline, and what they have written by then."""

    def __init__(self, folder: str, seconds: float) -> None:
        self._folder, self._began = folder, time.monotonic()
        self.until = self._began + seconds
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = False
        self._names: list[str] = []
        self._notes: list[str] = []

    def run(self, work: Callable[[], None]) -> threading.Thread:
        """Do `work` on a thread of its own, which nobody waits for beyond the deadline."""
        thread = threading.Thread(target=_quietly, args=(work,), daemon=True, name="evidence")
        with self._lock:
            self._threads.append(thread)
        with contextlib.suppress(RuntimeError):  # no threads left on this host: fewer files
            thread.start()
        return thread

    def left(self) -> float:
        """Seconds until everything must be there."""
        return self.until - FINISH_SECONDS - time.monotonic()

    def note(self, words: str) -> None:
        """Something that is missing, and why."""
        with self._lock:
            self._notes.append(words)

    def write(self, name: str, data: bytes) -> None:
        """Write one file whole; too late, or on a full disk, none."""
        if not data:
            return
        final = os.path.join(self._folder, name)
        temporary = f"{final}.tmp"
        try:
            with open(temporary, "wb") as file:
                file.write(data[:MOST_BYTES])
            with self._lock:
                if not self._closed:
                    os.rename(temporary, final)
                    self._names.append(name)
                    return
        except OSError as problem:
            self.note(f"{name}: {problem.strerror}")
        with contextlib.suppress(OSError):
            os.unlink(temporary)

    def finish(self) -> tuple[str, ...]:
        """Wait for the threads until the deadline; names of the files, sorted."""
        late = 0
        for thread in self._threads:  # grows while it is walked: threads start others
            if thread.ident is not None:
                thread.join(max(0.0, self.until - FINISH_SECONDS / 2 - time.monotonic()))
                late += thread.is_alive()
        if late:
            self.note("not everything answered in time")
        seconds = time.monotonic() - self._began
        with self._lock:
            index = {
                "at": time.time(), "seconds": round(seconds, 3), "files": sorted(self._names), "notes": self._notes,
            }  # fmt: skip
        self.write(INDEX, _json(index))
        with self._lock:
            self._closed = True
            return tuple(sorted(self._names))


def _quietly(work: Callable[[], None]) -> None:
    with contextlib.suppress(Exception):  # evidence is a service: whatever goes wrong costs a file, not the run
        work()


def _json(document: object) -> bytes:
    return json.dumps(document, indent=1, default=str).encode() + b"\n"


# --- processes ---------------------------------------------------------------------------------------------


def _processes(saver: _Saver, process: Process, full: bool) -> None:
    """processes.json and the stacks of the attempt's tree."""
    found = tree(process.pid)
    if full:
        _all_stacks(saver, python_processes(found))
    described: dict[int, dict[str, object]] = {pid: {"pid": pid, "ppid": parent} for pid, parent in found.items()}
    inodes: dict[int, dict[str, str]] = {}
    jobs = _queue(found)

    def fill() -> None:
        while (pid := _next(jobs)) is not None:
            inodes[pid] = socket_inodes(pid)
            described[pid].update(describe(pid))

    # Several: one that is stuck in the kernel keeps its own description back, and no other's.
    filling = [saver.run(fill) for _ in range(min(SIDE_BY_SIDE, len(found)))]
    for thread in filling:
        thread.join(max(0.0, saver.left()))
    for pid, told in sockets_of(list(found), dict(inodes)).items():
        described[pid]["sockets"] = told
    whole = not any(thread.is_alive() for thread in filling)
    saver.write("processes.json", _json({"whole": whole, "processes": [dict(each) for each in described.values()]}))


def _all_stacks(saver: _Saver, pids: Sequence[int]) -> None:
    spy = _py_spy()
    if not pids:
        return
    if spy is None:
        saver.note("no stacks: py-spy is not installed (pip install 'overnight[stacks]')")
        return
    if len(pids) > MOST_STACKS:
        saver.note(f"stacks of the first {MOST_STACKS} of {len(pids)} Python processes")
    jobs = _queue(pids[:MOST_STACKS])
    for _ in range(min(SIDE_BY_SIDE, len(pids))):
        saver.run(lambda: _stacks(saver, spy, jobs))


def _stacks(saver: _Saver, spy: str, jobs: "queue.SimpleQueue[int]") -> None:
    while saver.left() > 0 and (pid := _next(jobs)) is not None:
        output, code = _output([spy, "dump", "--nonblocking", "--pid", str(pid)], min(STACK_SECONDS, saver.left()))
        saver.write(f"stacks-{pid}.txt", output)
        if code != 0:
            why = output.decode("utf-8", "replace").strip().partition("\n")[0]
            if "ermission" in why:
                why = "reading them is not permitted (kernel.yama.ptrace_scope, or no CAP_SYS_PTRACE)"
            saver.note(f"no stacks of {pid}: {why[:200]}")


def _py_spy() -> str | None:
    beside = os.path.join(os.path.dirname(sys.executable), "py-spy")
    return beside if os.access(beside, os.X_OK) else shutil.which("py-spy")


def _queue(pids: Collection[int]) -> "queue.SimpleQueue[int]":
    jobs: queue.SimpleQueue[int] = queue.SimpleQueue()
    for pid in pids:
        jobs.put(pid)
    return jobs


def _next(jobs: "queue.SimpleQueue[int]") -> int | None:
    try:
        return jobs.get_nowait()
    except queue.Empty:
        return None


def _output(argv: Sequence[str], seconds: float) -> tuple[bytes, int | None]:
    """What a command prints, its complaints too, in at most so many seconds, and its exit code; killed and abandoned
    when late."""
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        return process.communicate(timeout=seconds)[0], process.returncode
    except subprocess.TimeoutExpired:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel: its end is not waited for
            process.communicate(timeout=0.2)
        return f"{os.path.basename(argv[0])} gave no answer in {seconds:.0f} s\n".encode(), None


# --- GPUs and output ---------------------------------------------------------------------------------------


def _gpus(saver: _Saver, target: AttemptRef) -> None:
    """Use and memory of all GPUs; who held the memory is known only while it is held."""
    seconds = min(GPU_SECONDS, saver.left())
    found = nvidia.look(seconds=seconds)
    if found is not None:
        own = list(target.attempt.slot.gpu_ids)
        saver.write("gpus.json", _json({"gpus_of_the_attempt": own, "gpus": builtins(found)}))
    elif target.attempt.slot.gpu_ids:
        saver.note(f"no driver told of the GPUs in {seconds:.0f} s")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _tail(path: str) -> bytes:
    with open(path, "rb", opener=_without_waiting) as file:  # a pipe in its place has no tail, and no end
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        lines = file.read(TAIL_BYTES).splitlines(keepends=True)
    if size > TAIL_BYTES and len(lines) > 1:
        lines = lines[1:]
    return b"".join(lines[-TAIL_LINES:])
