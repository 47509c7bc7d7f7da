"""Markers: what loggers of the field print in a night, and what only looks like progress."""

import pytest

from overnight.ports import Mark
from overnight.probes.markers import Found, scanner


class Log:
    """Lines as a watch sees them, each a look of its own: which were an advance, which only work beside it."""

    def __init__(self, pattern: str | None = None) -> None:
        self._scan = scanner(pattern)
        self.best: float | None = None
        self.mark: Mark | None = None

    def line(self, text: str) -> str:
        """`advance`, `work` or nothing."""
        found: Found = self._scan.scan(text.encode() + b"\n")
        if found.anew:
            self.best = None
        self.mark = found.mark or self.mark
        if found.mark is not None and (self.best is None or found.mark.step > self.best):
            self.best = found.mark.step
            return "advance"
        return "work" if found.worked else ""

    def lines(self, *texts: str) -> list[str]:
        return [self.line(text) for text in texts]


def bar(count: int, total: int, words: str = "", after: str = "") -> str:
    """A state of tqdm's bar."""
    percent = 100 * count // total
    return f"{words}{percent:3d}%|{'█' * (percent // 10)}| {count}/{total} [00:01<00:02, 12.3it/s{after}]"


@pytest.mark.parametrize(
    ("line", "mark"),
    [
        # Transformers 5 writes its numbers as text
        ("{'loss': '1.072', 'grad_norm': '3.238', 'learning_rate': '4.667e-05', 'epoch': '0.25'}",
         Mark(0.25, None, {"loss": 1.072, "grad_norm": 3.238, "learning_rate": 4.667e-05})),
        # Keras 3 in a file: colours, and backspaces instead of carriage returns
        ("\x1b[1m12/36\x1b[0m \x1b[32m━━━━━━\x1b[0m\x1b[37m━━━━\x1b[0m \x1b[1m0s\x1b[0m 3ms/step - loss: 0.25"
         + " - mae: 0.4" + "\b" * 90, Mark(12, 36, {"loss": 0.25, "mae": 0.4})),
        (" 45/100 [============>.................] - ETA: 1s - loss: 0.5", Mark(45, 100, {"loss": 0.5})),
        # DeepSpeed
        ("[2023-08-02 00:41:17,935] [INFO] [logging.py:96:log_dist] [Rank 0] step=10, skipped=4, lr=[0.0001]",
         Mark(10, None, {"skipped": 4})),
        ("[2023-11-07 01:55:23,714] [INFO] [timer.py:260:stop] epoch=0/micro_step=40/global_step=10, "
         "CurrSamplesPerSec=25.7",
         Mark(10, None, {"CurrSamplesPerSec": 25.7})),
        # Megatron, behind torchrun's prefix
        ("[default3]: iteration       20/  292968 | consumed samples:        20480 | lm loss: 1.010884E+01 | "
         "number of nan iterations:   0 |", Mark(20, 292968, {"samples": 20480, "lm_loss": 10.10884})),
        # Lightning: few batches an epoch
        ("Epoch 3:  60%|██████    | 3/5 [00:00<00:00, 120.1it/s, v_num=0, loss=0.5]", Mark(18, None, {"loss": 0.5})),
        # tqdm that knows no total
        ("1203it [02:00, 10.02it/s, loss=0.5]", Mark(1203, None, {"loss": 0.5})),
        ("step 120", Mark(120)),
    ],
)  # fmt: skip
def test_lines_of_the_field(line: str, mark: Mark) -> None:
    """Each of these loggers was once unknown, and its runs were watched for their silence alone."""
    found = scanner(None).scan(line.encode() + b"\n")
    assert found.mark == mark


@pytest.mark.parametrize(
    "line",
    [
        "|", "/", "⠋ loading", "still waiting (12 s)", "step 7: timed out, retrying", "Loading step 3/50",
        "[data] fetching batch, step 12",
        "retry 5/10", "attempt 3: step 4 failed",
        "step nan: loss nan", "step: NaN",
        "0/20, RunningAvgSamplesPerSec=232.7", "Downloading shards:  14%|█         | 1/7 [00:01<00:09]",
        "Theoretical memory footprints not yet supported", "[Rank 0] (after 1 iterations) memory (MB) | max: 1024",
        " validation loss at iteration 1000 | lm loss value: 2.0E+00 |", "Training ━━━━━━━━━━━━━━━ 100% 0:00:00",
    ],
)  # fmt: skip
def test_noise_is_no_marker(line: str) -> None:
    """A spinner, a retry, a loss that is no number: taken for steps, they hid a hang until the timeout."""
    log = Log()
    log.line(line)
    assert log.mark is None


