"""How long a person waits for the shortest answers, against the interpreter's own start."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ground import CLIENT, standing
from table import Line, Series

NOTHING, VERSION, STATUS = "python -c pass", "overnight --version", "overnight status"


def measure(series: Series, *, quick: bool) -> list[Line]:
    """Row 8 of the budgets."""
    rounds = 5 if quick else 25
    with standing() as ground:
        ground.until_ended(ground.launch("--name", "one", "--", "/bin/true"))
        words = {
            NOTHING: [sys.executable, "-c", "pass"],
            VERSION: [*CLIENT, "--version"],
            STATUS: [*CLIENT, "status"],
        }
        for argv in words.values():
            _call(argv, ground.env, ground.work)
        calls = {name: lambda argv=argv: _call(argv, ground.env, ground.work) for name, argv in words.items()}
        series.interleave(calls, rounds, "ms")
    return [
        series.time_ratio("--version against python -c pass", VERSION, NOTHING, at_most=2),
        series.time_ratio("status against python -c pass", STATUS, NOTHING, at_most=7),
    ]


def _call(argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> float:
    begun = time.perf_counter()
    subprocess.run(argv, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return 1000 * (time.perf_counter() - begun)
