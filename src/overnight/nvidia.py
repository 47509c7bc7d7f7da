"""What the NVIDIA driver of this host says of its GPUs. Bounded: never an obstacle to whoever asks.

NVML is asked if its binding (pynvml) is installed, else `nvidia-smi`. Both can hang for ever with a broken driver, so
both are given a deadline; no answer means "not known", never "free" or "none".
"""

import importlib
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from overnight.model.codec import Struct

T = TypeVar("T")

DEADLINE_SECONDS = 5.0
_MIB = 2**20
_LEFT_MOST = 4  # threads and children that hang in the driver, until nobody is sent after them any more
_UNCORRECTED, _VOLATILE, _CORE = 1, 0, 0  # of nvml.h: error type, counter type, temperature sensor
_QUERY = (
    "index,uuid,name,memory.used,memory.total,utilization.gpu,temperature.gpu,ecc.errors.uncorrected.volatile.total"
)


_stuck_threads: list[threading.Thread] = []
_stuck_children: "list[subprocess.Popen[str]]" = []


class Gpu(Struct, frozen=True):
    """One GPU, as it is now. None: it does not tell."""

    index: str  # as `nvidia-smi` counts, and CUDA with CUDA_DEVICE_ORDER=PCI_BUS_ID
    uuid: str
    name: str = ""
    memory_used: int | None = None  # bytes
    memory_total: int | None = None  # bytes
    utilization: int | None = None  # percent of the last sample period in which a kernel ran
    temperature: int | None = None  # °C
    ecc_errors: int | None = None  # uncorrected, since the driver was loaded


def look(env: Mapping[str, str] | None = None, seconds: float | None = None) -> tuple[Gpu, ...] | None:
    """All GPUs of this host, in the driver's order; None if nobody tells within `seconds` (default: 5).

    `env`: where `nvidia-smi` is looked for; default: ours.
    """
    limit = DEADLINE_SECONDS if seconds is None else seconds
    found = _bounded(_by_nvml, limit)
    if found is None and (rows := _nvidia_smi(os.environ if env is None else env, limit)):
        found = tuple(_from_row(row) for row in rows)
    return found or None


# --- NVML --------------------------------------------------------------------------------------------------


def _nvml() -> Any:
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None


def _bounded(ask: Callable[[Any], T | None], seconds: float) -> T | None:
    """What `ask` returns, or None after `seconds`: then its thread is left behind, stuck in the driver. Asked each
    minute of a night, such a driver would have a thousand of them: few are enough to know that it does not answer."""
    nvml = _nvml()
    _stuck_threads[:] = [each for each in _stuck_threads if each.is_alive()]
    if nvml is None or len(_stuck_threads) >= _LEFT_MOST:
        return None
    answers: list[T | None] = []
    thread = threading.Thread(target=lambda: answers.append(ask(nvml)), name="nvml", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        _stuck_threads.append(thread)
    return answers[0] if answers else None


def _by_nvml(nvml: Any) -> tuple[Gpu, ...] | None:
    try:
        nvml.nvmlInit()
        return tuple(_one_by_nvml(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
    except Exception:  # a binding of another version, a library half gone: it may raise anything, and does not know
        return None


def _one_by_nvml(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)

    def tell(function: str, *more: object) -> Any:
        try:
            return getattr(nvml, function)(handle, *more)
        except (nvml.NVMLError, AttributeError, TypeError):  # this GPU, or this version of the binding, does not
            return None

    # Version 2 leaves out what the driver reserves for itself, as nvidia-smi does.
    version = getattr(nvml, "nvmlMemory_v2", None)
    memory = (tell("nvmlDeviceGetMemoryInfo", version) if version else None) or tell("nvmlDeviceGetMemoryInfo")
    rates = tell("nvmlDeviceGetUtilizationRates")
    return Gpu(
        index=str(index),
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
        name=_text(tell("nvmlDeviceGetName") or ""),
        memory_used=None if memory is None else int(memory.used),
        memory_total=None if memory is None else int(memory.total),
        utilization=None if rates is None else int(rates.gpu),
        temperature=tell("nvmlDeviceGetTemperature", _CORE),
        ecc_errors=tell("nvmlDeviceGetTotalEccErrors", _UNCORRECTED, _VOLATILE),
    )


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


# --- nvidia-smi --------------------------------------------------------------------------------------------


def _from_row(row: list[str]) -> Gpu:
    index, uuid, name, used, total, *rest = row
    numbers = [int(each) if each.isdigit() else None for each in (used, total, *rest)]
    in_bytes = [None if each is None else each * _MIB for each in numbers[:2]]
    return Gpu(index, uuid, name, *in_bytes, *numbers[2:])


def _nvidia_smi(env: Mapping[str, str], seconds: float) -> list[list[str]]:
    program = shutil.which("nvidia-smi", path=env.get("PATH", os.defpath))
    _stuck_children[:] = [each for each in _stuck_children if each.poll() is None]
    if program is None or len(_stuck_children) >= _LEFT_MOST:
        return []
    try:
        child = subprocess.Popen(
            [program, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
        )
    except OSError:
        return []
    try:
        output, _ = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        try:
            child.communicate(timeout=1.0)
        except subprocess.TimeoutExpired:  # in the driver, state D: nobody can wait for that
            _stuck_children.append(child)
        return []
    if child.returncode != 0:
        return []
    rows = [[part.strip() for part in line.split(",")] for line in output.splitlines()]
    return [row for row in rows if len(row) == _QUERY.count(",") + 1]