def test_a_step_that_is_said_again_is_no_advance() -> None:
    """A rank that printed its last step for ever was taken for alive and well."""
    assert Log().lines(*["iter 7: loss 2.0"] * 3) == ["advance", "", ""]


def test_a_loader_that_tries_again_advances_once() -> None:
    """The shards were read to the twelfth, the mount failed, and it began again: for nine hours."""
    log = Log()
    rounds = [[f"reading, step {n} of 40, loss 0" for n in range(1, 13)] + ["retrying after OSError"]] * 3
    found = [log.lines(*lines) for lines in rounds]
    assert found[0][:12] == ["advance"] * 12
    assert set(found[1] + found[2]) == {""}


def test_a_launcher_that_restarts_is_no_progress() -> None:
    """torchrun restarted a training that died at its thirtieth step, a hundred times, each from the beginning."""
    log = Log()
    training = [f"iter {n}: loss 2.0" for n in range(1, 31)]
    log.lines(*training, "Traceback (most recent call last):", "  ...")
    assert set(log.lines(*training, "Traceback (most recent call last):", *training)) == {""}
    assert log.line("iter 31: loss 2.0") == "advance"


def test_steps_that_begin_again_after_a_whole_round_are_a_new_epoch() -> None:
    """A script that prints `step 0 … 500` in each epoch, and no epoch, was ended in its second."""
    log = Log()
    epoch = [f"step {n} loss 2.0" for n in range(0, 501, 50)]
    log.lines(*epoch)
    assert log.lines(*epoch)[1:] == ["advance"] * 10
    assert log.best == 1000


def test_trouble_that_was_survived_does_not_stop_the_count() -> None:
    """One `retrying` of the hub in the first epoch, and no later epoch counted."""
    log = Log()
    log.lines(*(f"step {n} loss 2.0" for n in range(0, 301, 50)), "Retrying in 1s [Retry 1/5]")
    log.lines(*(f"step {n} loss 2.0" for n in range(350, 501, 50)))
    assert log.lines("step 0 loss 2.0", "step 50 loss 1.9") == ["", "advance"]


def test_ranks_a_step_apart_are_no_epochs() -> None:
    """Two ranks write into one log; the slower one's line is a fall of one."""
    log = Log()
    log.lines("step 51 loss 2", "step 50 loss 2", "step 52 loss 2", "step 51 loss 2")
    assert log.best == 52


def test_an_evaluation_is_work_once_through() -> None:
    """An evaluation of ninety minutes drew its bar all the while, and was ended for want of steps; one that began
    again and again without a step was not."""
    log = Log()
    log.line("iter 500: loss 2.0")
    through = [bar(n, 50, "Evaluating: ") for n in range(51)]
    assert log.lines(*through) == ["", *["work"] * 50]
    assert set(log.lines(*through)) == {""}
    log.line("iter 501: loss 2.0")
    assert log.lines(*through)[1:] == ["work"] * 50


def test_lightning_with_its_validation() -> None:
    """A bar per epoch, one of the validation below it: the step goes on through all of it."""
    log = Log()
    for epoch in range(3):
        log.line(bar(0, 20, f"Epoch {max(0, epoch - 1)}: "))  # as it is cleared
        assert "advance" in log.lines(*(bar(n, 20, f"Epoch {epoch}: ", ", loss=0.5") for n in range(1, 21)))
        assert set(log.lines(*(bar(n, 10, "Validation DataLoader 0: ") for n in range(1, 11)))) == {"work"}
    assert log.best == 60


def test_transformers_with_its_bar() -> None:
    """The evaluation's bar has no name and comes after each epoch; the last one must not become the run's progress."""
    log = Log()
    for epoch in range(3):
        log.lines(*(bar(n, 60) for n in range(20 * epoch, 20 * epoch + 21)))
        log.lines(*(bar(n, 20) for n in range(21)))
    assert log.mark == Mark(60, 60)


def test_an_empty_bar_is_not_the_first_step() -> None:
    """A resumed Trainer draws its bar at 0 and goes on at 30: it was told to have ignored its checkpoint."""
    lines = "\n".join((bar(0, 60), bar(30, 60), bar(31, 60), ""))
    found = scanner(None).scan(lines.encode())
    assert (found.first, found.mark) == (Mark(30, 60), Mark(31, 60))
    assert scanner(None).scan(bar(0, 60).encode() + b"\n").first is None
    assert scanner(None).scan(b"iter 0: loss 9.1\n").first == Mark(0, None, {"loss": 9.1})


def test_keras_epochs() -> None:
    """Its bar begins again below each `Epoch 2/3`."""
    log = Log()
    for epoch in (1, 2, 3):
        log.lines(f"Epoch {epoch}/3", *(f"{n}/36 ━━━━━━━━━━ 0s 3ms/step - loss: 0.25" for n in (1, 18, 36)))
    assert log.mark == Mark(108, 108, {"loss": 0.25})


