"""What is written when a run has ended: inventory, summary, attempt.json; and what a retry sets aside."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from overnight.artifacts import inventory, layout, missing_artifacts
from overnight.artifacts.files import CampaignFiles
from overnight.artifacts.inventory import write_inventory
from overnight.artifacts.publish import publish_attempt
from overnight.model.campaign import Campaign
from overnight.model.classes import Classification, Evidence
from overnight.model.codec import replace
from overnight.model.manifest import RunSpec
from overnight.model.policy import Policy, Resources, RowPolicy
from overnight.model.run import Attempt, ExitRecord, Run, Slot, Vitals
from overnight.model.states import AttemptState, CampaignState, EndedBy, RunState
from overnight.model.time import Moment
from overnight.ports import FinishOrder

NIGHT = 1_772_323_200.0  # 2026-03-01T00:00:00Z
CAMPAIGN = Campaign("bat-1", "bat", "ab12", Moment(0, NIGHT), Policy(resources=Resources(gpus=2)), "/work")
SLOT = Slot("gpu:0,1", ("gpu-0", "gpu-1"), ("0", "1"))


def attempt_of(n: int, **changes: Any) -> Attempt:
    start = NIGHT + 4000 * (n - 1)
    base = Attempt(
        n, 1, AttemptState.ENDED, 1, SLOT, Moment(0, start), code="c0de",
        started=Moment(0, start), ended=Moment(0, start + 3600), exit=ExitRecord(code=0, raw=0, seconds=3600.0),
        vitals=Vitals(started_moving=True, step=n * 100.0, total=500.0), classification=Classification(),
    )  # fmt: skip
    return replace(base, **changes)


STALLED = attempt_of(
    1, stop=EndedBy.STALL, exit=ExitRecord(signal="SIGKILL", raw=9, seconds=1800.0, stopped="request"),
    classification=Classification("stall.output", "supervisor-stall"),
)  # fmt: skip
GOOD = attempt_of(2, resume_from="/x/ckpt.pt")


def run_of(state: RunState, *attempts: Attempt, **changes: Any) -> Run:
    run = Run("bat-1", "bat-s0", 0, state, attempts=attempts, changed=Moment(0, NIGHT + 7600))
    return replace(run, **changes)


class Disk:
    """A root with one run on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = CampaignFiles(root, root / ".state")
        self.run_dir = Path(layout.run_dir(str(root), "bat-1", "bat-s0"))
        self.out = self.run_dir / "out"
        self.out.mkdir(parents=True)
        for n in (1, 2):
            (self.run_dir / "attempts" / str(n)).mkdir(parents=True)

    def finish(self, run: Run) -> dict[str, Any]:
        spec = RunSpec("bat-s0", {"seed": "0", "note": "é"})
        self.files.finish(FinishOrder(run, spec, CAMPAIGN, str(self.run_dir)))
        document: dict[str, Any] = json.loads((self.run_dir / "summary.json").read_bytes())
        return document

    def inventory(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.run_dir / "inventory.jsonl").read_bytes().splitlines()]


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def test_summary_of_a_success(disk: Disk) -> None:
    """People's scripts read these names; a changed one breaks every morning's table."""
    (disk.run_dir / "attempts" / "1" / "evidence").mkdir()
    for name in ("stacks-7.txt", "tail.txt.tmp"):
        (disk.run_dir / "attempts" / "1" / "evidence" / name).touch()
    good = replace(GOOD, vitals=replace(GOOD.vitals, metrics={"val_loss": 3.28, "bad": float("nan")}))
    document = disk.finish(run_of(RunState.SUCCEEDED, STALLED, good, flags=("underused",)))
    assert document == {
        "schema": 1,
        "campaign": "bat-1",
        "manifest_sha256": "ab12",
        "run_id": "bat-s0",
        "params": {"seed": "0", "note": "é"},
        "final": True,
        "ok": True,
        "state": "succeeded",
        "exit_code": 0,
        "signal": None,
        "flags": ["underused"],
        "failure": None,
        "words": "",
        "attempts": [
            {
                "n": 1, "epoch": 1, "revision": 1, "code": "c0de", "class": "stall.output", "exit_code": None,
                "signal": "SIGKILL", "ended_by": "stall", "started_at": "2026-03-01T00:00:00.000Z",
                "ended_at": "2026-03-01T01:00:00.000Z", "seconds": 1800.0, "slot": "gpu:0,1", "resumed_from": None,
                "evidence": ["stacks-7.txt"],
            },
            {
                "n": 2, "epoch": 1, "revision": 1, "code": "c0de", "class": None, "exit_code": 0, "signal": None,
                "ended_by": "itself", "started_at": "2026-03-01T01:06:40.000Z", "ended_at": "2026-03-01T02:06:40.000Z",
                "seconds": 3600.0, "slot": "gpu:0,1", "resumed_from": "/x/ckpt.pt",
                "evidence": [],
            },
        ],
        "progress": {"step": 200.0, "total": 500.0},
        "metrics": {"val_loss": 3.28},
        "gates": {},
        "started_at": "2026-03-01T00:00:00.000Z",
        "ended_at": "2026-03-01T02:06:40.000Z",
        "seconds": 5400.0,
        "gpu_hours": {"useful": 3.0, "lost": 0.0},
    }  # fmt: skip
    own = json.loads((disk.run_dir / "attempts" / "1" / "attempt.json").read_bytes())
    assert (own["run_id"], own["n"], own["failure"]["class"]) == ("bat-s0", 1, "stall.output")


