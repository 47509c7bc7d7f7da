"""What the kernel and the cgroup say of an attempt's time: out-of-memory kills, GPU faults, disks that fail.

Sources: the record format of /dev/kmsg (Documentation/ABI/testing/dev-kmsg), `memory.events` of cgroup v2 and
`memory.oom_control` of cgroup v1. Where we may not read them (dmesg_restrict, containers) there is nothing to say.
"""

import os
import re
import threading
import time
from pathlib import Path

KILL_WINDOW = 30.0  # seconds before an attempt's end within which an out-of-memory kill is taken for its end
SLACK = 5.0  # the kernel's log clock and CLOCK_MONOTONIC differ by less
READ_SECONDS = 0.5
RECORD_BYTES = 8192  # the kernel's own bound for one record

_TELLING = re.compile(
    r"out of memory|oom-kill|oom_reaper|killed process|nvrm|xid|i/o error|segfault|machine check|"
    r"remount(?:ing|ed)? (?:file ?system )?read-only|"
    r"ext4-fs error|xfs.*(?:error|shutdown)|nfs: server .* not responding",
    re.IGNORECASE,
)
_KILL = re.compile(r"out of memory|oom-kill|oom_reaper|killed process", re.IGNORECASE)


class KernelWitness:
    """Asked after an attempt has failed. Thread-safe."""

    def __init__(self, kmsg: Path = Path("/dev/kmsg"), counter: Path | None = None) -> None:
        """`counter`: the cgroup's file of out-of-memory kills; None: our own cgroup's."""
        self._kmsg = kmsg
        self._counter = counter if counter is not None else cgroup_counter()
        self._lock = threading.Lock()
        self._kills = self._count()
        self._rises: list[tuple[float, int]] = []  # (monotonic seconds, kills since the look before)

    def lines(self, since: float, until: float) -> tuple[str, ...]:
        """Telling lines of the time between two moments (CLOCK_MONOTONIC seconds of this boot), oldest first."""
        found = [text for at, text in self._records() if self._counts(at, text, since, until)]
        kills = self._cgroup_kills(until)
        if kills:
            found.append(f"memory.events: oom_kill {kills}")
        return tuple(found)

    def _counts(self, at: float, text: str, since: float, until: float) -> bool:
        if not since - SLACK <= at <= until + SLACK or not _TELLING.search(text):
            return False
        return at >= until - KILL_WINDOW or not _KILL.search(text)

    def _records(self) -> list[tuple[float, str]]:
        try:
            fd = os.open(self._kmsg, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return []
        found: list[tuple[float, str]] = []
        deadline = time.monotonic() + READ_SECONDS
        try:
            while time.monotonic() < deadline:
                try:
                    record = os.read(fd, RECORD_BYTES)
                except BrokenPipeError:  # overwritten while we read: the next record is the oldest there is
                    continue
                except OSError:  # BlockingIOError: that was all
                    break
                if not record:
                    break
                found.extend(_parsed(record))
        finally:
            os.close(fd)
        return found

    def _cgroup_kills(self, until: float) -> int:
        with self._lock:
            now = self._count()
            if now > self._kills:
                self._rises = [*self._rises[-99:], (time.monotonic(), now - self._kills)]
            self._kills = now
            # A rise is seen when the first attempt of it is examined, a moment after its end.
            return sum(count for at, count in self._rises if at >= until - SLACK)

    def _count(self) -> int:
        if self._counter is None:
            return 0
        try:
            text = self._counter.read_text("ascii")
        except (OSError, UnicodeDecodeError):
            return 0
        match = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
        return int(match.group(1)) if match else 0


def _parsed(record: bytes) -> list[tuple[float, str]]:
    head, _, text = record.partition(b";")
    fields = head.split(b",")
    if len(fields) < 3 or not fields[2].isdigit():
        return []
    return [(int(fields[2]) / 1e6, text.split(b"\n")[0].decode("utf-8", "replace"))]


def cgroup_counter(proc: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> Path | None:
    """The file that counts out-of-memory kills in our own cgroup, or None."""
    try:
        lines = proc.read_text("utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            candidates = [mount / path.lstrip("/") / "memory.events", mount / "memory.events"]
        elif "memory" in controllers.split(","):
            candidates = [
                mount / "memory" / path.lstrip("/") / "memory.oom_control",
                mount / "memory/memory.oom_control",
            ]
        else:
            continue
        for candidate in candidates:
            if candidate.exists():
                return candidate
    return None
