"""What the trainer is told: a preset, then `key=value` overrides. Standard library only."""

import math
import re
from pathlib import PurePosixPath
from typing import NamedTuple, TypeVar

Number = TypeVar("Number", int, float)

PRESETS: dict[str, dict[str, int]] = {
    "base": {"n_layer": 1, "n_hidden": 64, "n_embd": 16},
    "small": {"n_layer": 1, "n_hidden": 32, "n_embd": 8},
    "wide": {"n_layer": 1, "n_hidden": 128, "n_embd": 16},
    "deep": {"n_layer": 3, "n_hidden": 64, "n_embd": 16},
}
FAULTS = ("none", "hang", "spin", "network", "kill", "config", "nan", "ignore_term")

# key: (least, most). Below the least is an error; above the most is clipped and said, so that overrides
# meant for a large model give a run of a second or two here instead of an hour.
INTEGERS: dict[str, tuple[int, int]] = {
    "seed": (0, 2**63 - 1),
    "max_iters": (1, 1000),
    "eval_interval": (1, 10**9),
    "eval_iters": (1, 50),
    "batch_size": (1, 64),
    "block_size": (1, 16),
    "n_embd": (1, 16),
    "n_hidden": (1, 128),
    "n_layer": (1, 4),
    "log_interval": (1, 10**9),
    "checkpoint_interval": (1, 10**9),
    "fault_at": (1, 10**9),
    "fault_always": (0, 1),
}
NUMBERS: dict[str, tuple[float, float]] = {"learning_rate": (1e-9, 1.0), "iter_sleep": (0.0, 3600.0)}
CHOICES: dict[str, tuple[str, ...]] = {"init_from": ("scratch", "resume"), "fault": FAULTS}


class BadArguments(Exception):
    """The command line is wrong; the message says where. Exit status 2."""


class Options(NamedTuple):
    """All settings of one training run. `iter_sleep`: seconds slept after each iteration."""

    preset: str = "base"
    out_dir: str = "out"
    seed: int = 0
    max_iters: int = 500
    eval_interval: int = 100
    eval_iters: int = 10
    batch_size: int = 32
    block_size: int = 12
    n_embd: int = 16
    n_hidden: int = 64
    n_layer: int = 1
    learning_rate: float = 3e-3
    log_interval: int = 10
    checkpoint_interval: int = 50
    init_from: str = "scratch"
    iter_sleep: float = 0.0
    fault: str = "none"
    fault_at: int = 120
    fault_always: int = 0


def pick_preset(config: str) -> tuple[str, str | None]:
    """The preset that `config` (a preset's name, or a path to a config file) stands for, and a line to print
    when that is not plain from the name. Only the last word of the base name counts:
    `config/train_wide.py` is `wide`, `train_x_48l.py` (so many layers) is `deep`, anything else `base`.
    """
    stem = PurePosixPath(config).name.removesuffix(".py")
    last = re.split(r"[_-]", stem)[-1].lower()
    if last in PRESETS:
        return last, None
    if re.fullmatch(r"\d+l", last):
        return "deep", f"config {config}: no such preset, taking 'deep' because its name ends in {last}"
    return "base", f"config {config}: no such preset, taking 'base'"


def parse(arguments: list[str]) -> tuple[Options, list[str]]:
    """Options from a command line, and the lines that say what was clipped or ignored.

    A key given twice counts as last given. Raises `BadArguments`.
    """
    if not arguments:
        raise BadArguments("the following arguments are required: CONFIG")
    config, *overrides = arguments
    if not config or config.startswith("-") or "=" in config:
        raise BadArguments(f"the first argument names a preset or a config file, not {config!r}")
    preset, line = pick_preset(config)
    notes = [line] if line else []
    values: dict[str, object] = {"preset": preset, **PRESETS[preset]}
    unknown: list[str] = []
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", key):
            raise BadArguments(f"unrecognized arguments: {override}")
        if key == "preset" or key not in Options._fields:
            unknown.append(key)
            continue
        values[key], line = _value(key, text)
        if line:
            notes.append(line)
    if unknown:
        notes.append(f"ignored, not known to this trainer: {', '.join(dict.fromkeys(unknown))}")
    return Options(**values), notes  # type: ignore[arg-type]  # _value gives each key its own type


def _value(key: str, text: str) -> tuple[object, str | None]:
    if key in CHOICES:
        if text not in CHOICES[key]:
            raise BadArguments(f"argument {key}: invalid choice: {text!r} (choose from {', '.join(CHOICES[key])})")
        return text, None
    if key in INTEGERS:
        return _within(key, text, _integer(key, text), *INTEGERS[key])
    if key in NUMBERS:
        return _within(key, text, _number(key, text), *NUMBERS[key])
    if not text:
        raise BadArguments(f"argument {key}: expected a value")
    return text, None


def _within(key: str, text: str, value: Number, least: Number, most: Number) -> tuple[Number, str | None]:
    if value < least:
        raise BadArguments(f"argument {key}: {text} is below {least}")
    if value > most:
        return most, f"{key}={text} clipped to {most}: this is a small example"
    return value, None


def _integer(key: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadArguments(f"argument {key}: invalid int value: {text!r}") from None


def _number(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise BadArguments(f"argument {key}: invalid float value: {text!r}")
    return value
