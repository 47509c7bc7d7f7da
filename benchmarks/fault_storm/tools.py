"""The tools that go through the storm. Each call: all rows of FOLDER/rows.csv, two at a time where the tool can."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from fault_storm.plan import LONGEST
from ground import Ground

PROGRAM = Path(__file__).with_name("program.py")
PEERS = Path(__file__).parents[2] / ".venv-peers" / "bin"
PEER_TIMEOUT = 2 * LONGEST  # seconds: twice the longest run; nobody knows more beforehand
LIMIT_SECONDS = 2.0  # of silence, and without an advance: ours
RAY = """
import subprocess, sys, ray
folder, program, timeout = sys.argv[1], sys.argv[2], float(sys.argv[3])
ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)

@ray.remote(num_cpus=1, max_retries=3, retry_exceptions=True)
def run(run_id):
    subprocess.run([sys.executable, program, folder, run_id], check=True, timeout=timeout, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)

rows = open(folder + "/rows.csv").read().split()[1:]
for task in [run.remote(row) for row in rows]:
    try:
        ray.get(task)
    except Exception:
        pass
"""
SNAKEFILE = """
ROWS = open("rows.csv").read().split()[1:]
rule all:
    input: expand("{row}/done", row=ROWS)
rule run:
    output: touch("{row}/done")
    shell: "timeout -k 1 TIMEOUT PROGRAM . {wildcards.row} > /dev/null 2>&1"
"""


def overnight(ground: Ground, folder: Path) -> dict[str, float]:
    """Ours, its supervisor killed twice on the way."""
    limits = {"heartbeat": "2s", "progress": "2s", "grace": "300ms", "timeout": "10m"}
    words = [word for name, value in limits.items() for word in ("--set", f"limits.{name}={value}")]
    for name, value in {"first": "100ms", "max": "1s"}.items():
        words += ["--set", f"retry.backoff.{name}={value}"]
    command = [sys.executable, PROGRAM, folder, "{run_id}"]
    campaign = ground.launch("--slots", 2, *words, "--runs", folder / "rows.csv", "--", *command)
    rows = len((folder / "rows.csv").read_text().split()) - 1
    for share in (1 / 3, 2 / 3):
        while len(list(folder.glob("*/done"))) < share * rows:
            time.sleep(0.05)
        os.kill(ground.supervisor(), signal.SIGKILL)
    ground.until_ended(campaign)
    return {"supervisors killed": 2}


def gnu_parallel(ground: Ground, folder: Path) -> dict[str, float]:
    """GNU parallel with a joblog and three tries."""
    options = ["--jobs", "2", "--retries", "3", "--joblog", str(folder / "joblog"), "--timeout", str(PEER_TIMEOUT)]
    rows = (folder / "rows.csv").read_text().split()[1:]
    words = ["parallel", "--will-cite", *options, sys.executable, str(PROGRAM), str(folder), "{}", ":::", *rows]
    _quiet(words, ground)
    return {}


def shell_loop(ground: Ground, folder: Path) -> dict[str, float]:
    """A loop in the shell, one after the other, each with a timeout."""
    program = shlex.join([sys.executable, str(PROGRAM), str(folder)])
    script = f"tail -n +2 rows.csv | while read row; do timeout -k 1 {PEER_TIMEOUT} {program} $row; done"
    _quiet(["sh", "-c", script], ground, cwd=folder)
    return {}


def snakemake(ground: Ground, folder: Path) -> dict[str, float]:
    """Snakemake, which has no timeout of its own: coreutils' is put in front."""
    program = shlex.join([sys.executable, str(PROGRAM)])
    (folder / "Snakefile").write_text(SNAKEFILE.replace("TIMEOUT", str(PEER_TIMEOUT)).replace("PROGRAM", program))
    words = ["snakemake", "--cores", "2", "--keep-going", "--retries", "3", "--quiet", "all", "--nolock"]
    _quiet([str(PEERS / "snakemake"), *words[1:]], ground, cwd=folder)
    return {}


def ray_tasks(ground: Ground, folder: Path) -> dict[str, float]:
    """Ray tasks, three retries each; the time of its cluster's start is not counted."""
    _quiet([str(PEERS / "python"), "-c", RAY, str(folder), str(PROGRAM), str(PEER_TIMEOUT)], ground)
    return {}


def _quiet(words: list[str], ground: Ground, cwd: Path | None = None) -> None:
    process = subprocess.Popen(
        words, env=ground.env, cwd=cwd or ground.work, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    watch = threading.Timer(900, lambda: os.killpg(process.pid, signal.SIGKILL))
    watch.start()
    process.wait()
    watch.cancel()


Tool = Callable[[Ground, Path], dict[str, float]]

OVERNIGHT = "overnight"
TOOLS: dict[str, tuple[Tool, Callable[[], bool], str]] = {
    OVERNIGHT: (overnight, lambda: True, ""),
    "GNU parallel --retries 3": (gnu_parallel, lambda: bool(shutil.which("parallel")), "apt-get install parallel"),
    "shell loop with timeout": (shell_loop, lambda: True, ""),
    "Snakemake --retries 3": (snakemake, lambda: (PEERS / "snakemake").exists(), "make bench installs it"),
    "Ray tasks, 3 retries": (ray_tasks, lambda: (PEERS / "ray").exists(), "make bench installs it"),
}
"""By name: how it is done, whether it is here, and how to get it."""


def left_behind(folder: Path) -> list[int]:
    """Processes of the storm that live on."""
    mark, found = os.fsencode(str(folder)), []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{name}/cmdline").read_bytes()
            environment = Path(f"/proc/{name}/environ").read_bytes()
            deaf = b"SIG_IGN" in words and b"STORM=" + mark in environment
            if (b"program.py" in words and mark in words) or deaf:
                found.append(int(name))
    return found
