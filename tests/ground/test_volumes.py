"""Volumes that run full, of the root and of the state; logs that grow without end, or are taken away."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign_world import lines, standing
from keeper_world import await_that

from overnight.store.ballast import BALLAST_BYTES


class Volume:
    """A tmpfs of so many MiB."""

    def __init__(self, mount: Path, mebibytes: int) -> None:
        self.mount, self._filler = mount, mount / "filler"
        mount.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "none", mount], check=True)

    def fill(self, left: int = 0) -> None:
        """Leave so many bytes."""
        free = os.statvfs(self.mount)
        with self._filler.open("ab") as file, contextlib.suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(0, free.f_bavail * free.f_frsize - left))

    def empty(self) -> None:
        self._filler.unlink()


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    made = Volume(tmp_path / "volume", 200)
    yield made
    subprocess.run(["umount", "-l", made.mount], check=True)


SPEAKS = "i=0; while [ ! -e go ]; do [ -e hush ] || { i=$((i+1)); echo iter $i: loss 1; }; sleep 0.1; done"


def test_silence_on_a_full_volume_is_no_stall(tmp_path: Path, volume: Volume) -> None:
    """`{out_dir}` was full: nothing could be written, all runs were silent, and all were ended as stalled; each left a
    class that said so."""
    with standing(tmp_path / "g", root=volume.mount / "root") as ground:
        ground.env["OVERNIGHT_STATE"] = str(tmp_path / "state")
        words = ["--set", "limits.heartbeat=2s", "--set", "limits.progress=2s", "--set", "retry.max_attempts=1"]
        campaign = ground.launch(*words, "--", "sh", "-c", SPEAKS)
        await_that(lambda: ground.status(campaign)["runs"][0]["progress"])
        volume.fill()
        ground.file("hush", "")
        until = time.monotonic() + 9.0
        await_that(lambda: time.monotonic() > until)
        assert ground.status(campaign)["counts"] == {"running": 1}
        ground.file("go", "")
        await_that((ground.attempt(campaign, "run-1") / "exit").exists)  # its silence is over before there is room
        volume.empty()
        await_that(lambda: ground.status(campaign)["counts"] == {"succeeded": 1})
        assert len(ground.summary(campaign, "run-1")["attempts"]) == 1


def test_nothing_new_starts_where_there_is_no_room(tmp_path: Path, volume: Volume) -> None:
    """Forty runs started on a full disk and forty failed; the one that was running would have been done."""
    with standing(tmp_path / "g", root=volume.mount / "root") as ground:
        rows = ground.file("rows.csv", "n\n1\n2\n3\n")
        script = "echo $0 >> told; while [ ! -e go ]; do sleep 0.05; done"
        campaign = ground.launch("--set", "limits.disk_free=100MB", "--runs", rows, "--", "sh", "-c", script, "{n}")
        await_that(lambda: len(lines(ground.work / "told")) == 1)
        volume.fill(left=15_000_000)  # a tenth of the volume is asked for
        until = time.monotonic() + 5.5  # a look is good for five seconds
        await_that(lambda: time.monotonic() > until)
        ground.file("go", "")
        await_that(lambda: ground.status(campaign)["counts"] == {"succeeded": 1, "pending": 2})
        need = await_that(lambda: ground.status(campaign)["needs"])[0]
        assert need["what"] == "nothing new starts: a disk is full" and "limits.disk_free" in need["why"]
        assert len(lines(ground.work / "told")) == 1
        volume.empty()
        await_that(lambda: ground.status(campaign)["counts"] == {"succeeded": 3})
        assert ground.status(campaign)["needs"] == []


def test_the_last_states_find_room_on_a_full_disk(tmp_path: Path, volume: Volume) -> None:
    """What ended while the disk of the state was full was known to nobody after the next reboot."""
    with standing(tmp_path / "g") as ground:
        ground.env["OVERNIGHT_STATE"] = str(volume.mount / "state")
        script = "trap 'exit 1' TERM; while [ ! -e go ]; do sleep 0.05; done"
        campaign = ground.launch("--", "sh", "-c", script)
        await_that(lambda: ground.status(campaign)["counts"] == {"running": 1})
        ballast = volume.mount / "state" / "ballast"
        await_that(lambda: ballast.exists() and ballast.stat().st_size == BALLAST_BYTES)
        while True:  # what the database frees meanwhile is taken, too
            volume.fill()
            free = os.statvfs(volume.mount)
            if free.f_bavail == 0:
                break
        ground.file("go", "")
        await_that(lambda: ground.status(campaign)["counts"] == {"succeeded": 1})
        assert ballast.stat().st_size == 0
        assert ground.summary(campaign, "run-1")["ok"] is True


def test_limits_hold_while_the_state_is_full(tmp_path: Path, volume: Volume) -> None:
    """No transaction, no stop: a run over its timeout went on for as long as the disk was full."""
    with standing(tmp_path / "g") as ground:
        ground.env["OVERNIGHT_STATE"] = str(volume.mount / "state")
        script = "echo $$ >> pids; while :; do sleep 0.05; done"
        words = ["--set", "limits.timeout=12s", "--set", "limits.grace=1s"]
        campaign = ground.launch(*words, "--", "sh", "-c", script)
        await_that(lambda: lines(ground.work / "pids") and ground.counts(campaign) == {"running": 1})
        ballast = volume.mount / "state" / "ballast"
        await_that(lambda: ballast.exists() and ballast.stat().st_size == BALLAST_BYTES)
        ballast.unlink()
        ballast.mkdir()  # and none is to be had
        while os.statvfs(volume.mount).f_bavail:
            volume.fill()
        (pid,) = lines(ground.work / "pids")
        assert Path(f"/proc/{pid}").exists()  # the disk was full before its limit
        await_that(lambda: not Path(f"/proc/{pid}").exists(), 30)
        report = await_that(lambda: (said := ground.status(campaign))["supervisor"]["problem"] and said)
        assert "full" in report["supervisor"]["problem"]
        assert report["needs"][0]["command"].startswith("overnight doctor --root ")
        volume.empty()
        await_that(lambda: ground.status(campaign)["counts"] == {"failed": 1})
        assert ground.summary(campaign, "run-1")["failure"]["class"] == "timeout.wall"
        assert ground.status(campaign)["supervisor"]["problem"] == ""


TALKS = "while :; do for i in 1 2 3 4 5 6 7 8 9; do printf '%10000s\\n' warning; done; sleep 0.02; done"


def test_a_log_without_end_is_ended(tmp_path: Path) -> None:
    """One run printed a warning a microsecond and had filled the disk of forty by midnight."""
    with standing(tmp_path / "g") as ground:
        words = ["--set", "limits.log=2MB", "--set", "limits.grace=1s"]
        answer = ground.overnight("launch", "--wait", "--json", *words, "--", "sh", "-c", TALKS, code=1)
        campaign = answer.document["campaign"]
        failure = ground.summary(campaign, "run-1")["failure"]
        assert failure["class"] == "disk.full" and "limits.log is 2.0 MB" in failure["message"]
        assert len(ground.summary(campaign, "run-1")["attempts"]) == 1


@pytest.mark.parametrize(
    "deed", ['rm "$0"', ': > "$0"', 'mv "$0" "$0.1"', 'mv "$0" "$0.1"; : > "$0"', 'rm "$0"; mkfifo "$0"']
)
def test_a_log_that_is_taken_away_ends_nobody(tmp_path: Path, deed: str) -> None:
    """`logrotate`, or a person who wanted space: the run goes on, and its silence proves nothing."""
    with standing(tmp_path / "g") as ground:
        words = ["--set", "limits.heartbeat=3s", "--set", "limits.progress=3s", "--set", "retry.max_attempts=1"]
        campaign = ground.launch(*words, "--", "sh", "-c", SPEAKS)
        await_that(lambda: ground.status(campaign)["runs"][0]["progress"])
        log = ground.attempt(campaign, "run-1") / "output.log"
        subprocess.run(["sh", "-c", deed, log], check=True)
        until = time.monotonic() + 7.0
        await_that(lambda: time.monotonic() > until)
        ground.file("go", "")
        await_that(lambda: ground.status(campaign)["counts"] == {"succeeded": 1})
        assert len(ground.summary(campaign, "run-1")["attempts"]) == 1


def test_few_descriptors_are_enough(tmp_path: Path) -> None:
    """A login shell with `ulimit -n 64`: thirty attempts side by side, and the supervisor ran out of descriptors."""
    with standing(tmp_path / "g") as ground:
        rows = ground.file("rows.csv", "n\n" + "".join(f"{n}\n" for n in range(60)))
        words = f"launch --wait --json --slots 30 --runs {rows} -- sh -c 'sleep 0.5' {{n}}"
        typed = ["prlimit", "--nofile=64:64", "sh", "-c", f"exec python -m overnight {words}"]
        env = ground.env | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(typed, env=env, cwd=ground.work, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr + ground.logs()
        assert '"succeeded": 60' in done.stdout or '"succeeded":60' in done.stdout
