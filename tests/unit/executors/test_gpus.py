"""GPUs of a shell, by its CUDA_VISIBLE_DEVICES and a scripted nvidia-smi."""

import threading
from pathlib import Path

import pytest

from overnight import nvidia
from overnight.executors.gpus import Memory, memory_by_uuid, uuids_by_index, visible_devices
from overnight.model.campaign import Device

A, B = "GPU-11111111-1111-1111-1111-111111111111", "GPU-2222aaaa-2222-2222-2222-222222222222"


def host(tmp_path: Path, script: str = "", visible: str | None = None) -> dict[str, str]:
    """A shell's environment on a host with this nvidia-smi."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    return env if visible is None else env | {"CUDA_VISIBLE_DEVICES": visible}


TWO = f"printf '0, {A}, H100, 10, 81559, 7, 30, 0\\n1, {B}, A100, [N/A], [N/A], [N/A], [N/A], [N/A]\\n'"


@pytest.fixture(autouse=True)
def without_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    """This host's own driver has no say here."""
    monkeypatch.setattr(nvidia, "_nvml", lambda: None)
    monkeypatch.setattr(nvidia, "DEADLINE_SECONDS", 60.0)  # a busy machine is no hung driver


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, (Device("0", A), Device("1", B))),
        ("1,0", (Device("1", B), Device("0", A))),
        ("1", (Device("1", B),)),
        ("", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
        ("0,-1,1", (Device("0", A),)),
        ("0,7,1", (Device("0", A),)),
        ("0,0", (Device("0", A),)),
        (A, (Device(A, A),)),
        ("GPU-2222", (Device("GPU-2222", B),)),
        ("GPU-3", ()),
        (" 0 , 1 ", (Device("0", A), Device("1", B))),
        ("MIG-abc", (Device("MIG-abc", "MIG-abc"),)),
    ],
)
def test_the_list_is_read_as_cuda_reads_it(tmp_path: Path, visible: str | None, found: tuple[Device, ...]) -> None:
    """Runs sent to GPUs that the shell had taken away from them."""
    assert visible_devices(host(tmp_path, TWO, visible)) == found


def test_without_a_tool_the_entries_stand_for_themselves(tmp_path: Path) -> None:
    """A pod without nvidia-smi, whose eight GPUs were taken for none."""
    env = {"PATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": f"0,3,{A}"}
    assert visible_devices(env) == (Device("0"), Device("3"), Device(A, A))
    assert visible_devices({"PATH": str(tmp_path)}) == ()


@pytest.mark.parametrize("script", ["exit 9", "echo 'No devices were found'", "echo ',,,'", "printf '\\377\\n'"])
def test_a_tool_that_fails_means_not_known(tmp_path: Path, script: str) -> None:
    """A driver that had been updated under a running kernel: version mismatch, taken for a list of GPUs."""
    assert uuids_by_index(host(tmp_path, script)) == {}
    assert memory_by_uuid(host(tmp_path, script)) is None


def test_a_tool_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch that hung until morning in nvidia-smi, which hung in the driver."""
    monkeypatch.setattr(nvidia, "DEADLINE_SECONDS", 0.2)
    assert visible_devices(host(tmp_path, "exec sleep 1000")) == ()


def test_memory_is_told_for_those_that_tell(tmp_path: Path) -> None:
    """A MIG parent that says [N/A], read as nothing in use."""
    assert memory_by_uuid(host(tmp_path, TWO)) == {A: Memory(10 * 2**20, 81559 * 2**20)}


def test_a_binding_that_breaks_is_one_that_does_not_know(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A driver that was being updated: the binding's own error came out beside the answer of `status`."""

    class Broken:
        NVMLError = KeyError

        def nvmlInit(self) -> None:
            raise AttributeError("/usr/lib/libnvidia-ml.so.1: undefined symbol: nvmlInit_v2")

    monkeypatch.setattr(nvidia, "_nvml", Broken)
    assert nvidia.look({"PATH": str(tmp_path)}) is None


class _Binding:
    """A pynvml of one GPU that tells its memory in two ways, and of one that only has a name."""

    nvmlMemory_v2 = 2

    class NVMLError(Exception):
        pass

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> bytes:
        return (A, B)[handle].encode()

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "H100"

    def nvmlDeviceGetMemoryInfo(self, handle: int, version: int = 1) -> object:
        if handle == 1:
            raise self.NVMLError("not supported")
        return Memory(5 if version == 2 else 500, 1000)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> object:
        raise self.NVMLError("not supported")


def test_the_binding_is_asked_as_the_tool_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A level before by the tool and one after by the binding, half a GiB apart: the driver's own reserve."""
    monkeypatch.setattr(nvidia, "_nvml", _Binding)
    first, second = nvidia.look() or ()
    assert (first.uuid, first.memory_used, first.memory_total, first.utilization) == (A, 5, 1000, None)
    assert (second.uuid, second.name, second.memory_used) == (B, "H100", None)
    assert memory_by_uuid() == {A: Memory(5, 1000)}


def test_a_driver_that_hangs_all_night_costs_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML hung from midnight on: each look left a thread behind, until the supervisor could make none for its work."""
    driver = threading.Event()
    hung = threading.active_count()
    monkeypatch.setattr(nvidia, "_nvml", object)
    monkeypatch.setattr(nvidia, "_by_nvml", lambda nvml: driver.wait() or None)
    try:
        for _ in range(30):
            assert nvidia.look({"PATH": "/nowhere"}, 0.01) is None
        assert threading.active_count() - hung <= 4
        driver.set()
        for thread in threading.enumerate():
            if thread.name == "nvml":
                thread.join()
        monkeypatch.setattr(nvidia, "_by_nvml", lambda nvml: (nvidia.Gpu("0", A),))
        assert nvidia.look({"PATH": "/nowhere"}, 10.0) == (nvidia.Gpu("0", A),), "once it answers again, it is asked"
    finally:
        driver.set()