def test_summary_of_a_failure(disk: Disk) -> None:
    """A failure without its class and the line that proves it is a morning of reading logs."""
    found = Classification(
        "oom.gpu", "torch-cuda-oom", "out of memory",
        Evidence("attempts/1/output.log", 812, "CUDA \udcff out"), ("nccl.timeout",),
    )  # fmt: skip
    failed = attempt_of(1, exit=ExitRecord(code=1, raw=256, seconds=60.0), classification=found)
    document = disk.finish(run_of(RunState.FAILED, failed, failure=found))
    assert (document["ok"], document["state"], document["exit_code"]) == (False, "failed", 1)
    assert document["failure"] == {
        "class": "oom.gpu",
        "transient": False,
        "rule": "torch-cuda-oom",
        "message": "out of memory",
        "evidence": {"file": "attempts/1/output.log", "line": 812, "text": "CUDA \udcff out"},
        "consequences": ["nccl.timeout"],
    }


def test_a_run_cancelled_before_its_first_start(tmp_path: Path) -> None:
    """It has no directory yet, and still must have a summary that says what became of it."""
    files = CampaignFiles(tmp_path, tmp_path / ".state")
    run_dir = layout.run_dir(str(tmp_path), "bat-1", "bat-s0")
    order = FinishOrder(run_of(RunState.CANCELLED, words="a person asked"), RunSpec("bat-s0", {}), CAMPAIGN, run_dir)
    files.finish(order)
    files.finish(order)
    document = json.loads(Path(run_dir, "summary.json").read_bytes())
    assert (document["state"], document["failure"]["class"], document["attempts"]) == ("cancelled", "cancelled", [])
    assert document["started_at"] is None


@pytest.mark.parametrize(
    ("state", "attempts", "useful", "lost"),
    [
        (RunState.FAILED, (STALLED, GOOD), 0.0, 3.0),
        (RunState.SUCCEEDED, (STALLED, GOOD), 3.0, 0.0),
        (RunState.SUCCEEDED, (STALLED, replace(GOOD, resume_from=None)), 2.0, 1.0),
        (RunState.SUCCEEDED, (replace(STALLED, never_began=True), GOOD), 2.0, 0.0),
    ],
)
def test_gpu_hours(disk: Disk, state: RunState, attempts: tuple[Attempt, ...], useful: float, lost: float) -> None:
    """Hours whose work was thrown away were counted as useful."""
    assert disk.finish(run_of(state, *attempts))["gpu_hours"] == {"useful": useful, "lost": lost}


def test_half_a_gpu_counts_half(disk: Disk) -> None:
    """Two runs that share a GPU cannot use two GPU-hours an hour."""
    shared = replace(GOOD, slot=Slot("gpu:0", ("gpu-0",), ("0",)))
    document = disk.finish(run_of(RunState.SUCCEEDED, shared, policy=RowPolicy(gpus=0.5)))
    assert document["gpu_hours"] == {"useful": 0.5, "lost": 0.0}


