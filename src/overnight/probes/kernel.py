"""What the kernel and the cgroup say of an attempt's time: out-of-memory kills, GPU faults, disks that fail.

Sources: the record format of /dev/kmsg (Documentation/ABI/testing/dev-kmsg), `memory.events` of cgroup v2 and
`memory.oom_control` of cgroup v1; /proc/driver/nvidia/gpus/*/information (the NVIDIA driver's README). Where we may
not read them (dmesg_restrict, containers) there is nothing to say.
"""

import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
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
_OF_THE_DRIVER = re.compile(r"nvrm|\bxid\b", re.IGNORECASE)
_ADDRESS = re.compile(r"\b(?:PCI:)?([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2})\b", re.IGNORECASE)
_GPU_KEY = "gpu-"  # what the keys of a slot with GPUs begin with; behind it the UUID, else the entry as written


class KernelWitness:
    """Asked after an attempt has failed. Thread-safe."""

    def __init__(
        self, kmsg: Path = Path("/dev/kmsg"), counter: Path | None = None,
        gpus: Path = Path("/proc/driver/nvidia/gpus"),
    ) -> None:  # fmt: skip
        """`counter`: the cgroup's file of out-of-memory kills; None: our own cgroup's."""
        self._kmsg, self._gpus = kmsg, gpus
        self._counter = counter if counter is not None else cgroup_counter()
        self._lock = threading.Lock()
        self._kills = self._count()
        self._rises: list[tuple[float, int]] = []  # (monotonic seconds, kills since the look before)

    def lines(self, since: float, until: float, keys: Sequence[str] = ()) -> tuple[str, ...]:
        """Telling lines of the time between two moments (CLOCK_MONOTONIC seconds of this boot), oldest first. `keys`:
        those of the attempt's slot; what the driver says of other GPUs is left out."""
        found = [text for at, text in self._records() if self._counts(at, text, since, until)]
        if any(map(_OF_THE_DRIVER.search, found)):
            ours = _addresses(keys, pci_addresses(self._gpus))
            found = [text for text in found if _of_ours(text, ours)]
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


def pci_addresses(folder: Path) -> dict[str, str]:
    """UUID to PCI address (domain, bus and device, in small letters) of every GPU that the driver shows us."""
    found = {}
    for path in sorted(folder.glob("*/information")):
        try:
            fields = dict(line.partition(":")[::2] for line in path.read_text("ascii", "replace").splitlines())
        except OSError:
            continue
        found[fields.get("GPU UUID", path.parent.name).strip()] = path.parent.name.partition(".")[0].lower()
    return found


def _addresses(keys: Sequence[str], known: Mapping[str, str]) -> frozenset[str] | None:
    """The addresses of a slot's GPUs; None where they cannot be told although it has some."""
    names = [key.removeprefix(_GPU_KEY) for key in keys if key.startswith(_GPU_KEY) and ".share-" not in key]
    in_order = sorted(known.values())  # CUDA_DEVICE_ORDER=PCI_BUS_ID: what a bare number counts
    found = set()
    for name in names:
        if name in known:
            found.add(known[name])
        elif name.isdigit() and int(name) < len(in_order):
            found.add(in_order[int(name)])
        else:  # a part of a GPU: whose, the driver does not show here
            return frozenset(in_order) if len(in_order) == 1 else None
    return frozenset(found)


def _of_ours(text: str, ours: frozenset[str] | None) -> bool:
    """Whether a line may be about the attempt's own GPUs. In doubt it is not: its slot would be set aside for it."""
    if not _OF_THE_DRIVER.search(text):
        return True
    if ours is None:
        return False
    address = _ADDRESS.search(text)
    return bool(ours) if address is None else address[1].lower() in ours


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
