"""What is known of an end beside its output: each kind of evidence, through a real supervisor, to the summary."""

import json
from typing import Any

import pytest
from campaign_world import Ground, ground

__all__ = ["ground"]

# What torchrun does with its variables, without torch: two workers, of which the second raises.
TORCHRUN = """
import json, os, pathlib, sys, time
said = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:"
def reply(path, stamp, words):
    stack = "Traceback (most recent call last):\\n  File 'train.py', line 7, in main\\n" + words + "\\n"
    extra = {"py_callstack": stack, "timestamp": str(stamp)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"message": {"message": words, "extraInfo": extra}}))
logs = pathlib.Path(os.environ["PET_LOG_DIR"]) / "none_x8k2"
for kind in sys.argv[1:]:
    if kind == "replies":
        reply(logs / "attempt_0/0/error.json", 50, "torch.OutOfMemoryError: CUDA out of memory. Tried")
        reply(logs / "attempt_1/0/error.json", 200, "RuntimeError: Connection closed by peer [10.0.0.7]:2411")
        reply(logs / "attempt_1/1/error.json", 100, "ModuleNotFoundError: No module named 'flash_attn'")
    if kind == "own":
        reply(pathlib.Path(os.environ["TORCHELASTIC_ERROR_FILE"]), 100, "KeyError: 'lr'")
    if kind == "redirected":
        (logs / "attempt_0/1").mkdir(parents=True)
        (logs / "attempt_0/1/stderr.log").write_text("step 1\\nOSError: [Errno 28] No space left on device\\n")
print(said, file=sys.stderr)
sys.exit(1)
"""
ELSEWHERE = 'env = { TORCHELASTIC_ERROR_FILE = "{out_dir}/mine.json", PET_LOG_DIR = "{out_dir}/mine" }\n'


def _failure(ground: Ground, campaign: str, run: str = "r0") -> dict[str, Any]:
    found: dict[str, Any] = ground.summary(campaign, run)["failure"]
    return found


@pytest.mark.parametrize(
    ("kinds", "name", "file"),
    [
        ("own", "code", "attempts/1/torchelastic-error.json"),
        ("replies", "import", "attempts/1/torchelastic/none_x8k2/attempt_1/1/error.json"),
        ("redirected", "disk.full", "attempts/1/torchelastic/none_x8k2/attempt_0/1/stderr.log"),
    ],
)
def test_what_torchruns_workers_left_gives_the_class(ground: Ground, kinds: str, name: str, file: str) -> None:
    """The launcher's output said that a child had failed; why stood in files below /tmp that nobody looked at."""
    ground.file("torchrun.py", TORCHRUN)
    campaign = ground.launch("--wait", "--set", "retry.max_attempts=1", "--name", kinds, "--", "python3",
                             "torchrun.py", kinds, code=1)  # fmt: skip
    run = ground.status(campaign)["runs"][0]["run_id"]
    failure = _failure(ground, campaign, run)
    assert (failure["class"], failure["evidence"]["file"]) == (name, file)
    assert run and ground.status(campaign)["failures"] == {name: 1}


def test_ones_own_setting_is_respected_and_read(ground: Ground) -> None:
    """A team's collector watched its own file; ours took its place, and the collector saw nothing."""
    ground.file("torchrun.py", TORCHRUN)
    file = ground.file(
        "c.toml",
        'name = "own"\ncommand = ["python3", "torchrun.py", "{kind}"]\n' + ELSEWHERE
        + '[[run]]\nrun_id = "r0"\nkind = "own"\n[[run]]\nrun_id = "r1"\nkind = "replies"\n'
        + '[failures]\nlogs = ["mine/**/error.json"]\n[retry]\nmax_attempts = 1\n',
    )  # fmt: skip
    campaign = ground.launch(file, "--wait", "--slots", 2, code=1)
    mine = _failure(ground, campaign, "r0")
    assert (mine["class"], mine["evidence"]["file"]) == ("code", str(ground.out(campaign, "r0") / "mine.json"))
    named = _failure(ground, campaign, "r1")
    assert named["evidence"]["file"].startswith("out/mine/none_x8k2/attempt_")
    assert not (ground.attempt(campaign, "r0") / "torchelastic-error.json").exists()


