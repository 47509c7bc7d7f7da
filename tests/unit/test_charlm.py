"""The example trainer keeps the promises that the demo, the docs and other tests build on."""

import csv
import importlib
import os
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "charlm"
SECONDS = 300  # a bound for a machine that is busy with other things, not an expectation


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports a module of the trainer's folder, which is no package; leaves no `options` or `model` behind."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def _command(*arguments: str) -> list[str]:
    return [sys.executable, str(FOLDER / "train.py"), *arguments]


def _environment(attempt: str | None = None) -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OVERNIGHT_")}
    return environment if attempt is None else environment | {"OVERNIGHT_ATTEMPT": attempt}


def _train(*arguments: str, attempt: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*arguments), capture_output=True, text=True, timeout=SECONDS, env=_environment(attempt)
    )


@contextmanager
def _training(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A trainer at work; killed at the end whatever happened."""
    with subprocess.Popen(_command(*arguments), stdout=subprocess.PIPE, text=True, env=_environment()) as process:
        try:
            yield process
        finally:
            process.kill()


def _read_until(process: subprocess.Popen[str], start: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(start):
            return line
    raise AssertionError(f"the trainer ended with {process.wait()} before it printed {start!r}")


def _arrays(out: Path) -> dict[str, np.ndarray]:
    with np.load(out / "ckpt.npz") as archive:
        return {name: archive[name] for name in archive.files}


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    """A run that lost its random state or optimiser on resume gives numbers nobody can compare with the others."""
    settings = ("deep", "seed=7", "max_iters=60", "eval_interval=20", "eval_iters=3", "checkpoint_interval=25")
    whole, parted = f"out_dir={tmp_path / 'whole'}", f"out_dir={tmp_path / 'parted'}"
    assert _train(*settings, whole).returncode == 0

    with _training(*settings, parted, "iter_sleep=0.1", "log_interval=1") as process:
        _read_until(process, "iter 5:")
        process.terminate()
        saved = _read_until(process, "SIGTERM: saved")
        assert process.wait(SECONDS) == 143
    iteration = int(_arrays(tmp_path / "parted")["iteration"])
    assert 5 <= iteration < 60
    assert f"after {iteration} iterations" in saved
    assert not (tmp_path / "parted" / "summary.csv").exists()

    resumed = _train(*settings, parted, "log_interval=1", "init_from=resume")
    assert resumed.returncode == 0, resumed.stderr
    lines = resumed.stdout.splitlines()
    assert f"resumed from iter {iteration}" in lines
    assert next(line for line in lines if line.startswith("iter ")).startswith(f"iter {iteration + 1}:")

    first, second = tmp_path / "whole", tmp_path / "parted"
    assert (first / "summary.csv").read_bytes() == (second / "summary.csv").read_bytes()
    expected, found = _arrays(first), _arrays(second)
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    assert sorted(path.name for path in second.iterdir()) == ["ckpt.npz", "summary.csv"]


def test_seed_decides(tmp_path: Path) -> None:
    """A sweep over seeds whose runs are all the same run looks like a very stable method."""
    for seed in ("1", "2"):
        assert _train("small", f"seed={seed}", "max_iters=5", f"out_dir={tmp_path / seed}").returncode == 0
    first, second = _arrays(tmp_path / "1"), _arrays(tmp_path / "2")
    assert not np.array_equal(first["parameter.out"], second["parameter.out"])


def test_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    """A checkpoint cut short by a full disk ended in a stack trace that did not say which file it was."""
    assert _train("small", "max_iters=3", f"out_dir={tmp_path}").returncode == 0
    checkpoint = tmp_path / "ckpt.npz"
    content = checkpoint.read_bytes()
    for damaged in (content[: len(content) // 2], b"", content[:200] + bytes(400) + content[600:]):
        checkpoint.write_bytes(damaged)
        result = _train("small", "max_iters=3", f"out_dir={tmp_path}", "init_from=resume")
        assert result.returncode == 1
        assert f"train.py: error: checkpoint {checkpoint} is truncated or damaged" in result.stderr
        assert "Traceback" not in result.stderr


def test_missing_and_foreign_checkpoints_are_told_apart(tmp_path: Path) -> None:
    """`checkpoint does not fit` needs a person, a missing one needs a fresh start: one message for both misled."""
    missing = _train("small", f"out_dir={tmp_path}", "init_from=resume")
    assert (missing.returncode, "no checkpoint to resume from" in missing.stderr) == (1, True)
    assert _train("small", "max_iters=3", f"out_dir={tmp_path}").returncode == 0
    foreign = _train("wide", "max_iters=3", f"out_dir={tmp_path}", "init_from=resume")
    assert foreign.returncode == 1
    assert "does not fit this model" in foreign.stderr
    assert str(tmp_path / "ckpt.npz") in foreign.stderr
    assert "Traceback" not in foreign.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "CONFIG"),
        (["out_dir=x"], "out_dir=x"),
        (["base", "verbose"], "verbose"),
        (["base", "--max_iters=3"], "--max_iters=3"),
        (["base", "=3"], "=3"),
        (["base", "max_iters=banana"], "banana"),
        (["base", "max_iters="], "max_iters"),
        (["base", "max_iters=0"], "max_iters"),
        (["base", "learning_rate=nan"], "learning_rate"),
        (["base", "init_from=somewhere"], "somewhere"),
        (["base", "out_dir="], "out_dir"),
    ],
)
def test_malformed_arguments_exit_2(arguments: list[str], word: str, tmp_path: Path) -> None:
    """A typo that trained with defaults for a night was found in the morning."""
    result = subprocess.run(
        _command(*arguments), capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path, env=_environment()
    )
    assert result.returncode == 2
    assert result.stdout == ""
    error = result.stderr.splitlines()[-1]
    assert error.startswith("train.py: error: ")
    assert word in error
    assert list(tmp_path.iterdir()) == []


def test_foreign_overrides_are_named_and_large_ones_clipped(tmp_path: Path) -> None:
    """Rows written for a large trainer must run here as they are, and say what was not done as written."""
    overrides = shlex.split(
        "gradient_accumulation_steps=8 eval_interval=2 max_iters=4 batch_size=571 "
        "mhc_h_res_proj='orthostochastic' ns_steps=len(NS_COEFFS)"
    )
    config = "config/train_fineweb10B_vres_mhc_48l.py"
    result = _train(config, f"out_dir={tmp_path}", "seed=0", *overrides)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    ignored = "gradient_accumulation_steps, mhc_h_res_proj, ns_steps"
    assert f"ignored, not known to this trainer: {ignored}" in lines
    assert "batch_size=571 clipped to 64: this is a small example" in lines
    assert any(line.startswith(f"config {config}: no such preset, taking 'deep'") for line in lines)
    assert any(line.startswith("step 2: train loss") for line in lines)


@pytest.mark.parametrize("preset", ["base", "small", "wide", "deep"])
def test_every_preset_learns(preset: str, tmp_path: Path) -> None:
    """An example that does not train teaches nothing, and hides a broken gradient behind a loss that is printed."""
    result = _train(f"config/train_{preset}.py", f"out_dir={tmp_path}", "max_iters=200")
    assert result.returncode == 0, result.stderr
    with (tmp_path / "summary.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["preset"], row["seed"], row["iters"]) == (preset, "0", "200")
    # Guessing among the 55 characters costs 4.01 nats, knowing their frequencies alone 3.07.
    assert 1.0 < float(row["val_loss"]) < 3.0


def test_gradient_is_that_of_the_loss(load: Callable[[str], Any]) -> None:
    """A gradient that is only roughly right still learns, and every number of the example would be wrong."""
    model, settings = load("model"), load("options").Options(n_layer=3, n_hidden=6, n_embd=4, batch_size=5)
    text, rng = model.Text("the quick brown fox jumps over the lazy dog " * 9), np.random.default_rng(0)
    # In double precision, where a difference quotient is good to eight digits.
    parameters = {k: v.astype(np.float64) for k, v in model.fresh(settings, text.vocabulary, rng).items()}
    batch = model.sample(text.train, settings, rng)
    _, slopes = model.gradients(parameters, *batch)
    assert slopes.keys() == parameters.keys()
    for name, value in parameters.items():
        direction = rng.standard_normal(value.shape)
        ahead, behind = (
            model.gradients(parameters | {name: value + sign * 1e-5 * direction}, *batch)[0] for sign in (1, -1)
        )
        slope = np.sum(slopes[name] * direction)
        assert (ahead - behind) / 2e-5 == pytest.approx(slope, rel=1e-5, abs=1e-8), name


def test_base_names_pick_presets(load: Callable[[str], Any]) -> None:
    """The same config must mean the same model on each attempt, whatever folder it is named from."""
    pick_preset = load("options").pick_preset
    expected = {
        "wide": "wide",
        "config/train_wide.py": "wide",
        "/home/me/x/train_charlm-small.py": "small",
        "config/train_fineweb10B.py": "base",
        "config/train_fineweb10B_48l.py": "deep",
        "config/train_fineweb10B_vres_mhc.py": "base",
        "config/train_fineweb10B_cvres_mhc_48l.py": "deep",
        "wide/train.py": "base",
    }
    assert {config: pick_preset(config)[0] for config in expected} == expected
    assert pick_preset("config/train_wide.py")[1] is None
    assert "base" in (pick_preset("config/other.py")[1] or "")


def test_stale_summary_does_not_outlive_a_new_start(tmp_path: Path) -> None:
    """The summary of an earlier success was taken for that of a run that had died half-way."""
    assert _train("small", "max_iters=3", f"out_dir={tmp_path}").returncode == 0
    assert (tmp_path / "summary.csv").exists()
    failed = _train("small", "max_iters=3", f"out_dir={tmp_path}", "fault=nan", "fault_at=2")
    assert failed.returncode == 1
    assert "loss is nan at iter 2" in failed.stderr
    assert not (tmp_path / "summary.csv").exists()


@pytest.mark.parametrize(
    ("fault", "status", "word"),
    [
        ("network", 1, "Connection refused"),
        ("kill", -signal.SIGKILL, ""),
        ("config", 2, "train.py: error: unrecognized arguments: --weight-decy=0.1"),
    ],
)
def test_faults_strike_the_first_attempt_only(fault: str, status: int, word: str, tmp_path: Path) -> None:
    """The demo shows retries that succeed: a fault that came back would show the contrary."""
    settings = ("small", "max_iters=6", f"out_dir={tmp_path}", f"fault={fault}", "fault_at=4", "log_interval=1")
    struck = _train(*settings)
    assert struck.returncode == status
    assert word in struck.stderr
    assert "iter 4:" not in struck.stdout
    assert _train(*settings, "fault_always=1", attempt="2").returncode == status
    assert _train(*settings, attempt="2").returncode == 0


@pytest.mark.parametrize("fault", ["hang", "spin"])
def test_a_stalled_trainer_still_saves_on_sigterm(fault: str, tmp_path: Path) -> None:
    """What was trained before a stall is worth keeping: the next attempt goes on from it."""
    settings = ("small", "max_iters=6", f"fault={fault}", "fault_at=4", "log_interval=1", f"out_dir={tmp_path}")
    with _training(*settings) as process:
        _read_until(process, "iter 3:")
        if fault == "spin":
            _read_until(process, "still waiting for data")
        process.terminate()
        _read_until(process, "SIGTERM: saved")
        assert process.wait(SECONDS) == 143
    assert int(_arrays(tmp_path)["iteration"]) == 3


def test_ignore_term_survives_sigterm(tmp_path: Path) -> None:
    """A tree that would not end on SIGTERM held its GPU all night: the demo needs one that truly refuses."""
    with _training("small", "fault=ignore_term", "fault_at=2", f"out_dir={tmp_path}") as process:
        _read_until(process, "SIGTERM is ignored")
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.kill()
        assert process.wait(SECONDS) == -signal.SIGKILL


@pytest.mark.parametrize(("name", "count"), [("sweep12.csv", 12), ("sweep96.csv", 96), ("demo.csv", 12)])
def test_sweep_files_hold_rows_that_the_trainer_takes(name: str, count: int, load: Callable[[str], Any]) -> None:
    """A newcomer's first sweep failed because an example had gone stale."""
    parse = load("options").parse
    with (FOLDER / name).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert len({row["run_id"] for row in rows}) == len(rows) == count
    assert list(rows[0]) == ["run_id", "config", "seed", "overrides", "notes"]
    parsed = [parse([row["config"], f"seed={row['seed']}", *shlex.split(row["overrides"])]) for row in rows]
    assert all(notes == [] for _, notes in parsed)
    faults = sorted(options.fault for options, _ in parsed if options.fault != "none")
    assert faults == (["config", "hang", "kill", "network", "spin"] if name == "demo.csv" else [])


def test_campaign_files_name_what_is_there() -> None:
    """`overnight demo` is the first thing anybody runs."""
    for name in ("demo.toml", "sweep.toml"):
        campaign = tomllib.loads((FOLDER / name).read_text(encoding="utf-8"))
        assert (FOLDER / campaign["runs"]).is_file()
        assert (FOLDER / campaign["command"][1]).is_file()
        assert campaign["command"][-1] == "{overrides...}"  # last: a row's word outranks the file's
        assert campaign["checkpoint"] == {"path": "{out_dir}/ckpt.npz", "resume": ["init_from=resume"]}
        assert campaign["artifacts"] == {"required": ["summary.csv"]}
