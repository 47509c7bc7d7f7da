"""Which GPUs a shell may use, and how much of their memory is taken."""

import threading
import time
from collections.abc import Callable, Mapping

from overnight import nvidia
from overnight.model.campaign import Device
from overnight.model.codec import Struct

_MIB = 2**20


def visible_devices(env: Mapping[str, str]) -> tuple[Device, ...]:
    """The GPUs that a program of the shell with this environment would see, in its order.

    CUDA_VISIBLE_DEVICES holds indices, UUIDs (or their beginnings) or MIG names; as CUDA does it, the first
    entry that names nothing ends the list (CUDA C Programming Guide, "CUDA Environment Variables"). Unset: all.
    """
    written = env.get("CUDA_VISIBLE_DEVICES")
    if written is not None and not _entries(written):
        return ()
    known = uuids_by_index(env)
    if written is None:
        return tuple(Device(index, uuid) for index, uuid in known.items())
    found: list[Device] = []
    for entry in _entries(written):
        device = _device(entry, known)
        if device is None or device in found:
            break
        found.append(device)
    return tuple(found)


def _entries(written: str) -> list[str]:
    found = []
    for entry in (part.strip() for part in written.split(",")):
        if not entry or entry.startswith("-") or entry == "NoDevFiles":
            break
        found.append(entry)
    return found


def _device(entry: str, known: Mapping[str, str]) -> Device | None:
    if entry.startswith("MIG-"):
        return Device(entry, entry)
    if entry.isdigit():
        uuid = known.get(str(int(entry)))
        return None if known and uuid is None else Device(entry, uuid)
    matches = [uuid for uuid in known.values() if uuid.startswith(entry)]
    if len(matches) == 1:
        return Device(entry, matches[0])
    if known:
        return None
    return Device(entry, entry if len(entry) == 40 else None)


def uuids_by_index(env: Mapping[str, str]) -> dict[str, str]:
    """All GPUs of the host, index to UUID; empty if there are none or nobody tells in time."""
    return {gpu.index: gpu.uuid for gpu in nvidia.look(env) or ()}


class Memory(Struct, frozen=True):
    """Of one GPU, in bytes. `total` 0: not known."""

    used: int
    total: int = 0

    @property
    def tolerance(self) -> int:
        """By so much it may be above an earlier level and still be called back at it: drivers keep contexts, and
        other users' desktops breathe."""
        return max(512 * _MIB, self.total // 50)

    @property
    def foreign(self) -> int:
        """With more than this in use on a GPU that nobody has locked, somebody else computes there."""
        return max(1024 * _MIB, self.total // 50)


def memory_by_uuid(env: Mapping[str, str] | None = None) -> dict[str, Memory] | None:
    """The memory of each GPU that tells; None if nobody tells in time."""
    found = {
        gpu.uuid: Memory(gpu.memory_used, gpu.memory_total or 0)
        for gpu in nvidia.look(env) or ()
        if gpu.memory_used is not None
    }
    return found or None


class MemoryWatch:
    """How much memory of each GPU is in use, asked in the background, so that nobody waits for a driver.

    `ask` returns memory by UUID, or None; `woken` is called from the background when an answer has come.
    """

    def __init__(
        self,
        woken: Callable[[], None],
        ask: Callable[[], Mapping[str, Memory] | None] = memory_by_uuid,
        now: Callable[[], float] = time.monotonic,
        fresh_seconds: float = 10.0,
        silence_seconds: float = 60.0,
    ) -> None:
        self._woken, self._ask, self._now = woken, ask, now
        self._fresh, self._silence = fresh_seconds, silence_seconds
        self._lock = threading.Lock()
        self._asked: float | None = None  # when the look under way began
        self._taken = float("-inf")  # when the newest answer was asked for
        self._found: Mapping[str, Memory] | None = None

    def used(self, uuid: str, since: float, silence: float | None = None) -> tuple[bool, Memory | None]:
        """(known, memory). Not known: no answer yet that was asked for after `since` (monotonic seconds). Memory
        None: nobody on this host can tell; that is asked again after `silence` seconds (default: a minute)."""
        now = self._now()
        with self._lock:
            age = now - self._taken
            if self._found is None and age < (self._silence if silence is None else silence):
                return True, None
            if self._found is not None and self._taken >= since and age < self._fresh:
                return True, self._found.get(uuid)
            if self._asked is None:
                self._asked = now
                threading.Thread(target=self._look, args=(now,), name="gpu-memory", daemon=True).start()
            elif now - self._asked > 2 * nvidia.DEADLINE_SECONDS:  # it hangs beyond its own deadline
                return True, None
        return False, None

    def _look(self, asked: float) -> None:
        try:
            found = self._ask()
        except Exception:  # a driver's binding may raise anything; not knowing is an answer here
            found = None
        with self._lock:
            self._asked, self._taken, self._found = None, asked, found
        self._woken()