def test_the_shells_own_setting_is_respected(ground: Ground) -> None:
    """What a site's profile exports for torchrun was silently replaced."""
    env = ground.env | {"TORCHELASTIC_ERROR_FILE": "/site/error.json", "PET_LOG_DIR": "/site/logs"}
    words = 'echo "$TORCHELASTIC_ERROR_FILE $PET_LOG_DIR"'
    campaign = ground.launch("--wait", "--name", "site", "--", "sh", "-c", words, env=env)
    run = ground.status(campaign)["runs"][0]["run_id"]
    assert (ground.attempt(campaign, run) / "output.log").read_text() == "/site/error.json /site/logs\n"


def _that_fail(name: str, *runs: str) -> str:
    """A campaign file of scripted runs that end with exit code 1 unless a rule, added behind it, says otherwise."""
    rows = "".join(f'[[run]]\nrun_id = "{run}"\n' for run in runs)
    return (
        f'name = "{name}"\ncommand = ["train"]\nexecutor = "fake"\n{rows}[retry]\nbackoff = {{ first = "100ms" }}\n'
        "[fake]\nseconds = 0.2\nexit_code = 1\n"
    )


SCHEDULED = """
[[fake.rule]]
run = "memory"
scheduler = "OUT_OF_MEMORY"
output = [[0.1, "RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed."]]
[[fake.rule]]
run = "limit"
scheduler = "TIMEOUT"
exit_code = 0
[[fake.rule]]
run = "gone"
scheduler = "NODE_FAIL"
vanishes_at = 0.1
attempt = 1
[[fake.rule]]
run = "gone"
attempt = 2
exit_code = 0
[[fake.rule]]
run = "cancelled"
scheduler = "CANCELLED by 1000"
[[fake.rule]]
run = "taken"
scheduler = "PREEMPTED"
attempt = [1, 2]
[[fake.rule]]
run = "taken"
attempt = 3
exit_code = 0
"""


def test_a_batch_systems_word_outranks_the_programs(ground: Ground) -> None:
    """A job over its time limit exited 0 from its signal handler, and was a success; one whose node died was
    `unknown`, and used up its attempts."""
    file = ground.file("c.toml", _that_fail("batch", "memory", "limit", "gone", "cancelled", "taken") + SCHEDULED)
    campaign = ground.launch(file, "--wait", "--slots", 5, code=1)
    runs = {run["run_id"]: run for run in ground.status(campaign)["runs"]}
    assert {name: (run["state"], run["class"]) for name, run in runs.items()} == {
        "memory": ("failed", "oom.host"),
        "limit": ("failed", "timeout.host"),
        "gone": ("succeeded", None),
        "cancelled": ("cancelled", None),
        "taken": ("succeeded", None),
    }
    memory = ground.summary(campaign, "memory")
    assert [attempt["class"] for attempt in memory["attempts"]] == [
        "oom.host",
        "oom.host",
    ]  # once more, as its class says
    assert [a["class"] for a in ground.summary(campaign, "gone")["attempts"]] == ["node.lost", None]
    assert [a["class"] for a in ground.summary(campaign, "taken")["attempts"]] == ["preempted", "preempted", None]
    document = json.loads((ground.attempt(campaign, "limit") / "attempt.json").read_text())
    assert (document["scheduler"], document["failure"]["rule"]) == ("TIMEOUT", "scheduler-state")
    assert "the scheduler's word: TIMEOUT" in ground.overnight("why", campaign, "limit").out
    report = ground.overnight("report", "--by", "class", "--json").document
    assert {line["name"]: line["attempts"] for line in report["lines"]} == {
        "oom.host": 2, "preempted": 2, "node.lost": 1, "timeout.host": 1,
    }  # fmt: skip


NEIGHBOUR = """
output = [[0.1, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of \
79.11 GiB. Including non-PyTorch memory, this process has 78.00 GiB memory in use."]]
[[fake.rule]]
run = "beside"
output = [[0.1, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. Process 77 has 60.00 GiB \
memory in use. Including non-PyTorch memory, this process has 18.00 GiB memory in use."]]
"""


def test_a_gpu_that_somebody_else_fills_is_tried_once_more(ground: Ground) -> None:
    """Whether memory is too small or taken is the difference between never and once."""
    file = ground.file("c.toml", _that_fail("shared", "alone", "beside") + NEIGHBOUR)
    campaign = ground.launch(file, "--wait", code=1)
    attempts = {run: ground.summary(campaign, run)["attempts"] for run in ("alone", "beside")}
    assert {run: [a["class"] for a in each] for run, each in attempts.items()} == {
        "alone": ["oom.gpu"], "beside": ["oom.gpu", "oom.gpu"],
    }  # fmt: skip
    assert ground.summary(campaign, "beside")["flags"] == ["gpu.shared"]
