"""Faults of the ground that only root can stage: file systems that hang, and one that goes read-only."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign_world import Ground, lines
from keeper_world import alive, await_that

FS = Path(__file__).with_name("hanging_fs.py")


class Hanging:
    """A folder seen through a file system that hangs when told."""

    def __init__(self, base: Path) -> None:
        self.below, self.mount, self._word = base / "below", base / "mount", base / "hang"
        self.below.mkdir(parents=True)
        self.mount.mkdir()
        self.process = subprocess.Popen([sys.executable, FS, self.below, self.mount, self._word])
        await_that(lambda: os.path.ismount(self.mount))

    def hang(self, word: str) -> None:
        self._word.write_text(word)

    def waits(self) -> bool:
        """Somebody has met what hangs."""
        return Path(f"{self._word}.waits").exists()

    def heal(self) -> None:
        self._word.unlink(missing_ok=True)

    def close(self) -> None:
        self.heal()
        subprocess.run(["umount", "-l", self.mount], check=False)
        self.process.wait(20)


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[Hanging]:
    found = Hanging(tmp_path / "fs")
    yield found
    found.close()


@pytest.fixture
def grounds(tmp_path: Path) -> Iterator[list[Ground]]:
    """Grounds that the test makes; nothing of them is left."""
    made: list[Ground] = []
    yield made
    for each in made:
        each.close()


def test_a_root_that_hangs_stalls_nobody_and_holds_up_nobody(
    tmp_path: Path, hanging: Hanging, grounds: list[Ground]
) -> None:
    """The file server of `{out_dir}` did not answer for minutes: each `stat` hung, the loop with it, and when it was
    over every healthy run had been ended as stalled."""
    ground = Ground(tmp_path / "g", root=hanging.mount / "root")
    ground.env["OVERNIGHT_STATE"] = str(tmp_path / "state")
    grounds.append(ground)
    speaks = "{ i=$((i+1)); echo iter $i: loss 1; echo $0 >> spoken; }"
    script = f"i=0; while [ ! -e go ]; do [ -e hush ] || {speaks}; sleep 0.1; done"
    words = [
        "--slots",
        2,
        "--set",
        "limits.heartbeat=3s",
        "--set",
        "limits.progress=3s",
        "--set",
        "retry.max_attempts=1",
    ]
    rows = ground.file("rows.csv", "n\n1\n2\n")
    campaign = ground.launch(*words, "--runs", rows, "--", "sh", "-c", script, "{n}")
    await_that(lambda: ground.status(campaign)["counts"].get("running") == 2)
    await_that(lambda: all(run["progress"] for run in ground.status(campaign)["runs"]))
    hanging.hang("/campaigns/")
    hushed = ground.file("hush", "")  # now only a look at `{out_dir}` could tell, and it hangs
    pid, beat, until = ground.supervisor(), ground.holder["beat"], time.monotonic() + 9.0
    await_that(lambda: time.monotonic() > until)
    await_that(lambda: ground.holder.get("beat", 0) > beat + 10)  # it turns, and looks at what it can look at
    document = ground.status(campaign)  # from the store, which does not hang
    assert document["counts"] == {"running": 2} and ground.supervisor() == pid
    spoken = len(lines(ground.work / "spoken"))
    hushed.unlink()
    await_that(lambda: len(set(lines(ground.work / "spoken")[spoken:])) == 2)  # before they can be looked at again
    hanging.heal()
    ground.file("go", "")
    await_that(lambda: ground.status(campaign)["counts"] == {"succeeded": 2}, 60)
    attempts = [ground.summary(campaign, run["run_id"])["attempts"] for run in ground.status(campaign)["runs"]]
    assert [len(each) for each in attempts] == [1, 1]


def test_a_root_that_hangs_at_a_launch_holds_up_nobody_else(
    tmp_path: Path, hanging: Hanging, grounds: list[Ground]
) -> None:
    """The file server stopped answering in the second in which somebody launched: the loop slept in it with the new
    manifest, its successors did so too, and nobody's limit was kept."""
    ground = Ground(tmp_path / "g", root=hanging.mount / "root")
    ground.env["OVERNIGHT_STATE"] = str(tmp_path / "state")
    grounds.append(ground)
    limits = ["--set", "limits.timeout=9s", "--set", "limits.grace=1s", "--set", "retry.max_attempts=1"]
    long = ground.launch("--name", "long", "--", "sh", "-c", "while [ ! -e go ]; do sleep 0.1; done")
    late = ground.launch("--name", "late", *limits, "--", "sleep", "97531")
    await_that(lambda: ground.counts(late).get("running") == ground.counts(long).get("running") == 1)
    pid = ground.supervisor()
    hanging.hang("manifest.json")
    launching = ground.start("launch", "--json", "--name", "new", "--", "true")
    await_that(hanging.waits)
    await_that(lambda: not any(_says(pid, "sleep\x0097531") for pid in _pids()), 30)
    ground.overnight("pause", long)
    beat = ground.holder["beat"]
    await_that(lambda: ground.holder.get("beat", 0) > beat + 3)
    assert ground.supervisor() == pid and launching.process.poll() is None
    hanging.heal()
    new = launching.answer().document["campaign"]
    ground.file("go", "")
    done = {"succeeded": 1}
    await_that(lambda: ground.counts(new) == ground.counts(long) == done and ground.counts(late) == {"failed": 1}, 60)


