"""GPUs in use: asked of a scripted nvidia-smi, in the background, and never guessed."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from overnight import nvidia
from overnight.nvidia import Gpu
from overnight.probes.gpu_use import FRESH_SECONDS, SILENCE_SECONDS, GpuUse

MIB = 1 << 20


class Host:
    """A host whose GPUs are what a test says; `answered` counts."""

    def __init__(self, *gpus: Gpu) -> None:
        self.gpus: Sequence[Gpu] | None = gpus
        self.time = 1000.0
        self.answered = threading.Semaphore(0)
        self.use = GpuUse(self._ask, lambda: self.time)

    def _ask(self) -> Sequence[Gpu] | None:
        self.answered.release()
        if self.gpus is not None and not self.gpus:
            raise RuntimeError("driver/library version mismatch")
        return self.gpus

    def used(self, *uuids: str) -> int | None:
        """The answer once the background has one."""
        first = self.use.used(uuids)
        if first is None and self.answered.acquire(timeout=60):
            for thread in threading.enumerate():
                if thread.name == "gpu-use":
                    thread.join(60)
            return self.use.used(uuids)
        return first


def test_a_gpu_without_a_context_is_not_in_use() -> None:
    """A trainer that was given two GPUs and launched one process held the second one for nine hours."""
    host = Host(
        Gpu("0", "A", memory_used=40_000 * MIB, utilization=97), Gpu("1", "B", memory_used=4 * MIB, utilization=0)
    )
    assert host.used("A", "B") == 1
    assert host.use.used(("B",)) == 0


def test_memory_or_kernels_make_it_used() -> None:
    """An evaluation on the CPU between two epochs is no idle GPU: its weights stay where they are."""
    host = Host(Gpu("0", "A", memory_used=9000 * MIB, utilization=0), Gpu("1", "B", memory_used=None, utilization=3))
    assert host.used("A", "B") == 2


@pytest.mark.parametrize("gpus", [None, (), (Gpu("0", "A", utilization=5),), (Gpu("0", "A"), Gpu("1", "B"))])
def test_who_does_not_tell_is_not_idle(gpus: Sequence[Gpu] | None) -> None:
    """No NVML, a driver that raises, a GPU that is not listed or tells nothing: none of it is a flag."""
    host = Host()
    host.gpus = gpus
    assert host.used("A", "B") is None


def test_it_is_asked_once_in_a_while() -> None:
    """A hundred looks a second were a hundred `nvidia-smi`; one that fails was asked again at once."""
    host = Host(Gpu("0", "A", memory_used=9000 * MIB))
    assert host.used("A") == 1
    for _ in range(100):
        host.use.used(("A",))
    assert not host.answered.acquire(blocking=False)
    host.time += FRESH_SECONDS + 1
    host.gpus = None
    assert host.used("A") is None
    host.time += SILENCE_SECONDS - 1
    assert host.use.used(("A",)) is None
    assert not host.answered.acquire(blocking=False)


def test_a_driver_that_hangs_costs_nothing() -> None:
    """`nvidia-smi` hung in the driver, and with it every look at every run."""
    free = threading.Event()
    use = GpuUse(lambda: free.wait(10) and None)
    assert [use.used(("A",)) for _ in range(50)] == [None] * 50
    assert sum(thread.name == "gpu-use" for thread in threading.enumerate()) == 1
    free.set()


def test_by_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table's columns were mixed up, and the temperature was taken for the load."""
    monkeypatch.setattr(nvidia, "_nvml", lambda: None)
    monkeypatch.setattr(nvidia, "DEADLINE_SECONDS", 60.0)
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '0, A, H100, 41000, 81559, 97, 60, 0\\n1, B, H100, 4, 81559, 0, 31, 0\\n'\n")
    tool.chmod(0o755)
    asked = threading.Event()

    def ask() -> Sequence[Gpu] | None:
        found = nvidia.look({"PATH": str(tmp_path)})
        asked.set()
        return found

    use = GpuUse(ask)
    assert use.used(("A", "B")) is None
    assert asked.wait(60)
    for thread in threading.enumerate():
        if thread.name == "gpu-use":
            thread.join(60)
    assert use.used(("A", "B")) == 1
