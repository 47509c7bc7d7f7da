"""How long saving the evidence of a stalled attempt takes: trees of real Python processes, real py-spy.

`python benchmarks/evidence.py`: seconds (median, worst of 20) for trees of 1, 2, 8 and 32 processes, and with a
driver and a py-spy that hang (the ceiling).
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from overnight.model.run import Attempt, Process, Slot
from overnight.model.states import AttemptState
from overnight.model.time import Moment
from overnight.ports import AttemptRef, RunRef
from overnight.probes import evidence

TREE = """
import subprocess, sys, time
children = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) for _ in range({n} - 1)]
time.sleep(0.5)
print("ready", flush=True)
time.sleep(600)
"""
HANGS = "#!/bin/sh\nexec sleep 600\n"


def save(folder: Path, pid: int) -> float:
    folder.mkdir(parents=True)
    (folder / "output.log").write_text("step 1\n" * 1000)
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    attempt = Attempt(
        1,
        1,
        AttemptState.RUNNING,
        1,
        Slot("gpu:0", (), ("0",)),
        Moment(0, 0),
        process=Process("", "", "", 0, pid, ticks),
    )
    began = time.monotonic()
    evidence.save_evidence(AttemptRef(RunRef("c", "r"), attempt, str(folder)))
    return time.monotonic() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as base:
        for number in (1, 2, 8, 32):
            code = TREE.format(n=number)
            with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as tree:
                assert tree.stdout is not None
                tree.stdout.readline()
                times = [save(Path(base, f"{number}-{n}"), tree.pid) for n in range(20)]
                print(f"{number:3} processes: median {statistics.median(times):.3f} s, worst {max(times):.3f} s")
                if number == 2:
                    ceiling(Path(base), tree.pid)
                os.killpg(tree.pid, 9)


def ceiling(base: Path, pid: int) -> None:
    """Everything that can hang does."""
    for name in ("py-spy", "nvidia-smi"):
        (base / name).write_text(HANGS)
        (base / name).chmod(0o755)
    os.environ["PATH"] = f"{base}:{os.environ['PATH']}"
    spy = evidence._py_spy
    evidence._py_spy = lambda: str(base / "py-spy")
    print(f"    with a py-spy and a driver that hang: {save(base / 'hangs', pid):.3f} s")
    evidence._py_spy = spy
    (base / "nvidia-smi").unlink()


if __name__ == "__main__":
    main()
