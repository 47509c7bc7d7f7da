"""Checkpoints: everything that the next iteration depends on, in one file that is whole or not there."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from model import Adam, Parameters


class CheckpointError(Exception):
    """A checkpoint cannot be used; the message names the file and says why. Exit status 1."""


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write beside `path`, then rename: killed at any instant, the file is the old one or the new one."""
    beside = path.with_name(path.name + ".tmp")
    try:
        with beside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:  # a full disk, most likely: leave no half a file on it
        beside.unlink(missing_ok=True)
        raise


def save(path: Path, iteration: int, p: Parameters, adam: Adam, rng: np.random.Generator) -> None:
    """Save the state after `iteration`, the state of the random numbers included."""
    arrays: dict[str, np.ndarray] = {f"parameter.{name}": value for name, value in p.items()}
    arrays |= {f"mean.{name}": value for name, value in adam.mean.items()}
    arrays |= {f"square.{name}": value for name, value in adam.square.items()}
    arrays["iteration"] = np.array(iteration)
    arrays["rng"] = np.array(json.dumps(rng.bit_generator.state))
    write_whole(path, lambda file: np.savez(file, allow_pickle=False, **arrays))


def load(path: Path, p: Parameters, adam: Adam, rng: np.random.Generator) -> int:
    """Fill parameters, optimiser and random numbers from `path`; the iteration it was saved after.

    Raises `CheckpointError` if the file is missing, damaged, or of another model.
    """
    arrays = _read(path)
    for kind, target in (("parameter", p), ("mean", adam.mean), ("square", adam.square)):
        for name, value in target.items():
            saved = arrays.get(f"{kind}.{name}")
            if saved is None or saved.shape != value.shape:
                there = "missing" if saved is None else f"of shape {saved.shape}"
                raise CheckpointError(
                    f"checkpoint {path} does not fit this model: "
                    f"{kind}.{name} is {there} in the checkpoint, {value.shape} in the model"
                )
            value[...] = saved
    try:
        rng.bit_generator.state = json.loads(str(arrays["rng"]))
        return int(arrays["iteration"])
    except (KeyError, ValueError, TypeError) as wrong:
        raise _damaged(path, wrong) from wrong


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint to resume from: {path} does not exist") from None
    except Exception as wrong:  # zipfile, zlib and numpy each have their own words for a damaged file
        raise _damaged(path, wrong) from wrong


def _damaged(path: Path, wrong: Exception) -> CheckpointError:
    return CheckpointError(f"checkpoint {path} is truncated or damaged ({type(wrong).__name__}: {wrong})")
