"""Prints nothing after its banner, saves a checkpoint now and then: its only words are the files. Needs numpy."""

import os
import sys
from pathlib import Path

import numpy as np

SAVES = 8


def main(out: Path) -> None:
    print("training silently", flush=True)
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((300, 300))
    for save in range(1, SAVES + 1):
        for _ in range(700 + 100 * save):
            weights = np.tanh(weights @ weights / 300)
        whole = out / "ckpt.npz.tmp"
        with whole.open("wb") as file:
            for _ in range(10):
                np.save(file, weights)
                file.flush()
                os.fsync(file.fileno())
        whole.rename(out / "ckpt.npz")


main(Path(sys.argv[1]))