def test_a_supervisor_comes_up_although_its_root_hangs(tmp_path: Path, hanging: Hanging, grounds: list[Ground]) -> None:
    """The supervisor died while the file server was down: none came up, nothing was watched, and every command that
    somebody typed, for whatever root, slept where Ctrl-C does not reach."""
    ground = Ground(tmp_path / "g", root=hanging.mount / "root")
    ground.env["OVERNIGHT_STATE"] = str(tmp_path / "state")
    other = Ground(tmp_path / "o")
    other.env["XDG_STATE_HOME"] = ground.env["XDG_STATE_HOME"]  # one person's
    grounds += [ground, other]
    rows = ground.file("rows.csv", "n\n1\n2\n")
    script = "while [ ! -e go ]; do sleep 0.1; done"
    slow = ["--set", "limits.timeout=20s", "--set", "limits.grace=1s"]
    fine = other.launch("--name", "fine", "--", "true")
    campaign = ground.launch("--slots", 2, "--runs", rows, "--", "sh", "-c", script, "{n}")
    late = ground.launch("--name", "late", *slow, "--", "sleep", "98765")
    await_that(lambda: ground.counts(campaign).get("running") == 2 and ground.counts(late).get("running") == 1)
    old, term = ground.supervisor(), ground.holder["term"]
    os.kill(old, signal.SIGSTOP)
    await_that(lambda: _rests(old))  # a thread of it that sleeps in the file system could not even be killed
    hanging.hang("/")
    os.kill(old, signal.SIGKILL)
    ground.in_control(term, turns=3)
    said = ground.overnight("status", campaign, "--root", ground.root, code=4).err
    assert "does not answer" in said and str(hanging.mount) in said
    assert fine in other.overnight("status", fine).out
    listed = other.overnight("status", env={k: v for k, v in other.env.items() if k != "OVERNIGHT_ROOT"})
    assert fine in listed.out and f"{hanging.mount} is left out: its file system hangs" in listed.err
    await_that(lambda: not any(_says(pid, "sleep\x0098765") for pid in _pids()), 30)  # its limits hold all the same
    hanging.heal()
    ground.file("go", "")
    await_that(lambda: ground.counts(campaign) == {"succeeded": 2} and ground.counts(late) == {"failed": 1}, 60)
    assert [run["attempts"] for run in ground.status(campaign)["runs"]] == [1, 1]


