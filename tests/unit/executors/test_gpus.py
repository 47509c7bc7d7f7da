"""GPUs of a shell, by its CUDA_VISIBLE_DEVICES and a scripted nvidia-smi."""

from pathlib import Path

import pytest

from overnight.executors import gpus
from overnight.executors.gpus import memory_used, uuids_by_index, visible_devices
from overnight.model.campaign import Device

A, B = "GPU-11111111-1111-1111-1111-111111111111", "GPU-2222aaaa-2222-2222-2222-222222222222"


def host(tmp_path: Path, script: str = "", visible: str | None = None) -> dict[str, str]:
    """A shell's environment on a host with this nvidia-smi."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    return env if visible is None else env | {"CUDA_VISIBLE_DEVICES": visible}


TWO = f"""
case "$1" in
  --query-gpu=index,uuid) printf '0, {A}\\n1, {B}\\n' ;;
  --query-gpu=uuid,memory.used) printf '{A}, 10\\n{B}, [N/A]\\n' ;;
esac
"""


@pytest.fixture(autouse=True)
def without_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    """This host's own driver has no say here."""
    monkeypatch.setattr(gpus, "_nvml", lambda: None)


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
    assert memory_used(host(tmp_path, script)) is None


def test_a_tool_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch that hung until morning in nvidia-smi, which hung in the driver."""
    monkeypatch.setattr(gpus, "DEADLINE_SECONDS", 0.2)
    assert visible_devices(host(tmp_path, "exec sleep 1000")) == ()


def test_memory_is_told_for_those_that_tell(tmp_path: Path) -> None:
    """A MIG parent that says [N/A], read as nothing in use."""
    assert memory_used(host(tmp_path, TWO)) == {A: 10 * 2**20}