def test_inventory(disk: Disk) -> None:
    """A fetch is proven against these lines: what is missing here can be lost without anybody noticing."""
    (disk.out / "b").mkdir()
    (disk.out / "b" / "z.bin").write_bytes(b"z" * 3_000_000)
    (disk.out / "b.txt").write_bytes(b"")
    (disk.out / "b-1").write_bytes(b"1")
    os.symlink("/etc/passwd", disk.out / "link")
    os.symlink("b", disk.out / "folder-link")
    os.mkfifo(disk.out / "pipe")  # opening it would wait for ever
    os.utime(disk.out / "b.txt", (NIGHT, NIGHT))
    Path(os.fsdecode(os.fsencode(disk.out) + b"/n\xffme\n")).write_bytes(b"x")
    disk.finish(run_of(RunState.SUCCEEDED, GOOD))
    entries = disk.inventory()
    paths = [os.fsencode(entry["path"]) for entry in entries]
    assert paths == sorted(paths)
    found = {entry["path"]: entry for entry in entries}
    assert found["out/b/z.bin"]["sha256"] == hashlib.sha256(b"z" * 3_000_000).hexdigest()
    empty = {
        "path": "out/b.txt",
        "size": 0,
        "sha256": hashlib.sha256().hexdigest(),
        "mtime": "2026-03-01T00:00:00.000Z",
    }
    assert found["out/b.txt"] == empty
    assert (found["out/link"]["link"], found["out/link"]["sha256"]) == ("/etc/passwd", None)
    assert found["out/folder-link"]["link"] == "b"
    assert found["out/pipe"]["error"] == "not a plain file"
    assert found["out/n\udcffme\n"]["size"] == 1
    assert len(entries) == 7
    assert os.listdir(disk.run_dir).count("inventory.jsonl") == 1
    assert not [name for name in os.listdir(disk.run_dir) if name.endswith(".tmp")]


