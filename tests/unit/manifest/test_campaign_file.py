"""Campaign files: what they come to."""

from pathlib import Path

import pytest
from manifest_reading import Launch

from overnight.model.policy import AUTO, DAY

TRAIN = ["python3", "train.py", "{config}", "out_dir={out_dir}", "seed={seed}", "{overrides...}"]
SWEEP = (
    "run_id,config,seed,overrides,notes\n"
    "bat-base-s0,config/base.py,0,max_iters=20 eval_iters=5,bat\n"
    "bat-hc-s0,config/hc.py,0,,bat\n"
)
RUN = 'command = ["python", "{x}", "{out_dir}"]\n[[run]]\nx = 1\n'


def test_a_sweep_from_the_command_line(launch: Launch) -> None:
    """The sheet that a group already has must run as it is, empty override cells and notes included."""
    frozen = launch(csv=SWEEP, command=TRAIN)
    assert frozen.manifest.name == "rows"
    assert [run.run_id for run in frozen.runs] == ["bat-base-s0", "bat-hc-s0"]
    assert frozen.runs[1].params == {"config": "config/hc.py", "seed": "0", "overrides": "", "notes": "bat"}
    assert frozen.manifest.rows[0].values == {
        "config": "config/base.py", "seed": "0", "overrides": "max_iters=20 eval_iters=5",
    }  # fmt: skip
    assert frozen.warnings == ()


def test_defaults_bound_every_run(launch: Launch) -> None:
    """A file that says nothing of limits once meant runs without any."""
    policy = launch(RUN).policy
    assert (policy.limits.timeout, policy.limits.attempt_timeout, policy.limits.startup) == (DAY, DAY, 3600)
    assert (policy.limits.heartbeat, policy.limits.progress, policy.limits.grace) == (AUTO, AUTO, 30)
    assert policy.retry.max_attempts == 4 and not policy.fail_fast and policy.executor == "local"


def test_every_key_is_read(launch: Launch, tmp_path: Path) -> None:
    """A key that is accepted and not obeyed is worse than one that is refused."""
    (tmp_path / "code").mkdir()
    text = r"""
name = "bat"
command = "python train.py {x}"
fail_fast = true
cwd = "code"
executor = "fake"
[resources]
gpus = 0.5
slots = 3
[limits]
timeout = "48h"
startup = "none"
heartbeat = "15m"
progress = "none"
grace = "1m"
[progress]
pattern = 'iter (?P<step>\d+)'
[checkpoint]
path = "{out_dir}/{x}/ckpt.pt"
complete = "done.json"
resume = ["init_from={checkpoint}"]
[retry]
max_attempts = 7
outage = "3h"
backoff = { first = "1s", factor = 3, max = "5s", jitter = 0 }
[retry.class]
"nccl.*" = 0
oom.gpu = 1
[env]
HF_HOME = "/mnt/hf"
SEED = 3
[artifacts]
required = ["summary.csv", "{out_dir}/./a/b.csv"]
exclude = ["*.pt"]
[results]
file = "{out_dir}/./eval/summary.csv"
[code]
on_change = "hold"
[fake]
seconds = 1.5
[[run]]
x = 1e-4
"@gpus" = 1
"@timeout" = "none"
"@priority" = -2
"@env.WANDB_MODE" = "offline"
"""
    frozen = launch(text, devices=2)
    policy = frozen.policy
    assert frozen.manifest.command == "python train.py {x}"
    assert frozen.manifest.env == {"HF_HOME": "/mnt/hf", "SEED": "3"}
    assert frozen.manifest.required == ("summary.csv", "a/b.csv")
    assert frozen.manifest.rows[0].values == {"x": "1e-4"}
    assert frozen.manifest.rows[0].env == {"WANDB_MODE": "offline"}
    assert policy.fail_fast and policy.executor == "fake" and policy.fake == {"seconds": 1.5}
    assert policy.cwd == str(tmp_path / "code")
    assert (policy.resources.gpus, policy.resources.slots) == (0.5, 3)
    limits = policy.limits
    assert (limits.timeout, limits.attempt_timeout, limits.grace) == (2 * DAY, 2 * DAY, 60)
    assert (limits.startup, limits.heartbeat, limits.progress) == (None, 900, None)
    assert policy.progress.pattern == r"iter (?P<step>\d+)"
    assert policy.checkpoint.resume == ("init_from={checkpoint}",) and policy.checkpoint.complete == "done.json"
    assert (policy.retry.max_attempts, policy.retry.outage) == (7, 10800)
    backoff = policy.retry.backoff
    assert (backoff.first, backoff.factor, backoff.max, backoff.jitter) == (1, 3, 5, 0)
    assert policy.retry.by_class == {"nccl.*": 0, "oom.gpu": 1}
    assert policy.results.file == "eval/summary.csv"
    assert policy.artifacts.exclude == ("*.pt",) and policy.code.on_change == "hold"
    row = frozen.runs[0].policy
    assert (row.gpus, row.timeout, row.unbounded, row.priority) == (1, None, True, -2)


