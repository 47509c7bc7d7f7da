"""A command with an end: given its input, awaited for so long, and ended with all that it started."""

import contextlib
import os
import select
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence

from overnight.model.codec import Struct

TAIL_BYTES = 2000
TOKEN = "OVERNIGHT_NOTICE_TOKEN"  # in the environment of all that it starts, however it is detached
_ROUND_SECONDS = 0.01
_REAP_SECONDS = 5.0
_BLIND_LOOKS = 2  # that show nothing: a process in the middle of exec has no environment for a moment


class Outcome(Struct, frozen=True):
    """How it ended. `code` None: it did not, and was killed, or could not be started. `said`: its last output."""

    code: int | None
    said: str = ""

    @property
    def well(self) -> bool:
        """It did what it was to do."""
        return self.code == 0


def run(argv: Sequence[str], text: str, env: Mapping[str, str], seconds: float) -> Outcome:
    """Run `argv` with `text` on its standard input. Nothing of it is left when this returns, at most a moment after
    `seconds`."""
    token = uuid.uuid4().hex
    given = os.memfd_create("notice", os.MFD_CLOEXEC)
    try:
        os.write(given, text.encode("utf-8", "replace"))
        os.lseek(given, 0, os.SEEK_SET)
        process = subprocess.Popen(
            list(argv), stdin=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/",
            env={**env, TOKEN: token}, start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as problem:  # ValueError: a NUL in a word
        return Outcome(None, f"cannot be started: {problem}")
    finally:
        os.close(given)
    try:
        said, ended = _listen(process, time.monotonic() + seconds)
    finally:
        _end(process, token)
    words = said.decode("utf-8", "replace").strip()
    if not ended:
        return Outcome(
            None, f"did not end within {seconds:g} s and was killed" + (f"; it said: {words}" if words else "")
        )
    return Outcome(process.returncode, words)


def _listen(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bool]:
    """The end of its output, and whether it ended by itself. Its own end counts, not that of its output: what it
    left behind may hold that open for ever."""
    assert process.stdout is not None
    tail = b""
    poller = select.poll()
    poller.register(process.stdout, select.POLLIN)
    watcher = os.pidfd_open(process.pid)
    try:
        poller.register(watcher, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            ready = {fd for fd, _ in poller.poll(left * 1000 + 1)}
            if watcher in ready:  # asked for after the output: its last words may have come in between
                ready |= {fd for fd, _ in poller.poll(0)}
            if process.stdout.fileno() in ready:
                chunk = os.read(process.stdout.fileno(), 65536)
                tail = (tail + chunk)[-TAIL_BYTES:]
                if not chunk:
                    poller.unregister(process.stdout)
            elif watcher in ready:
                return tail, True
    finally:
        os.close(watcher)
    return tail, False


def _end(process: subprocess.Popen[bytes], token: str) -> None:
    """KILL its group and whatever carries its token, until nothing does."""
    with contextlib.suppress(OSError):  # not reaped yet, so the number is still its group's
        os.killpg(process.pid, signal.SIGKILL)
    mark = f"{TOKEN}={token}".encode()
    until = time.monotonic() + _REAP_SECONDS  # what is killed takes a moment to be gone, on a busy machine a long one
    blind = 0
    while blind < _BLIND_LOOKS and time.monotonic() < until:
        left = _marked(mark)
        blind = 0 if left else blind + 1
        for pid in left:
            with contextlib.suppress(OSError):
                _kill(pid, mark)
        time.sleep(_ROUND_SECONDS)
    if process.stdout is not None:
        process.stdout.close()
    with contextlib.suppress(subprocess.TimeoutExpired):  # state D: nobody waits for that
        process.wait(_REAP_SECONDS)


def _marked(mark: bytes) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and _carries(int(name), mark):
            found.append(int(name))
    return found


def _carries(pid: int, mark: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark in file.read()  # empty of a zombie
    except OSError:
        return False


def _kill(pid: int, mark: bytes) -> None:
    watcher = os.pidfd_open(pid)
    try:
        if _carries(pid, mark):  # looked at once more: now its number cannot become another's
            signal.pidfd_send_signal(watcher, signal.SIGKILL)
    finally:
        os.close(watcher)
