"""What the kernel says of an attempt's end."""

import time
from pathlib import Path

import pytest

from overnight.probes.kernel import KernelWitness, cgroup_counter

FALLEN = "NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, GPU has fallen off the bus."


def _kmsg(path: Path, *records: tuple[float, str]) -> Path:
    # A plain file gives all records in one read; the kernel gives one a read. One record a file, then.
    path.write_bytes(b"".join(f"6,1,{int(at * 1e6)},-;{text}\n".encode() for at, text in records))
    return path


def _gpus(folder: Path, uuids: dict[str, str]) -> Path:
    for address, uuid in uuids.items():
        (folder / address).mkdir(parents=True)
        text = f"Model: \t\t NVIDIA H100\nIRQ:   \t\t 77\nGPU UUID: \t {uuid}\nBus Location: \t {address}\n"
        (folder / address / "information").write_text(text)
    return folder


def test_an_oom_kill_just_before_the_end_is_told(tmp_path: Path) -> None:
    """A bare SIGKILL is `unknown`; with the kernel's word it is `oom.host`, and the remedy is another."""
    kmsg = _kmsg(tmp_path / "kmsg", (1000.0, "Out of memory: Killed process 4711 (python3) total-vm:9kB"))
    witness = KernelWitness(kmsg, tmp_path / "none")
    assert witness.lines(900.0, 1001.0) == ("Out of memory: Killed process 4711 (python3) total-vm:9kB",)


def test_somebody_elses_kill_long_before_the_end_is_not(tmp_path: Path) -> None:
    """A neighbour's out-of-memory kill in the evening was taken for the end of a run at dawn."""
    kmsg = _kmsg(tmp_path / "kmsg", (1000.0, "Out of memory: Killed process 4711 (python3)"))
    assert KernelWitness(kmsg, tmp_path / "none").lines(900.0, 5000.0) == ()


def test_a_gpu_fault_counts_for_the_whole_attempt(tmp_path: Path) -> None:
    """An Xid comes minutes before the program gives up."""
    kmsg = _kmsg(tmp_path / "kmsg", (1000.0, FALLEN))
    witness = KernelWitness(kmsg, tmp_path / "none", _gpus(tmp_path / "gpus", {"0000:3b:00.0": "GPU-a"}))
    assert witness.lines(900.0, 5000.0, ("gpu-GPU-a",)) == (FALLEN,)
    assert witness.lines(1100.0, 5000.0, ("gpu-GPU-a",)) == ()


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (("gpu-GPU-a",), True),
        (("gpu-GPU-b", "gpu-GPU-a"), True),
        (("gpu-GPU-a", "gpu-GPU-a.share-1"), True),
        (("gpu-0",), True),  # no UUID was known at launch: the number counts in the order of the bus
        (("gpu-GPU-b",), False),
        (("gpu-1",), False),
        (("gpu-MIG-c",), False),
        (("cpu-0",), False),
    ],
)
def test_a_gpu_fault_is_told_to_whom_the_gpu_belonged(tmp_path: Path, keys: tuple[str, ...], told: bool) -> None:
    """A GPU fell off the bus at two; every run that failed until noon was `gpu.hardware`, and its own, healthy GPU was
    set aside."""
    gpus = _gpus(tmp_path / "gpus", {"0000:86:00.0": "GPU-b", "0000:3b:00.0": "GPU-a"})
    kmsg = _kmsg(tmp_path / "kmsg", (1000.0, FALLEN))
    assert KernelWitness(kmsg, tmp_path / "none", gpus).lines(900.0, 5000.0, keys) == ((FALLEN,) if told else ())


def test_a_part_of_the_only_gpu_is_that_gpu(tmp_path: Path) -> None:
    """Where there is but one GPU there is no doubt whose fault it is; a host that shows none keeps its doubt."""
    kmsg = _kmsg(tmp_path / "kmsg", (1000.0, FALLEN))
    one = KernelWitness(kmsg, tmp_path / "none", _gpus(tmp_path / "gpus", {"0000:3b:00.0": "GPU-a"}))
    assert one.lines(900.0, 5000.0, ("gpu-MIG-c",)) == (FALLEN,)
    assert KernelWitness(kmsg, tmp_path / "none", tmp_path / "none").lines(900.0, 5000.0, ("gpu-0",)) == ()


def test_a_kill_counted_by_the_cgroup_is_told_to_all_that_ended_then(tmp_path: Path) -> None:
    """In a pod the kernel log is closed; two runs killed at once must both learn why."""
    counter = tmp_path / "memory.events"
    counter.write_text("low 0\noom 1\noom_kill 3\n")
    witness = KernelWitness(tmp_path / "none", counter)
    now = time.monotonic()
    assert witness.lines(0.0, now) == ()
    counter.write_text("low 0\noom 2\noom_kill 5\n")
    assert witness.lines(0.0, now) == ("memory.events: oom_kill 2",)
    assert witness.lines(0.0, now) == ("memory.events: oom_kill 2",)
    assert witness.lines(0.0, now + 3600) == ()


def test_the_cgroup_is_found_in_both_versions(tmp_path: Path) -> None:
    """v1 and v2 name the same counter differently."""
    proc, mount = tmp_path / "cgroup", tmp_path / "mount"
    v2 = mount / "a" / "memory.events"
    v2.parent.mkdir(parents=True)
    v2.write_text("oom_kill 0\n")
    proc.write_text("0::/a\n")
    assert cgroup_counter(proc, mount) == v2
    v1 = mount / "memory" / "b" / "memory.oom_control"
    v1.parent.mkdir(parents=True)
    v1.write_text("oom_kill 0\n")
    proc.write_text("4:memory:/b\n")
    assert cgroup_counter(proc, mount) == v1
    proc.write_text("0::/nowhere\n")
    assert cgroup_counter(proc, mount) is None
