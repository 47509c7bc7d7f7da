"""Dispatch of runs that do nothing, at two slots: Overnight with everything on, and its peers, in turn."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ground import INSTALLED, PATIENCE_SECONDS, SOURCE, cpu_seconds, kept, standing
from table import Line, Series

SLOTS = 2
NOTHING = "/bin/true"
SHIM_LOOP = "our shim, nothing recorded"
OURS = "overnight, everything on"
PARALLEL = "GNU parallel --joblog"
HYPERQUEUE = "HyperQueue"


def overnight(runs: int) -> float:
    """From the first plan to the last summary, by the supervisor's own clock: the client that launches is measured
    elsewhere (`scale`, `startup`). The supervisor is up and has run one before."""
    with standing() as ground:
        warm = ground.launch("--name", "warm", "--", NOTHING)
        ground.until_ended(warm)
        rows = ground.rows(runs)
        used = _used(ground.supervisor(), ground.keeper())
        campaign = ground.launch("--name", "sweep", "--slots", SLOTS, "--runs", rows, "--", NOTHING, "{n}")
        record = ground.until_ended(campaign)
        after = _used(ground.supervisor(), ground.keeper())
        if record["counts"].get("succeeded") != runs:
            raise SystemExit(f"not all succeeded: {record['counts']}")
        CPU.append([1000 * (b - a) / runs for a, b in zip(used, after, strict=True)])
        return float(record["ended"]["mono"]) - ground.first_planned(campaign)


CPU: list[list[float]] = []
"""CPU of each series of ours, milliseconds a run: supervisor, keeper, shims and commands."""


def _used(supervisor: int, keeper: int) -> tuple[float, float, float]:
    own = cpu_seconds(keeper)
    return cpu_seconds(supervisor), own, cpu_seconds(keeper, children=True) - own


def shim_loop(runs: int) -> float:
    """The same keeper and shims; directories made before, no state, no files, no database."""
    base = kept.new()
    state, root = base / "state", base / "root"
    state.mkdir()
    (base / "launch.env").write_text(json.dumps(dict(os.environ)))
    for n in range(1, runs + 1):
        folder = root / str(n)
        folder.mkdir(parents=True)
        spec = {"argv": [NOTHING, str(n)], "cwd": str(base), "launch_env": str(base / "launch.env"), "set": {}}
        (folder / "env.json").write_text(json.dumps(spec))
        (folder / "bound").write_text('{"seconds": 86400, "grace": 30}')
    loop = [sys.executable, str(Path(__file__).with_name("shim_loop.py")), "--runs", str(runs), "--slots", str(SLOTS)]
    subprocess.run(
        [sys.executable, "-P", "-m", "overnight.keeper", "--state", str(state), "--root", str(root),
         "--supervisor-argv", json.dumps(loop)],
        env={**INSTALLED, "PYTHONPATH": str(SOURCE), "LD_BIND_NOW": "1"}, check=True,
    )  # fmt: skip
    if not (root / str(runs) / "exit").exists():
        raise SystemExit("the shim loop did not run all")
    return float((state / "seconds").read_text())


def bare_spawn(runs: int) -> float:
    """posix_spawn and wait, two at a time: what the kernel takes."""
    begun = time.perf_counter()
    live = left = 0
    while left < runs or live:
        while live < SLOTS and left < runs:
            os.posix_spawn(NOTHING, [NOTHING, str(left)], os.environ)
            live, left = live + 1, left + 1
        os.wait()
        live -= 1
    return time.perf_counter() - begun


def _command(*words: str, given: str | None = None, cwd: Path | None = None) -> float:
    begun = time.perf_counter()
    subprocess.run(
        words, input=given, text=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=cwd
    )
    return time.perf_counter() - begun


def xargs(runs: int) -> float:
    """`xargs -P2 -n1`."""
    return _command("xargs", f"-P{SLOTS}", "-n1", NOTHING, given=_numbers(runs))


def parallel(runs: int) -> float:
    """GNU parallel with a joblog, as people keep track with it."""
    base = kept.new()
    joblog = str(base / "joblog")
    return _command("parallel", f"-j{SLOTS}", "--joblog", joblog, NOTHING, "{}", given=_numbers(runs), cwd=base)


def _numbers(runs: int) -> str:
    return "".join(f"{n}\n" for n in range(runs))


def hyperqueue(runs: int) -> float:
    """The same commands as one job of so many tasks; its server and worker are up before."""
    base = kept.new()
    peer = str(Path(__file__).with_name("hyperqueue_peer.py"))
    done = subprocess.run(
        [sys.executable, peer, str(base), str(runs), str(SLOTS), NOTHING],
        capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def measure(series: Series, *, quick: bool) -> list[Line]:
    """Row 1 of the budgets."""
    runs, rounds = (300, 3) if quick else (1500, 7)
    peers: dict[str, Callable[[int], float]] = {
        OURS: overnight, SHIM_LOOP: shim_loop, "bare posix_spawn": bare_spawn, f"xargs -P{SLOTS}": xargs,
    }  # fmt: skip
    if shutil.which("parallel"):
        peers[PARALLEL] = parallel
    if importlib.util.find_spec("hyperqueue"):
        peers[HYPERQUEUE] = hyperqueue
    per_run = {name: lambda call=call: 1000 * call(runs) / runs for name, call in peers.items()}
    series.interleave(per_run, rounds, "ms a run")
    lines = [series.speed_ratio("against the shim loop", OURS, SHIM_LOOP, at_least=0.5)]
    for name, least in ((PARALLEL, 1.5), (HYPERQUEUE, 1.0), (f"xargs -P{SLOTS}", None), ("bare posix_spawn", None)):
        if name in peers:
            lines.append(series.speed_ratio(f"against {name}", OURS, name, at_least=least))
    for name, at in (("supervisor", 0), ("keeper", 1), ("shims and commands", 2)):
        series.note(f"CPU of the {name}", [used[at] for used in CPU], "ms a run")
    return lines
