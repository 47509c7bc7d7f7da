"""A root of its own for one series: fresh directories, its own host slots, and nothing left running at its end.

Fresh, and removed only when all series are over, because ext4 looks long for an inode where many were just freed
(`recently_deleted`): a series that came after a clean-up would pay for it, here up to 5 ms a run. $BENCH_DIR names
the directory to use; a file system on which nobody else creates and removes files gives the truest figures.
"""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from overnight.shim.shim import descendants, process_stat

SOURCE = Path(__file__).resolve().parent.parent / "src"
CLIENT = [sys.executable, "-m", "overnight"]
TICK = os.sysconf("SC_CLK_TCK")
PATIENCE_SECONDS = 600.0
ENDED_LOOK_SECONDS = 0.1  # times are the supervisor's own: looking more often would only take from what is measured
# With bytecode beside the source, as every installer leaves it. Without, each process compiles all that it imports, and
# the keeper forks what that leaves in its heap with every shim.
INSTALLED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class Ground:
    """One root, with its state, its slots and its home."""

    def __init__(self, base: Path) -> None:
        self.base, self.work, self.root, self.state = base, base / "work", base / "root", base / "root" / ".state"
        for folder in (self.work, base / "home"):
            folder.mkdir(parents=True)
        ours = ("OVERNIGHT_", "CUDA_")
        self.env = {name: value for name, value in INSTALLED.items() if not name.startswith(ours)} | {
            "HOME": str(base / "home"),
            "XDG_STATE_HOME": str(base / "home" / "state"),
            "OVERNIGHT_ROOT": str(self.root),
            "OVERNIGHT_SLOTS_DIR": str(base / "slots"),
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": str(SOURCE),
        }

    # --- clients -------------------------------------------------------------------------------------------

    def overnight(self, *words: object, code: int = 0) -> Any:
        """Type `overnight WORDS --json`; its document."""
        done = subprocess.run(
            [*CLIENT, *map(str, words)], env=self.env, cwd=self.work, capture_output=True, text=True,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode != code:
            raise SystemExit(
                f"overnight {words}: exit {done.returncode}\n{done.stdout}{done.stderr}{self.last_words()}"
            )
        return json.loads(done.stdout) if done.stdout.strip() else None

    def rows(self, count: int, name: str = "rows.csv") -> Path:
        """A CSV of so many rows."""
        path = self.work / name
        path.write_text("n\n" + "\n".join(map(str, range(count))) + "\n")
        return path

    def launch(self, *words: object) -> str:
        """The campaign's name."""
        return str(self.overnight("launch", "--json", *words)["campaign"])

    # --- looking -------------------------------------------------------------------------------------------

    def record(self, campaign: str) -> dict[str, Any]:
        """The campaign's record, from the store: cheap to look at often."""
        body = self._ask("SELECT body FROM campaign WHERE id = ?", campaign)
        return dict(json.loads(body)) if body else {}

    def first_planned(self, campaign: str) -> float:
        """When its first run was given a slot, in seconds of the monotonic clock."""
        sql = "SELECT min(mono) FROM story JOIN row ON row.id = story.run JOIN campaign ON campaign.seq = row.campaign"
        return float(self._ask(f"{sql} WHERE campaign.id = ? AND event = 'RunPlanned'", campaign))

    def _ask(self, sql: str, *values: str) -> Any:
        connection = sqlite3.connect(f"file:{self.state}/overnight.db?mode=ro", uri=True, timeout=30)
        try:
            row = connection.execute(sql, values).fetchone()
            return row[0] if row else None
        finally:
            connection.close()

    def until_ended(self, campaign: str) -> dict[str, Any]:
        """Wait until the campaign and all that it owes are done."""
        path = self.root / "campaigns" / campaign / "campaign.json"
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            record = self.record(campaign)
            if record.get("ended") is not None:
                return record
            time.sleep(ENDED_LOOK_SECONDS)
        raise SystemExit(f"{path}: not done in {PATIENCE_SECONDS:g} s{self.last_words()}")

    @property
    def holder(self) -> dict[str, Any]:
        """What the newest supervisor wrote about itself; empty before there is one."""
        try:
            return dict(json.loads((self.state / "lock").read_text().strip("\0 \n")))
        except (OSError, ValueError):
            return {}

    def supervisor(self) -> int:
        """The pid of the supervisor."""
        return int(self.holder["pid"])

    def keeper(self) -> int:
        """The pid of the keeper."""
        return int((self.state / "keeper.lock").read_text())

    def last_words(self) -> str:
        """The end of the supervisor's log, for a benchmark that failed."""
        with contextlib.suppress(OSError):
            return "\n" + (self.state / "supervisor.log").read_text()[-2000:]
        return ""

    # --- the end -------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End everything that was started here: the keeper first, so that nobody brings anybody back."""
        tops = []
        with contextlib.suppress(OSError, ValueError):
            tops = [self.keeper()]
            if (stat := process_stat(tops[0])) is None or stat.dead or b"overnight" not in _words(tops[0]):
                tops = []
        told = [*tops, *(each.pid for each in descendants(*tops))]
        for kind in (signal.SIGSTOP, signal.SIGKILL):
            for pid in dict.fromkeys([*told, *(each.pid for each in descendants(*tops))]):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, kind)


def _words(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


class Kept:
    """Where all series of one run of the benchmarks lie, each in a directory of its own, until the very end."""

    def __init__(self) -> None:
        self.base: Path | None = None

    def new(self) -> Path:
        """A new directory on the disk."""
        if self.base is None:
            self.base = Path(tempfile.mkdtemp(prefix="overnight-bench-", dir=os.environ.get("BENCH_DIR")))
            # Spread what is made in it over the disk, as ext4 does at its top: away from what others just freed.
            subprocess.run(["chattr", "+T", self.base], stderr=subprocess.DEVNULL, check=False)
        return Path(tempfile.mkdtemp(dir=self.base))

    def remove(self) -> None:
        """All of it."""
        if self.base is not None:
            shutil.rmtree(self.base, ignore_errors=True)


kept = Kept()


@contextlib.contextmanager
def standing() -> Iterator[Ground]:
    """A ground of which no process is left."""
    ground = Ground(kept.new())
    try:
        yield ground
    finally:
        ground.close()


def cpu_seconds(pid: int, *, children: bool = False) -> float:
    """CPU time that a process has used; with `children` that of the children it has reaped, too."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    used = int(fields[11]) + int(fields[12])
    if children:
        used += int(fields[13]) + int(fields[14])
    return used / TICK


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
