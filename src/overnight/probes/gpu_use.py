"""How many of an attempt's GPUs are in use, asked in the background: nobody waits for a driver."""

import threading
import time
from collections.abc import Callable, Sequence

from overnight import nvidia

FRESH_SECONDS = 5.0
SILENCE_SECONDS = 60.0  # after an ask that nobody answered
USED_BYTES = 384 << 20  # a driver alone keeps less, a CUDA context with its kernels more


class GpuUse:
    """Counts the GPUs in use among some. `ask`: the host's GPUs, or None."""

    def __init__(
        self, ask: Callable[[], Sequence[nvidia.Gpu] | None] = nvidia.look, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask, self._now = ask, now
        self._lock = threading.Lock()
        self._asking = False
        self._taken, self._due = float("-inf"), float("-inf")
        self._found: dict[str, nvidia.Gpu] = {}

    def used(self, uuids: Sequence[str]) -> int | None:
        """How many of these are in use now, by memory or by kernels that run; None: not known (yet). One that tells of
        neither makes all unknown: a flag is no guess."""
        now = self._now()
        with self._lock:
            if now - self._taken < FRESH_SECONDS:
                states = [_in_use(self._found.get(uuid)) for uuid in uuids]
                return None if None in states else sum(map(bool, states))
            if not self._asking and now >= self._due:
                self._asking = True
                threading.Thread(target=self._look, daemon=True, name="gpu-use").start()
        return None

    def _look(self) -> None:
        try:
            found = {gpu.uuid: gpu for gpu in self._ask() or ()}
        except Exception:  # a driver's binding may raise anything; not knowing is an answer here
            found = {}
        with self._lock:
            now = self._now()
            self._asking, self._found = False, found
            self._taken, self._due = (now, now) if found else (float("-inf"), now + SILENCE_SECONDS)


def _in_use(gpu: nvidia.Gpu | None) -> bool | None:
    if gpu is None or (gpu.utilization is None and gpu.memory_used is None):
        return None
    if gpu.utilization:
        return True
    return None if gpu.memory_used is None else gpu.memory_used >= USED_BYTES
