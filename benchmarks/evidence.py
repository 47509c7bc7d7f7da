"""How long it takes to save the evidence of a stalled attempt: trees of real Python processes, real py-spy; and when
everything that can hang does."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from overnight.model.run import Attempt, Process, Slot
from overnight.model.states import AttemptState
from overnight.model.time import Moment
from overnight.ports import AttemptRef, RunRef
from overnight.probes import evidence
from table import Line, Series

TREE = """
import os, sys, time
for _ in range({n} - 1):
    if os.fork() == 0:
        time.sleep(600)
print("ready", flush=True)
time.sleep(600)
"""
HANGS = "#!/bin/sh\nexec sleep 600\n"


def measure(series: Series, *, quick: bool) -> list[Line]:
    """At most 0.3 s for a tree of one or two processes, 1 s usually, 10 s whatever hangs."""
    rounds = 3 if quick else 20
    with tempfile.TemporaryDirectory() as base:
        for number in (1, 2, 8, 32):
            with _tree(number) as pid:
                for n in range(rounds):
                    series.note(_name(number), [_save(Path(base, f"{number}-{n}"), pid)], "s")
        with _tree(2) as pid, _everything_hangs(Path(base)):
            series.note("py-spy and driver hang", [_save(Path(base, "hangs"), pid)], "s")
    return [
        series.never_above(_name(1), 0.3), series.never_above(_name(2), 0.3), series.at_most(_name(32), 1.0),
        series.never_above("py-spy and driver hang", 10.0),
    ]  # fmt: skip


def _name(number: int) -> str:
    return f"evidence of a tree of {number}"


@contextmanager
def _tree(number: int) -> Iterator[int]:
    code = TREE.format(n=number)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as tree:
        assert tree.stdout is not None
        tree.stdout.readline()
        yield tree.pid
        os.killpg(tree.pid, 9)


@contextmanager
def _everything_hangs(folder: Path) -> Iterator[None]:
    for name in ("py-spy", "nvidia-smi"):
        (folder / name).write_text(HANGS)
        (folder / name).chmod(0o755)
    path, spy = os.environ["PATH"], evidence._py_spy
    os.environ["PATH"], evidence._py_spy = f"{folder}:{path}", lambda: str(folder / "py-spy")
    try:
        yield
    finally:
        os.environ["PATH"], evidence._py_spy = path, spy


def _save(folder: Path, pid: int) -> float:
    folder.mkdir()
    (folder / "output.log").write_text("step 1\n" * 1000)
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    process = Process("", "", "", 0, pid, ticks)
    attempt = Attempt(1, 1, AttemptState.RUNNING, 1, Slot("gpu:0", (), ("0",)), Moment(0, 0), process=process)
    begun = time.perf_counter()
    evidence.save_evidence(AttemptRef(RunRef("c", "r"), attempt, str(folder)))
    return time.perf_counter() - begun
