"""Train a small character language model on eight sonnets: a real trainer, done in about a second.

    python3 train.py CONFIG [key=value ...]

CONFIG is a preset (base, small, wide, deep) or a path whose base name ends in one (config/train_wide.py);
`..._48l` is `deep`, any other name `base`.

    out_dir=out  seed=0  max_iters=500  learning_rate=0.003  init_from=scratch|resume
    batch_size  block_size  n_embd  n_hidden  n_layer
    log_interval  eval_interval  eval_iters  checkpoint_interval
    iter_sleep=0 (seconds after each iteration)
    fault=hang|spin|network|kill|config|nan|ignore_term  fault_at=120  fault_always=0   (see faults.py)

Keys it does not know are named and ignored; sizes meant for large models are clipped, and it says so.
Writes OUT_DIR/ckpt.npz as it goes and OUT_DIR/summary.csv at the end. The same seed gives the same numbers,
interrupted and resumed or not. SIGTERM and SIGINT save a checkpoint, then end it with 143 and 130.
Exit status: 0 done, 1 failed, 2 wrong arguments.
"""

import csv
import io
import math
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

# Before numpy loads: matrices this small only lose by threads, and runs side by side would fight for cores.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ.get("OPENBLAS_NUM_THREADS", "1")

import faults
import numpy as np
from checkpoint import CheckpointError, load, save, write_whole
from model import Adam, Text, fresh, gradients, mean_loss, sample
from options import BadArguments, Options, parse

TEXT = Path(__file__).with_name("text.txt")


class Stop:
    """Remembers the first signal that asks for an end. Saving happens between two iterations, where the
    state is whole, never inside the handler."""

    def __init__(self) -> None:
        self.signum: int | None = None
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._heard)

    def _heard(self, signum: int, frame: FrameType | None) -> None:
        self.signum = self.signum or signum

    def rest(self, seconds: float) -> bool:
        """Sleep; False as soon as an end was asked for."""
        until = time.monotonic() + seconds
        # In slices, because Python goes on with an interrupted sleep after the handler has returned.
        while self.signum is None and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))
        return self.signum is None


class Training:
    """One run: the state that a checkpoint holds, and what is done with it."""

    def __init__(self, options: Options, stop: Stop) -> None:
        self.options, self.stop = options, stop
        self.text = Text(TEXT.read_text(encoding="utf-8"))
        self.rng = np.random.default_rng(options.seed)
        self.parameters = fresh(options, self.text.vocabulary, self.rng)
        self.adam = Adam(self.parameters)
        self.iteration = 0  # the last one done
        out = Path(options.out_dir)
        out.mkdir(parents=True, exist_ok=True)
        self.checkpoint, self.summary = out / "ckpt.npz", out / "summary.csv"
        self.summary.unlink(missing_ok=True)  # an older run's summary must not speak for this one
        if options.init_from == "resume":
            self.iteration = load(self.checkpoint, self.parameters, self.adam, self.rng)
            say(f"resumed from iter {self.iteration}")

    def run(self) -> int:
        """Train to the end, or until told to stop. The exit status."""
        options, since, logged = self.options, time.perf_counter(), self.iteration
        fault_at = min(options.fault_at, options.max_iters) if faults.due(options) else math.inf
        while self.iteration < options.max_iters:
            if self.iteration + 1 >= fault_at:
                fault_at = math.inf
                faults.strike(options.fault, self.stop.rest, self.spoil)
            if self.stop.signum is not None:
                return self.interrupted(self.stop.signum)
            loss = self.advance()
            if self.iteration % options.log_interval == 0 or not math.isfinite(loss):
                each = (time.perf_counter() - since) * 1000 / (self.iteration - logged)
                say(f"iter {self.iteration}: loss {loss:.4f}, time {each:.2f}ms")
                since, logged = time.perf_counter(), self.iteration
            if not math.isfinite(loss):
                complain(f"loss is {loss} at iter {self.iteration}, stopping training")
                return 1
            self.rest_of_iteration()
        return self.finished()

    def advance(self) -> float:
        """One iteration; its loss."""
        contexts, targets = sample(self.text.train, self.options, self.rng)
        loss, slopes = gradients(self.parameters, contexts, targets)
        self.iteration += 1
        self.adam.step(self.parameters, slopes, self.options.learning_rate, self.iteration)
        return loss

    def rest_of_iteration(self) -> None:
        """What is due after some iterations: evaluation, checkpoint, sleep."""
        options, last = self.options, self.iteration == self.options.max_iters
        if self.iteration % options.eval_interval == 0 and not last:
            self.evaluate()
        if self.iteration % options.checkpoint_interval == 0 or last:
            self.save()
        if options.iter_sleep:
            self.stop.rest(options.iter_sleep)

    def evaluate(self) -> tuple[float, float]:
        """Training and validation loss; says both. Its own random numbers: how often it is asked changes
        nothing in the training."""
        rng = np.random.default_rng([self.options.seed, self.iteration])
        train = mean_loss(self.parameters, self.text.train, self.options, rng)
        validation = mean_loss(self.parameters, self.text.validation, self.options, rng)
        say(f"step {self.iteration}: train loss {train:.4f}, val loss {validation:.4f}")
        return train, validation

    def save(self) -> None:
        save(self.checkpoint, self.iteration, self.parameters, self.adam, self.rng)

    def spoil(self) -> None:
        for value in self.parameters.values():
            value[...] = math.nan

    def interrupted(self, signum: int) -> int:
        self.save()
        say(f"{signal.Signals(signum).name}: saved {self.checkpoint} after {self.iteration} iterations")
        return 128 + signum

    def finished(self) -> int:
        train, validation = self.evaluate()
        row = {
            "preset": self.options.preset,
            "seed": self.options.seed,
            "iters": self.iteration,
            "train_loss": f"{train:.6f}",
            "val_loss": f"{validation:.6f}",
        }
        text = io.StringIO()
        table = csv.DictWriter(text, row, lineterminator="\n")
        table.writeheader()
        table.writerow(row)
        content = text.getvalue().encode()
        write_whole(self.summary, lambda file: file.write(content))
        say(f"done: val loss {validation:.4f}, summary in {self.summary}")
        return 0


def say(line: str) -> None:
    print(line, flush=True)


def complain(line: str) -> None:
    print(f"train.py: error: {line}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    if "-h" in arguments or "--help" in arguments:
        say(__doc__)
        return 0
    try:
        options, notes = parse(arguments)
        faults.strike_at_start(options)
    except BadArguments as wrong:
        print("usage: train.py CONFIG [key=value ...]", file=sys.stderr)
        complain(str(wrong))
        return 2
    stop = Stop()
    say(
        f"charlm {options.preset}: seed {options.seed}, {options.max_iters} iterations, "
        f"{options.n_layer} x {options.n_hidden} hidden, batch {options.batch_size}, into {options.out_dir}"
    )
    for note in notes:
        say(note)
    try:
        return Training(options, stop).run()
    except CheckpointError as wrong:
        complain(str(wrong))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