def test_a_file_that_changes_while_it_is_read(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A digest of half an old and half a new file proves nothing."""
    file = disk.out / "growing"
    file.write_bytes(b"a")
    real = os.read
    times = 3  # two reads a pass: the second pass sees a change too

    def meanwhile(fd: int, size: int) -> bytes:
        nonlocal times
        if times and os.readlink(f"/proc/self/fd/{fd}") == str(file):
            times -= 1
            os.utime(file, (times, times))
        return real(fd, size)

    monkeypatch.setattr(inventory.os, "read", meanwhile)
    write_inventory(str(disk.run_dir))
    (entry,) = disk.inventory()
    assert (entry["sha256"], entry["error"]) == (None, "changed while it was read")
    times = 1
    write_inventory(str(disk.run_dir))
    (entry,) = disk.inventory()
    assert entry["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert "error" not in entry


def test_the_inventory_is_bounded_in_time(disk: Disk) -> None:
    """Terabytes of checkpoints must not keep a run's summary from being written."""
    (disk.out / "huge").write_bytes(b"x")
    write_inventory(str(disk.run_dir), seconds=-1)
    (entry,) = disk.inventory()
    assert (entry["size"], entry["sha256"], entry["error"]) == (1, None, "not hashed in time")


def test_finishing_twice_is_harmless(disk: Disk) -> None:
    """The supervisor was killed between the files and its word that they are written."""
    (disk.out / "a").write_bytes(b"a")
    run = run_of(RunState.SUCCEEDED, STALLED, GOOD)
    first = disk.finish(run)
    before = (disk.run_dir / "inventory.jsonl").read_bytes()
    assert disk.finish(run) == first
    assert (disk.run_dir / "inventory.jsonl").read_bytes() == before


def test_a_retry_sets_the_old_summary_aside(disk: Disk) -> None:
    """A stale summary satisfied the morning's script while the retry was still running."""
    disk.finish(run_of(RunState.SUCCEEDED, GOOD))
    (disk.out / "ckpt.pt").write_bytes(b"x")
    for _ in range(2):
        disk.files.set_aside(str(disk.run_dir), 1, scratch=False)
    names = os.listdir(disk.run_dir)
    assert {"summary.1.json", "inventory.1.jsonl"} <= set(names)
    assert "summary.json" not in names
    assert (disk.out / "ckpt.pt").exists()


def test_from_scratch_keeps_the_old_output_apart(disk: Disk) -> None:
    """`--scratch` done twice (a crash between) moved the new attempt's output away."""
    (disk.out / "old").write_bytes(b"x")
    disk.files.set_aside(str(disk.run_dir), 1, scratch=True)
    assert os.listdir(disk.run_dir / "out.1") == ["old"]
    assert os.listdir(disk.out) == []
    (disk.out / "new").write_bytes(b"x")
    disk.files.set_aside(str(disk.run_dir), 1, scratch=True)
    assert os.listdir(disk.out) == ["new"]


def test_setting_aside_a_run_that_never_started(tmp_path: Path) -> None:
    """A cancelled run without a directory is retried like any other."""
    files = CampaignFiles(tmp_path, tmp_path / ".state")
    files.set_aside(str(tmp_path / "none"), 1, scratch=True)
    assert os.listdir(tmp_path / "none") == ["out"]


def test_missing_artifacts(tmp_path: Path) -> None:
    """A run that exited 0 without its results was reported as done."""
    (tmp_path / "empty.csv").touch()
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.pt").touch()
    (tmp_path / "nothing").mkdir()
    (tmp_path / "x[1].txt").touch()
    (tmp_path / "dangling").symlink_to("gone")
    (tmp_path / "linked").symlink_to("empty.csv")
    there = ["empty.csv", "a/*/c.pt", "**/*.pt", "a", "x[1].txt", "linked"]
    missing = ["summary.csv", "*.json", "nothing", "dangling", "empty.csv/x"]
    assert missing_artifacts(str(tmp_path), [*there, *missing]) == missing
    assert missing_artifacts(str(tmp_path / "none"), ["a"]) == ["a"]


def test_an_unreadable_out_dir_is_unknown_not_missing(tmp_path: Path) -> None:
    """A stale mount made finished runs fail for artifacts that were there."""
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(OSError, match="symbolic links"):
        missing_artifacts(str(loop), ["a"])


def test_attempts_are_published_whole(tmp_path: Path) -> None:
    """A copy cut short by a kill looked like the whole attempt."""
    source, target = tmp_path / "state" / "1", tmp_path / "root" / "attempts" / "1"
    (source / "evidence").mkdir(parents=True)
    (source / "output.log").write_text("all of it")
    (source / "evidence" / "tail.txt").write_text("x")
    half = target.parent / ".1.tmp"  # what a killed copy left
    half.mkdir(parents=True)
    (half / "output.log").write_text("half")
    assert publish_attempt(str(source), str(target))
    assert (target / "output.log").read_text() == "all of it"
    assert (target / "evidence" / "tail.txt").exists()
    assert not source.exists()
    assert not half.exists()
    assert publish_attempt(str(source), str(target))
    assert not publish_attempt(str(tmp_path / "no"), str(tmp_path / "never"))


def test_finish_publishes_from_a_root_that_is_not_local(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """On NFS the attempts live in the state directory; the root must have them in the morning."""
    monkeypatch.setattr("overnight.artifacts.roots.is_local", lambda path: False)
    files = CampaignFiles(disk.root, disk.root / ".state")
    source = Path(files.layout.attempt_dir("bat-1", "bat-s0", 3))
    assert source.is_relative_to(disk.root / ".state" / "attempts")
    source.mkdir(parents=True)
    (source / "output.log").write_text("x")
    run = run_of(RunState.SUCCEEDED, attempt_of(3))
    for _ in range(2):
        files.finish(FinishOrder(run, RunSpec("bat-s0", {}), CAMPAIGN, str(disk.run_dir)))
        published = Path(files.layout.published_dir("bat-1", "bat-s0", 3))
        assert sorted(os.listdir(published)) == ["attempt.json", "output.log"]


def test_campaign_json(disk: Disk) -> None:
    """Tools poll it: always whole, and no zero counts."""
    campaign = replace(CAMPAIGN, state=CampaignState.FAILED, counts={"failed": 2, "running": 0}, runs_total=2)
    disk.files.write_campaign(campaign)
    document = json.loads((disk.root / "campaigns" / "bat-1" / "campaign.json").read_bytes())
    assert (document["state"], document["counts"], document["runs_total"]) == ("failed", {"failed": 2}, 2)
    assert document["created_at"] == "2026-03-01T00:00:00.000Z"
