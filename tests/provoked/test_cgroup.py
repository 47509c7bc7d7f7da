"""The kernel's counter of out-of-memory kills, with a real kill: in a pod it is the only witness."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from cases import memory_cgroup

from overnight.failures import Outcome, classify
from overnight.probes.kernel import KernelWitness

PROGRAM = Path(__file__).parent / "programs" / "host.py"


def test_a_kill_is_known_by_the_cgroups_counter_alone(tmp_path: Path) -> None:
    """A run in a pod was killed at its memory limit, and `unknown`: nobody may read the kernel's log there."""
    parent = memory_cgroup()
    assert parent is not None
    group = parent / f"overnight-counted-{os.getpid()}"
    group.mkdir()
    try:
        counter = next(group / name for name in ("memory.events", "memory.oom_control") if (group / name).exists())
        witness = KernelWitness(tmp_path / "closed", counter)
        begun = time.monotonic()
        ended = subprocess.run([sys.executable, PROGRAM, "cgroup", group], capture_output=True, text=True)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        lines = witness.lines(begun, time.monotonic())
        assert lines == ("memory.events: oom_kill 1",)
        found = classify(ended.stdout.encode(), Outcome(signal="SIGKILL", kernel=lines))
        assert (found.name, found.rule) == ("oom.host", "cgroup-oom")
        assert witness.lines(begun, time.monotonic() + 3600) == ()
    finally:
        group.rmdir()
