"""Evidence: what an attempt's processes were doing, saved before it is ended. Bounded, and never an obstacle.

Everything is done by threads that are left behind when they are late: reading /proc/PID/cmdline of a process stuck in
the kernel can block for ever, and so can nvidia-smi. Stacks are read without pausing the process (`--nonblocking`),
so a dump that is killed half-way leaves nobody stopped.
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
from collections.abc import Callable, Sequence

from overnight.model.run import Process
from overnight.ports import AttemptRef
from overnight.probes.processes import describe, identity_holds, python_processes, tree

ALL_SECONDS = 10.0
STACK_SECONDS = 3.0
GPU_SECONDS = 3.0
FINISH_SECONDS = 0.5  # kept back for writing what has come in
SIDE_BY_SIDE = 8
MOST_STACKS = 64
TAIL_LINES, TAIL_BYTES = 200, 64 << 10
MOST_BYTES = 1 << 20  # of one file

_GPU_QUERY = (
    "index,uuid,name,memory.used,memory.total,utilization.gpu,temperature.gpu,ecc.errors.uncorrected.volatile.total"
)
_GPU_PROCESSES = "gpu_uuid,pid,process_name,used_memory"


def save_evidence(target: AttemptRef) -> Sequence[str]:
    """Save into the attempt's `evidence/`: stacks-<pid>.txt by py-spy where it is found and permitted,
    processes.json, tail.txt, gpus.txt where nvidia-smi is found. Returns the names of the files written.

    At most 10 s. Never raises: a full disk, a missing tool or a stuck process gives fewer files.
    """
    folder = os.path.join(target.attempt_dir, "evidence")
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError:
        return ()
    saver = _Saver(folder, time.monotonic() + ALL_SECONDS)
    saver.run(lambda: saver.write("tail.txt", _tail(os.path.join(target.attempt_dir, "output.log"))))
    saver.run(lambda: _gpus(saver))
    process = target.attempt.process
    if process is not None:
        saver.run(lambda: _processes(saver, process))
    return saver.finish()


class _Saver:
    """Threads with one deadline, and what they have written by then."""

    def __init__(self, folder: str, until: float) -> None:
        self._folder, self.until = folder, until
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = False
        self._names: list[str] = []

    def run(self, work: Callable[[], None]) -> threading.Thread:
        """Do `work` on a thread of its own, which nobody waits for beyond the deadline."""
        thread = threading.Thread(target=_quietly, args=(work,), daemon=True, name="evidence")
        with self._lock:
            self._threads.append(thread)
        with contextlib.suppress(RuntimeError):  # no threads left on this host: fewer files
            thread.start()
        return thread

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
        except OSError:
            pass
        with contextlib.suppress(OSError):
            os.unlink(temporary)

    def finish(self) -> tuple[str, ...]:
        """Wait for the threads until the deadline; names of the files, sorted."""
        for thread in self._threads:  # grows while it is walked: threads start others
            if thread.ident is not None:
                thread.join(max(0.0, self.until - time.monotonic()))
        with self._lock:
            self._closed = True
            return tuple(sorted(self._names))


def _quietly(work: Callable[[], None]) -> None:
    with contextlib.suppress(Exception):  # evidence is a service: whatever goes wrong costs a file, not the run
        work()


def _processes(saver: _Saver, process: Process) -> None:
    """processes.json and the stacks of the attempt's tree, if its shim is still the process we know."""
    if not identity_holds(process):
        return
    found = tree(process.pid)
    spy = _py_spy()
    jobs: queue.SimpleQueue[int] = queue.SimpleQueue()
    if spy is not None:
        for pid in python_processes(found)[:MOST_STACKS]:
            jobs.put(pid)
        for _ in range(min(SIDE_BY_SIDE, jobs.qsize())):
            saver.run(lambda: _stacks(saver, spy, jobs))
    described: dict[int, dict[str, object]] = {pid: {"pid": pid, "ppid": parent} for pid, parent in found.items()}

    def fill() -> None:
        for pid in found:
            described[pid].update(describe(pid))

    filling = saver.run(fill)
    filling.join(max(0.0, saver.until - FINISH_SECONDS - time.monotonic()))
    document = {"at": time.time(), "whole": not filling.is_alive(), "processes": [dict(d) for d in described.values()]}
    saver.write("processes.json", json.dumps(document, indent=1, default=str).encode() + b"\n")


def _stacks(saver: _Saver, spy: str, jobs: "queue.SimpleQueue[int]") -> None:
    while time.monotonic() < saver.until - FINISH_SECONDS:
        try:
            pid = jobs.get_nowait()
        except queue.Empty:
            return
        left = saver.until - FINISH_SECONDS - time.monotonic()
        output = _output([spy, "dump", "--nonblocking", "--pid", str(pid)], min(STACK_SECONDS, left))
        saver.write(f"stacks-{pid}.txt", output)


def _py_spy() -> str | None:
    beside = os.path.join(os.path.dirname(sys.executable), "py-spy")
    return beside if os.access(beside, os.X_OK) else shutil.which("py-spy")


def _gpus(saver: _Saver) -> None:
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return
    until = min(saver.until - FINISH_SECONDS, time.monotonic() + GPU_SECONDS)
    queries = (f"--query-gpu={_GPU_QUERY}", f"--query-compute-apps={_GPU_PROCESSES}")
    saver.write(
        "gpus.txt", b"".join(_output([smi, query, "--format=csv"], until - time.monotonic()) for query in queries)
    )


def _output(argv: Sequence[str], seconds: float) -> bytes:
    """What a command prints, its complaints too, in at most so many seconds; killed and abandoned when late."""
    if seconds <= 0:
        return b""
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        return process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel: its end is not waited for
            process.communicate(timeout=0.2)
        return f"{os.path.basename(argv[0])} gave no answer in {seconds:.0f} s\n".encode()


def _tail(path: str) -> bytes:
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        lines = file.read(TAIL_BYTES).splitlines(keepends=True)
    if size > TAIL_BYTES and len(lines) > 1:
        lines = lines[1:]
    return b"".join(lines[-TAIL_LINES:])
