"""`[stop] command`: ends work that lives elsewhere than in the attempt's processes (`docker stop {attempt_id}`).

Run before the request to end, and again when the tree is gone, before its GPUs are checked. Bounded: at its limit its
own tree is killed. It never stands in the way of an end: whatever becomes of it is written into the attempt's
evidence/ (`stop-before.json`, `stop-after.json`), and the attempt goes on ending. Twice is harmless, as it must be
anyway: whoever takes over runs it again.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Literal

from overnight.executors.trees import members
from overnight.model.codec import Struct, from_json, pretty
from overnight.model.run import StopCommand
from overnight.shim.shim import host_identity

When = Literal["before", "after"]
SIDE_BY_SIDE = 8
OUTPUT_BYTES = 64 << 10
KILL_SECONDS = 5.0


class Carried(Struct):
    """What became of it: `evidence/stop-<when>.json`."""

    when: str
    command: tuple[str, ...]
    limit: float  # seconds
    boot: str
    mono: float  # when it began, in monotonic seconds of `boot`
    wall: float
    over: bool = False
    seconds: float = 0.0
    code: int | None = None  # negative: the signal that ended it
    timed_out: bool = False
    problem: str = ""  # it could not be run
    output: str = ""  # the first and the last of it

    @property
    def failed(self) -> bool:
        """What it was to end may live on. After the tree's end there is usually nothing left to be ended, and
        saying so is no failure."""
        return bool(self.timed_out or self.problem or (self.when == "before" and self.code != 0))


class StopCommands:
    """Threads that carry commands out, a few at a time. `done` is called from one of them."""

    def __init__(self) -> None:
        self._orders: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._threads = 0
        self._idle = 0
        self._waiting = 0  # orders that no thread has taken
        self._lock = threading.Lock()

    def run(self, directory: str, when: When, stop: StopCommand, attempt_id: str, done: Callable[[bool], None]) -> None:
        """Carry it out for the attempt in `directory`, then say whether it failed."""

        def work() -> None:
            failed = True
            try:
                failed = carry_out(directory, when, stop, attempt_id).failed
            finally:
                done(failed)

        self._orders.put(work)
        with self._lock:
            self._waiting += 1
            if self._idle >= self._waiting or self._threads >= SIDE_BY_SIDE:
                return
            self._threads += 1
        try:
            threading.Thread(target=self._serve, daemon=True, name="stop-command").start()
        except RuntimeError:  # no threads left on this host
            with self._lock:
                self._threads -= 1
                alone = not self._threads
                self._waiting -= alone
            if alone:
                self._orders.get()
                done(True)

    def _serve(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            work = self._orders.get()
            with self._lock:
                self._idle -= 1
                self._waiting -= 1
            with contextlib.suppress(Exception):  # `done` has been called: the next one waits
                work()


def carry_out(directory: str, when: When, stop: StopCommand, attempt_id: str) -> Carried:
    """Run it to its end or its limit. Never raises."""
    began = time.monotonic()
    said = Carried(when, stop.argv, stop.timeout, str(host_identity()["boot"]), began, time.time())
    _write(directory, said)
    # Not the attempt's own id: nobody may take this for a process that the attempt has left behind.
    mark = f"{attempt_id}#stop-{when}"
    try:
        cwd, environment = _ground(directory)
        environment["OVERNIGHT_ATTEMPT_ID"] = mark
        process = subprocess.Popen(
            stop.argv, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError, TypeError, LookupError) as problem:
        said.problem = f"{type(problem).__name__}: {problem}"
    else:
        output = _Output()
        try:
            said.timed_out = not _await_end(process, output, began + stop.timeout)
        except OSError as problem:  # no descriptor left
            said.problem = f"nobody could wait for it: {problem}"
        _end_tree(process, mark)
        said.code, said.output = process.poll(), output.text()
    said.over, said.seconds = True, time.monotonic() - began
    _write(directory, said)
    return said


def carried(directory: str, when: When) -> Carried | None:
    """What is known of an earlier one."""
    try:
        with open(f"{directory}/evidence/stop-{when}.json", "rb") as file:
            return from_json(file.read(), Carried)
    except (OSError, ValueError):
        return None


def _ground(directory: str) -> tuple[str, dict[str, str]]:
    """Where and with what the attempt's own command ran."""
    with open(f"{directory}/env.json", encoding="utf-8") as file:
        spec = json.load(file)
    environment = dict(os.environ)
    if spec.get("launch_env") is not None:
        with open(spec["launch_env"], encoding="utf-8") as file:
            environment = json.load(file)
    for name in spec.get("unset") or ():
        environment.pop(name, None)
    environment.update(spec.get("set") or {})
    return str(spec["cwd"]), environment


class _Output:
    """The first and the last half of what is said; a command that prints for ever costs no memory."""

    def __init__(self) -> None:
        self._first, self._last, self._left_out = b"", b"", 0

    def add(self, data: bytes) -> None:
        half = OUTPUT_BYTES // 2
        room = half - len(self._first)
        self._first += data[:room]
        last = self._last + data[room:] if room < len(data) else self._last
        self._left_out += max(0, len(last) - half)
        self._last = last[-half:]

    def text(self) -> str:
        between = f"\n[{self._left_out} bytes left out]\n".encode() if self._left_out else b""
        return (self._first + between + self._last).decode("utf-8", "replace")


def _await_end(process: "subprocess.Popen[bytes]", output: _Output, until: float) -> bool:
    """Read until it ends, whatever else holds its output open; False: it had not ended by then."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as ready, process.stdout as pipe:
        os.set_blocking(pipe.fileno(), False)
        ready.register(pipe, selectors.EVENT_READ)
        end = os.pidfd_open(process.pid)
        try:
            ready.register(end, selectors.EVENT_READ)
            while process.poll() is None:
                left = until - time.monotonic()
                if left <= 0:
                    return False
                ready.select(left)
                if pipe in ready.get_map() and not _read(pipe.fileno(), output):
                    ready.unregister(pipe)
        finally:
            os.close(end)
        _read(pipe.fileno(), output)
    return True


def _read(fd: int, output: _Output) -> bool:
    """Whether there may be more one day."""
    with contextlib.suppress(BlockingIOError):
        while data := os.read(fd, 65_536):
            output.add(data)
        return False
    return True


def _end_tree(process: "subprocess.Popen[bytes]", mark: str) -> None:
    """Nothing of it stays behind, neither a daemon that it made nor, at its limit, itself."""
    until = time.monotonic() + KILL_SECONDS
    while time.monotonic() < until:
        below = process.pid if process.poll() is None else None
        left = members(below=below, session=process.pid, attempt_id=mark)
        for member in left:
            member.signal(signal.SIGKILL)
        if below is not None:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        elif not left:
            return
        else:
            time.sleep(0.01)


def _write(directory: str, said: Carried) -> None:
    final = f"{directory}/evidence/stop-{said.when}.json"
    with contextlib.suppress(OSError):  # a full disk: the end goes on without a record of this
        os.makedirs(f"{directory}/evidence", exist_ok=True)
        with open(f"{final}.tmp", "wb") as file:
            file.write(pretty(said))
        os.rename(f"{final}.tmp", final)