def test_a_bar_that_prepares_gives_way_to_the_training() -> None:
    """A bar over 10,000 files without a name, then the training's: it stood at 10,000 of 10,000 all night."""
    log = Log()
    log.lines(bar(0, 10_000), bar(10_000, 10_000))
    assert log.lines(bar(1, 500, "", ", loss=2.0"), bar(2, 500, "", ", loss=1.9")) == ["advance", "advance"]
    assert log.mark == Mark(2, 500, {"loss": 1.9})


def test_a_bar_that_goes_through_again_and_again_is_followed() -> None:
    """A bar over ten epochs around a bar over batches: an epoch of two hours has advances within."""
    log = Log()
    log.line(bar(0, 10))
    rounds = [log.lines(*(bar(n, 400) for n in range(0, 401, 100))) for _ in range(3)]
    assert rounds[0][1:] == ["work"] * 4
    assert rounds[1][1:] == rounds[2][1:] == ["advance"] * 4


def test_a_bar_of_waiting_is_no_work() -> None:
    """`Waiting for GPU: 1203it` is a clock with a bar."""
    assert set(Log().lines(*(f"Waiting for GPU: {n}it [00:01, 1.0it/s]" for n in range(20)))) == {""}
    assert set(Log().lines(*(bar(n, 100, "Retrying: ") for n in range(20)))) == {""}


def test_a_persons_pattern_goes_on_over_epochs() -> None:
    """With a pattern of one's own the second epoch was no advance, and the run was ended."""
    named = Log(r"ep (?P<epoch>\d+) it (?P<step>\d+)")
    assert named.lines("ep 1 it 3", "ep 1 it 6", "ep 2 it 3", "ep 2 it 6") == ["advance"] * 4
    silent = Log(r"^it (?P<step>\d+)")
    silent.lines(*(f"it {n}" for n in range(0, 101, 10)))
    assert silent.lines(*(f"it {n}" for n in range(0, 101, 10)))[1:] == ["advance"] * 10
    silent.lines("Traceback (most recent call last):")
    assert set(silent.lines(*(f"it {n}" for n in range(0, 101, 10)))) == {""}


def test_a_persons_pattern_leaves_bars_as_work() -> None:
    """Who wrote `iter (?P<step>…)` still evaluates for ninety minutes, with a bar."""
    log = Log(r"iter (?P<step>\d+)")
    assert log.lines("iter 5", bar(1, 50, "Evaluating: "), bar(2, 50, "Evaluating: ")) == ["advance", "work", "work"]


@pytest.mark.parametrize("fold", [
    [bar(n, 20, f"Epoch {epoch}: ", ", loss=0.5") for epoch in range(4) for n in (0, 10, 20)],
    [f"Epoch [{epoch}/4], Step [{n}/600], Loss: 0.5" for epoch in (1, 2, 3, 4) for n in range(100, 601, 100)],
    [f"epoch {epoch} step {n} loss 2.0" for epoch in range(4) for n in range(0, 301, 50)],
    [f"Epoch {epoch}/8 loss 2.0" for epoch in range(1, 9)],
])  # fmt: skip
def test_folds_go_on_counting(fold: list[str]) -> None:
    """Five folds in one program, each from epoch 0: from the second on nothing was an advance, and it was ended."""
    log = Log()
    rounds = [log.lines(*fold).count("advance") for _ in range(3)]
    assert min(rounds) >= len(fold) - 6, rounds
    log.lines("Traceback (most recent call last):")
    assert log.lines(*fold[: len(fold) // 2]).count("advance") == 0


def test_the_loggers_own_word_is_the_last_step() -> None:
    """Lightning names no number of epochs: a run that hung in its end had no last step, and was trained again."""
    log = Log()
    log.lines(*(bar(n, 20, f"Epoch {epoch}: ") for epoch in range(2) for n in (0, 10, 20)))
    assert log.mark is not None and log.mark.total is None
    log.line("`Trainer.fit` stopped: `max_epochs=2` reached.")
    assert log.mark == Mark(40, 40)
    assert log.lines(bar(0, 30, "Epoch 0: "), bar(15, 30, "Epoch 0: ")) == ["", "advance"]  # a second stage
    assert log.mark == Mark(55, None)
    other = Log()
    other.lines("{'loss': '1.0', 'epoch': '0.5'}", "{'loss': '1.0', 'epoch': '1'}")
    other.line("{'train_runtime': '0.0105', 'train_loss': '0.4477', 'epoch': '1'}")
    assert other.mark is not None and (other.mark.step, other.mark.total) == (1, 1)
