"""Trains in short steps and evaluates in silence, each evaluation longer than the one before; the last follows the
last step. Needs numpy."""

import sys
from pathlib import Path

import numpy as np

STEPS, EVERY = 400, 100


def work(rng: np.random.Generator, size: int, times: int) -> float:
    weights = rng.standard_normal((size, size))
    for _ in range(times):
        weights = np.tanh(weights @ weights / size)
    return float(np.abs(weights).mean())


def main(out: Path) -> None:
    rng = np.random.default_rng(0)
    for step in range(1, STEPS + 1):
        loss = work(rng, 160, 40)
        if step % 5 == 0:
            print(f"step {step}/{STEPS} loss {loss:.4f}", flush=True)
        if step % EVERY == 0:
            accuracy = work(rng, 256, 900 * step // EVERY)
            print(f"eval accuracy {accuracy:.4f}", flush=True)
            (out / "scores.txt").open("a").write(f"{step} {accuracy}\n")


main(Path(sys.argv[1]))