def test_a_process_that_cannot_be_killed_keeps_its_slot_and_nothing_else(
    tmp_path: Path, hanging: Hanging, grounds: list[Ground]
) -> None:
    """State D in a dead file system: KILL does nothing, and the run's second attempt wrote beside the first."""
    ground = Ground(tmp_path / "g")
    grounds.append(ground)
    (hanging.below / "data").write_text("x" * 100)
    hanging.hang("/data")
    rows = ground.file("rows.csv", f"run_id,what\nstuck,cat {hanging.mount}/data\nfine,sleep 0.1\nalso,sleep 0.1\n")
    words = [
        "--slots",
        2,
        "--set",
        "limits.attempt_timeout=2s",
        "--set",
        "limits.grace=1s",
        "--set",
        "retry.max_attempts=2",
    ]
    campaign = ground.launch(*words, "--runs", rows, "--", "sh", "-c", "echo begun >> told; exec $0", "{what}")

    def stuck() -> dict[str, object]:
        return next(run for run in ground.status(campaign)["runs"] if run["run_id"] == "stuck")

    await_that(lambda: stuck().get("attempt_state") == "lost", 60)
    await_that(lambda: ground.status(campaign)["counts"] == {"running": 1, "succeeded": 2})
    why = ground.overnight("why", campaign, "stuck").out
    assert "will not end" in why
    (pid,) = [p for p in _pids() if _says(p, f"{hanging.mount}/data") and _state(p) == "D"]
    assert alive(pid)
    other = ground.launch("--name", "other", "--", "true")  # a slot that is busy is nobody else's
    await_that(lambda: ground.counts(other) == {"succeeded": 1})
    assert ground.summary(other, "run-1")["attempts"][0]["slot"] != stuck()["slot"]
    os.kill(ground.supervisor(), signal.SIGKILL)  # its successor knows no better, and does no worse
    ground.in_control(1)
    assert stuck()["attempts"] == 1
    hanging.heal()
    await_that(lambda: ground.counts(campaign).get("failed") == 1, 60)
    summary = ground.summary(campaign, "stuck")
    assert summary["failure"]["class"] == "timeout.attempt"
    assert lines(ground.work / "told") == ["begun"] * 3


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _says(pid: int, text: str) -> bool:
    try:
        return text in Path(f"/proc/{pid}/cmdline").read_text()
    except (OSError, UnicodeDecodeError):
        return False


def _state(pid: int, of: str = "") -> str:
    try:
        return Path(f"/proc/{pid}/{of}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _rests(pid: int) -> bool:
    """Whether all threads of a process that was told to stop have come to it."""
    return {_state(pid, f"task/{thread}") for thread in os.listdir(f"/proc/{pid}/task")} == {"T"}


def test_a_state_that_goes_read_only_still_ends_what_is_over_its_limit(tmp_path: Path, grounds: list[Ground]) -> None:
    """The disk reported an error at 3 a.m. and ext4 went read-only: the supervisor died with every commit, and what
    it watched ran on without limits. It goes on watching, says what is wrong, and starts nothing."""
    image, mount = tmp_path / "image", tmp_path / "state"
    mount.mkdir()
    image.write_bytes(b"")
    os.truncate(image, 96 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop,errors=remount-ro", image, mount], check=True)
    device = subprocess.run(
        ["findmnt", "-no", "SOURCE", mount], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        ground = Ground(tmp_path / "g")
        ground.env["OVERNIGHT_STATE"] = str(mount / "state")
        grounds.append(ground)
        rows = ground.file("rows.csv", "n\n1\n2\n3\n")
        script = "echo $$ >> pids; trap '' TERM; while :; do sleep 0.1; done"
        words = ["--slots", 2, "--set", "limits.attempt_timeout=8s", "--set", "limits.grace=1s"]
        campaign = ground.launch(*words, "--runs", rows, "--", "sh", "-c", script, "{n}")
        await_that(lambda: len(lines(ground.work / "pids")) == 2)
        Path("/sys/fs/ext4", os.path.basename(device), "trigger_fs_error").write_text("staged")
        await_that(lambda: not any(alive(int(pid)) for pid in lines(ground.work / "pids")), 40)
        lock = json.loads((mount / "state" / "lock").read_text().strip("\0 \n"))
        assert alive(lock["pid"])
        report = ground.overnight("status", campaign, "--json").document
        assert report["supervisor"]["alive"] and "read-only" in report["supervisor"]["problem"]
        assert report["needs"][0]["what"] == "the supervisor cannot write its state"
        assert len(lines(ground.work / "pids")) == 2  # the third is not begun
        refused = ground.overnight("launch", "--name", "other", "--", "true", code=None)
        assert refused.code in (2, 4) and "Traceback" not in refused.err
    finally:
        for each in grounds:
            each.close()
        grounds.clear()
        subprocess.run(["umount", "-l", mount], check=False)
