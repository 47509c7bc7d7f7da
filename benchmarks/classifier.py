"""The failure classifier: speed and memory on logs of every shape, each in a process of its own.

Times are the process's own (user and system), so that neighbours on the machine do not count; all logs lie in the
page cache, and it is one thread. Memory is the process's peak minus what it held before it looked at the log: its
rules were read by then.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import prefilters
from ground import SOURCE, kept
from table import Line, Series

MB = 10**6
USUAL, LARGE = "a usual log of 1 MB", "1 GB, its only root in the middle"
ROOT = (
    b"[rank3]: Traceback (most recent call last):\n"
    b'[rank3]:   File "train.py", line 7, in <module>\n'
    b"[rank3]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 3 has a total capacity\n"
)
STEP = (
    "2026-11-03 04:%02d:%02d,%03d INFO trainer: step %d/900000 | loss 2.%04d | lr 3.00e-04 | grad norm 0.%04d | "
    "18432 tok/s | mfu 41.2%%\n"
)
NOISE = (
    "[rank%d]: I1103 04:%02d:%02d.%06d %d ProcessGroupNCCL.cpp:1234] [PG ID 0 Rank %d] heartbeat monitor: all "
    "watchdog threads alive, queue length 0\n"
)
BAR = "\rTrain:  %2d%%|########          | %d/900000 [1:02:03<10:11:12, 12.%02dit/s, loss=2.%03d]"
WARNED = "WARNING: Retrying (Retry(total=%d)) after connection broken by 'ReadTimeoutError': /objects/%d-%s\n"
REPLACED = bytes(range(256)) * 256


def pieces(count: int, lines: int, line: Callable[[int], str]) -> Iterator[bytes]:
    """At least `count` bytes of a log, in pieces of so many lines."""
    size = n = 0
    while size < count:
        piece = "".join(map(line, range(n, n + lines))).encode()
        yield piece
        size, n = size + len(piece), n + lines


def steps(count: int, first: int = 0) -> Iterator[bytes]:
    """A trainer's log, in pieces of about 1 MB."""
    return pieces(
        count, 8000,
        lambda n: STEP % (n // 60 % 60, n % 60, n % 1000, first + n, n * 7 % 10000, n * 13 % 10000),
    )  # fmt: skip


def noise(count: int) -> Iterator[bytes]:
    """What other ranks print while they wait."""
    return pieces(count, 8000, lambda n: NOISE % (n % 8, n // 60 % 60, n % 60, n % 10**6, n % 10**5, n % 8))


def bars(count: int) -> Iterator[bytes]:
    """A progress bar without one newline."""
    return pieces(count, 10_000, lambda n: BAR % (n // 9000, n, n % 100, n % 1000))


def hostile(count: int) -> Iterator[bytes]:
    """Every line holds literals of rules, no two are alike, and none decides."""
    return pieces(
        count, 5000, lambda n: WARNED % (n % 5, n, "".join(chr(97 + (n * p) % 26) for p in (3, 5, 7, 11)))
    )  # fmt: skip


def shapes(unit: int) -> dict[str, Callable[[], Iterable[bytes]]]:
    """Logs by name; `unit` bytes is what 100 MB would be."""
    return {
        LARGE: lambda: (*steps(5 * unit), ROOT, *noise(5 * unit)),
        "1 GB, and steps go on behind the root": lambda: (*steps(5 * unit), ROOT, *steps(5 * unit, 10**6)),
        "one line of 100 MB, the root at its end": lambda: (b"x" * unit, b" ", ROOT),
        "100 MB of NUL bytes around it": lambda: (bytes(unit // 2), b"\n", ROOT, bytes(unit // 2)),
        "100 MB of invalid UTF-8 around it": lambda: (
            *(REPLACED for _ in range(unit // len(REPLACED) // 2)), b"\n", ROOT,
            *(REPLACED for _ in range(unit // len(REPLACED) // 2)),
        ),
        "100 MB of a bar without a newline, then the root": lambda: (*bars(unit), b"\n", ROOT),
        "100 MB of lines that all hold literals": lambda: (*hostile(unit // 2), ROOT, *hostile(unit // 2)),
    }  # fmt: skip


def measure(series: Series, *, quick: bool) -> list[Line]:
    """The classifier's row of the budgets, logs that have hurt others, and the ways to find literals."""
    folder, rounds = kept.new(), 2 if quick else 5
    unit = 2 * MB if quick else 100 * MB
    lines: list[Line] = []
    usual = _written(folder / "usual.log", (*steps(MB), ROOT))
    told = _ask([str(usual)] * (4 * rounds))
    series.note(USUAL, [1000 * seconds for seconds in told["seconds"][1:]], "ms")
    lines.append(series.at_most(USUAL, 50))
    for name, shape in shapes(unit).items():
        path = _written(folder / "shape.log", shape())
        told = _ask([str(path)] * rounds)
        assert told["class"] == "oom.gpu", f"{name}: {told}"
        size = path.stat().st_size / MB
        series.note(name, [size / seconds for seconds in told["seconds"]], "MB/s")
        series.note(f"memory, {name}", [told["peak_mb"]], "MB")
        if name == LARGE:
            lines.append(_at_least(series, name, 300))
            series.note("the same, only read", [size / _read(path) for _ in range(rounds)], "MB/s")
        lines.append(series.at_most(f"memory, {name}", 100))
    lines.append(_growing(series, folder / "growing.log", unit))
    prefilters.measure(series, _written(folder / "shape.log", steps(unit)), rounds)
    return lines


def _at_least(series: Series, name: str, budget: float) -> Line:
    line = series.at_most(name, budget)
    line.budget, line.kept = f"≥ {budget:g} {line.unit}", line.measured >= budget
    return line


def _growing(series: Series, path: Path, unit: int) -> Line:
    """A log that somebody writes to all the while is read as far as it went when it was opened."""
    _written(path, (*steps(unit), ROOT))
    stop = threading.Event()

    def write() -> None:
        with path.open("ab") as file:
            while not stop.is_set():
                file.write(b"[rank1]: waiting for the others\n" * 1000)
                file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        begun = time.perf_counter()
        told = _ask([str(path)])
    finally:
        stop.set()
        writer.join()
    assert told["class"] == "oom.gpu", told
    series.note("a log of 100 MB that grows meanwhile", [time.perf_counter() - begun], "s")
    return series.at_most("a log of 100 MB that grows meanwhile", 5)


def _written(path: Path, pieces: Iterable[bytes]) -> Path:
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
    return path


def _read(path: Path) -> float:
    """Seconds to read a file, block by block."""
    buffer = bytearray(512 << 10)
    begun = time.process_time()
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return time.process_time() - begun


def _ask(paths: list[str]) -> dict[str, Any]:
    """Classify them in turn in a fresh process."""
    env = os.environ | {"PYTHONPATH": str(SOURCE)}
    said = subprocess.check_output([sys.executable, __file__, *paths], env=env, stdin=subprocess.DEVNULL)
    told: dict[str, Any] = json.loads(said)
    return told


def _peak_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000
    raise SystemExit("the kernel does not tell VmHWM")


def main(paths: list[str]) -> None:
    """In the process of its own: classify, print seconds and peak as JSON."""
    from overnight.failures import Outcome, classify

    failed = Outcome(exit_code=1)
    classify(ROOT, failed)  # rules and their table are there from now on
    before, seconds = _peak_mb(), []
    for path in paths:
        begun = time.process_time()
        found = classify(Path(path), failed)
        seconds.append(time.process_time() - begun)
    line = found.evidence.line if found.evidence is not None else None
    print(json.dumps({"class": found.name, "line": line, "seconds": seconds, "peak_mb": _peak_mb() - before}))


if __name__ == "__main__":
    main(sys.argv[1:])