@pytest.mark.parametrize(
    ("command", "devices", "gpus"),
    [
        (["python", "train.py"], 8, 1),
        (["python", "train.py"], 0, 0),
        (["torchrun", "train.py"], 8, 8),
        (["torchrun", "train.py"], 0, 0),
        (["python", "-m", "torch.distributed.run", "train.py"], 4, 4),
        (["uv", "run", "accelerate", "launch", "train.py"], 4, 4),
        (["python", "train.py", "deepspeed"], 4, 1),
        (["python", "train.py", "{gpus}"], 4, 4),
        ("cd x && /opt/bin/torchrun train.py", 4, 4),
        ("python train.py --note 'uses torchrun'", 4, 1),
    ],
)
def test_gpus_by_default(launch: Launch, command: object, devices: int, gpus: float) -> None:
    """A launcher on one GPU wasted seven; a plain script on all of them ran one at a time."""
    import json

    text = f"command = {json.dumps(command)}\n[[run]]\nx = 1\n"
    assert launch(text, devices=devices).policy.resources.gpus == gpus


@pytest.mark.parametrize(("written", "gpus"), [('"all"', 4), ("2", 2), ("2.0", 2), ("0.25", 0.25), ("0", 0)])
def test_gpus_as_written(launch: Launch, written: str, gpus: float) -> None:
    """`all` is the number where launch was typed, not where the supervisor happens to live."""
    assert launch(f"{RUN}[resources]\ngpus = {written}\n", devices=4).policy.resources.gpus == gpus


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["/usr/bin/nvidia-smi"], "nvidia-smi"),
        (["python3", "src/train.py", "--x"], "train"),
        (["torchrun", "--standalone", "train_gpt2.py"], "train_gpt2"),
        (["python3", "-c", "print(1)"], "python3"),
        (["bash", "-c", "true"], "bash"),
        (["./my tool"], "my_tool"),
        (["évé"], "v"),
        (["é"], "campaign"),
    ],
)
def test_one_command_is_a_campaign_of_one_run(launch: Launch, command: list[str], name: str) -> None:
    """`launch -- CMD` needs no file, and its name says what runs."""
    frozen = launch(command=command)
    assert frozen.manifest.name == name
    assert [run.run_id for run in frozen.runs] == ["run-1"]
    assert frozen.campaign.startswith(f"{name}-")


def test_name_rules(launch: Launch, tmp_path: Path) -> None:
    """The sheet names the campaign, not the script that all of a group's campaigns share."""
    text = 'command = ["python", "train.py", "{config}", "{out_dir}"]\nruns = "rows.csv"\n'
    assert launch(text, SWEEP).manifest.name == "rows"
    assert launch(text, SWEEP, name="mine").manifest.name == "mine"
    assert launch('name = "own"\n' + text, SWEEP).manifest.name == "own"
    assert launch('command = ["python", "train.py"]\n[[run]]\nx = 1\n').manifest.name == "train"


def test_options_win_over_the_file(launch: Launch) -> None:
    """What was typed last is what was meant."""
    text = f'{RUN}[limits]\ntimeout = "1h"\nheartbeat = "1h"\n[env]\nA = "1"\n'
    frozen = launch(
        text, gpus="2", slots=1, timeout="2h", executor="fake", devices=4,
        settings=["limits.heartbeat=45m", "retry.class.oom.gpu=2", "env.A=007", "fail_fast=true",
                  "checkpoint.path={out_dir}/c.pt", 'checkpoint.resume=["resume"]'],
    )  # fmt: skip
    assert frozen.policy.limits.timeout == 7200 and frozen.policy.limits.heartbeat == 2700
    assert frozen.policy.resources.gpus == 2 and frozen.policy.resources.slots == 1
    assert frozen.policy.retry.by_class == {"oom.gpu": 2}
    assert frozen.manifest.env == {"A": "007"}
    assert frozen.policy.fail_fast and frozen.policy.executor == "fake"
    assert frozen.policy.checkpoint.resume == ("resume",)


def test_only_and_limit(launch: Launch) -> None:
    """A trial of two rows before the night must be the same rows that the night would run."""
    assert [run.run_id for run in launch(csv=SWEEP, command=TRAIN, only="*hc*").runs] == ["bat-hc-s0"]
    assert [run.run_id for run in launch(csv=SWEEP, command=TRAIN, limit=1).runs] == ["bat-base-s0"]


def test_paths_are_relative_to_what_names_them(launch: Launch, tmp_path: Path) -> None:
    """A campaign file works from whichever directory it is launched."""
    folder = tmp_path / "sweeps {x}"
    folder.mkdir()
    (folder / "a.csv").write_text("x\n1\n")
    (folder / "a.toml").write_text('command = ["python", "{x}", "{out_dir}"]\nruns = "a.csv"\n')
    from overnight.manifest import expand_text, read_campaign

    frozen = read_campaign(Path("sweeps {x}/a.toml"), cwd=tmp_path)
    assert expand_text(frozen.policy.cwd, {"x": "1"}, {}) == str(folder)
    assert frozen.manifest.name == "a"


def test_warnings(launch: Launch) -> None:
    """Rows that overwrite each other, and limits that were switched off, are said before the night."""
    text = 'command = ["python", "{x}"]\n[limits]\ntimeout = "none"\n[matrix]\nx = [1, 2]\n'
    found = launch(text).warnings
    assert any("{out_dir}" in words for words in found) and any("for ever" in words for words in found)
    assert launch(RUN).warnings == ()
    assert any("is 0" in words for words in launch(RUN.replace("{x}", "{x} {gpus}")).warnings)
    assert launch(csv="x\n{out_dir}\n", command=["python", "{x}"]).warnings == ()
    (words,) = launch(command=["python train.py --out {out_dir}"]).warnings
    assert "a single argument with blanks" in words
