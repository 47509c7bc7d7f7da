"""Which GPUs a shell may use, who they are, and how much of their memory is taken.

NVML is asked if its binding (pynvml) is installed, else `nvidia-smi`. Both can hang for ever with a broken
driver, so both are given a deadline; no answer means "not known", never "free" or "none".
"""

import contextlib
import importlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from overnight.model.campaign import Device

T = TypeVar("T")

DEADLINE_SECONDS = 5.0


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
    found = bounded(_nvml_uuids)
    if found:
        return found
    return {row[0]: row[1] for row in _nvidia_smi("index,uuid", env)}


def memory_used(env: Mapping[str, str] | None = None) -> dict[str, int] | None:
    """Bytes of memory in use by UUID; None if nobody tells in time."""
    found = bounded(_nvml_memory)
    if found:
        return found
    rows = _nvidia_smi("uuid,memory.used", os.environ if env is None else env, units=False)
    used = {row[0]: int(row[1]) * 2**20 for row in rows if row[1].isdigit()}
    return used or None


# --- NVML --------------------------------------------------------------------------------------------------


def _nvml() -> Any:
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _each_gpu(ask: Callable[[Any, Any], T]) -> dict[tuple[int, str], T]:
    nvml = _nvml()
    if nvml is None:
        return {}
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        return {
            (index, _text(nvml.nvmlDeviceGetUUID(handle))): ask(nvml, handle) for index, handle in enumerate(handles)
        }
    except nvml.NVMLError:
        return {}


def _nvml_uuids() -> dict[str, str]:
    return {str(index): uuid for index, uuid in _each_gpu(lambda nvml, handle: None)}


def _nvml_memory() -> dict[str, int]:
    found = _each_gpu(lambda nvml, handle: int(nvml.nvmlDeviceGetMemoryInfo(handle).used))
    return {uuid: used for (_, uuid), used in found.items()}


# --- deadlines ---------------------------------------------------------------------------------------------


def bounded(ask: Callable[[], T], seconds: float = DEADLINE_SECONDS) -> T | None:
    """What `ask` returns, or None after `seconds`: then its thread is left behind, stuck in the driver."""
    if _nvml() is None:
        return None
    answers: list[T] = []
    thread = threading.Thread(target=lambda: answers.append(ask()), name="nvml", daemon=True)
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else None


def _nvidia_smi(query: str, env: Mapping[str, str], *, units: bool = True) -> list[list[str]]:
    program = shutil.which("nvidia-smi", path=env.get("PATH", os.defpath))
    if program is None:
        return []
    form = "csv,noheader" if units else "csv,noheader,nounits"
    try:
        child = subprocess.Popen(
            [program, f"--query-gpu={query}", f"--format={form}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
        )
    except OSError:
        return []
    try:
        output, _ = child.communicate(timeout=DEADLINE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # in the driver, state D: nobody can wait for that
            child.communicate(timeout=1.0)
        return []
    if child.returncode != 0:
        return []
    rows = [[part.strip() for part in line.split(",")] for line in output.splitlines()]
    return [row for row in rows if len(row) == query.count(",") + 1]


class MemoryWatch:
    """How much memory of each GPU is in use, asked in the background, so that nobody waits for a driver.

    `ask` returns bytes by UUID, or None; `woken` is called from the background when an answer has come.
    """

    def __init__(
        self,
        woken: Callable[[], None],
        ask: Callable[[], dict[str, int] | None] = memory_used,
        now: Callable[[], float] = time.monotonic,
        fresh_seconds: float = 10.0,
        silence_seconds: float = 60.0,
    ) -> None:
        self._woken, self._ask, self._now = woken, ask, now
        self._fresh, self._silence = fresh_seconds, silence_seconds
        self._lock = threading.Lock()
        self._asked: float | None = None  # when the look under way began
        self._taken = float("-inf")  # when the newest answer was asked for
        self._used: dict[str, int] | None = None

    def used(self, uuid: str, since: float) -> tuple[bool, int | None]:
        """(known, bytes). Not known: no answer yet that was asked for after `since` (monotonic seconds). Bytes
        None: nobody on this host can tell, so there is nothing to check."""
        now = self._now()
        with self._lock:
            age = now - self._taken
            if self._used is None and age < self._silence:
                return True, None
            if self._used is not None and self._taken >= since and age < self._fresh:
                return True, self._used.get(uuid)
            if self._asked is None:
                self._asked = now
                threading.Thread(target=self._look, args=(now,), name="gpu-memory", daemon=True).start()
            elif now - self._asked > 2 * DEADLINE_SECONDS:  # it hangs beyond its own deadline
                return True, None
        return False, None

    def _look(self, asked: float) -> None:
        try:
            used = self._ask()
        except Exception:  # a driver's binding may raise anything; not knowing is an answer here
            used = None
        with self._lock:
            self._asked, self._taken, self._used = None, asked, used
        self._woken()
