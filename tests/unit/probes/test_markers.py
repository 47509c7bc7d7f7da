"""Markers: how far a program is, read from what real loggers print."""

import time

import pytest

from overnight.ports import Mark
from overnight.probes.markers import scanner


def steps(*lines: str) -> list[float | None]:
    """Each line is a look of its own, as in a slow log."""
    scan = scanner(None)
    found = []
    for line in lines:
        mark = scan.scan(line.encode() + b"\n").mark
        found.append(None if mark is None else mark.step)
    return found


@pytest.mark.parametrize(
    ("line", "step", "total", "metrics"),
    [
        ("iter 120: loss 2.1234, time 3.45ms", 120, None, {"loss": 2.1234, "time": 3.45}),
        ("step 250: train loss 3.1, val loss 3.28", 250, None, {"train_loss": 3.1, "val_loss": 3.28}),
        ("step:1,200/10,000 val_loss:3.2825 train_time:100ms", 1200, 10000, {"val_loss": 3.2825, "train_time": 100}),
        ('{"global_step": 120, "loss": 2.5e-1, "lr": 3e-4}', 120, None, {"loss": 0.25, "lr": 3e-4}),
        (
            " iteration      100/  500000 | consumed samples: 512 | learning rate: 1.0E-04 | lm loss: 7.0E+00 |",
            100,
            500000,
            {"samples": 512, "learning_rate": 1e-4, "lm_loss": 7.0},
        ),
        (" 24%|██▍       | 120/500 [00:10<03:10, 2.50it/s, loss=1.5]", 120, 500, {"loss": 1.5}),
        ("Epoch 3:  24%|██▍       | 120/500 [00:10<03:10]", 1620, None, {}),
        ("Epoch: [3][ 120/500]\tLoss 6.9e+00 (7.0)", 1620, None, {"Loss": 6.9}),
        ("Train Epoch: 3 [640/60000 (1%)]\tLoss: 0.5", 180640, None, {"Loss": 0.5}),
        ("Epoch [2/10], Step [100/600], Loss: 0.5", 700, 6000, {"Loss": 0.5}),
        ("| epoch 001:    50 / 1000 loss=9.1", 1050, None, {"loss": 9.1}),
        (
            "{'loss': 2.31, 'learning_rate': 4.9e-05, 'epoch': 0.05}",
            0.05,
            None,
            {"loss": 2.31, "learning_rate": 4.9e-5},
        ),
        (
            "\x1b[32m2026-03-01 02:15:09,123\x1b[0m INFO iter: 20 \x1b[1mtotal_loss: 1.5\x1b[0m",
            20,
            None,
            {"total_loss": 1.5},
        ),
    ],
)
def test_known_forms(line: str, step: float, total: float | None, metrics: dict[str, float]) -> None:
    """A stalled run whose logger nobody knew kept its GPUs until the morning."""
    found = scanner(None).scan(line.encode() + b"\n")
    assert found.first == found.mark == Mark(step, total, metrics)


@pytest.mark.parametrize(
    "line",
    [
        "  Total optimization steps = 500",
        "max_steps: 500",
        "warmup step 100",
        "training will stop at step 5000",
        "val iter 30: loss 2",
        "resumed from iter 300",
        "Step 2: loading data",
        "Downloading: 100%|██████████| 2/2 [00:00<00:00]",
        "Map:  10%|█         | 1000/10000 [00:00<00:10]",
        "Loading checkpoint shards:  50%|█████     | 10/20 [00:05<00:05]",
        "model.safetensors:  24%|██▍       | 1.2G/5.0G [00:10<00:30]",
        "2026-03-01 12:30:45 still waiting for data",
        "saved /runs/step-500/ckpt.pt",
        "",
    ],
)
def test_what_is_no_marker(line: str) -> None:
    """A step of the configuration, or a download, taken for progress hides a stall or sets a mark out of reach."""
    found = scanner(None).scan(line.encode() + b"\n")
    assert (found.first, found.mark) == (None, None)


def test_a_finer_marker_silences_bars() -> None:
    """An evaluation's bar made a run look 150 steps further than it was."""
    assert steps("iter 120: loss 2", " 30%|███ | 150/500 [00:01<00:02]", "iter 130: loss 2") == [120, None, 130]


def test_setup_steps_do_not_silence_the_training_bar() -> None:
    """`Step 1/5` of a launcher was taken for the marker, and a run with a moving bar was killed as stalled."""
    assert steps("Step 1/5", "Step 2/5", "  5%|▌ | 25/500 [00:10<03:10]", "  5%|▌ | 26/500 [") == [1, 2, 25, 26]


def test_an_evaluation_bar_inside_the_training_bar_is_not_progress() -> None:
    """Trainers draw both bars into one log; the smaller one begins again and again."""
    assert steps("| 100/500 [", "| 40/50 [", "| 101/500 [") == [100, None, 101]


def test_a_bar_per_epoch_goes_on_counting() -> None:
    """Each new epoch's bar looked like a fall, and a healthy run stalled in its second epoch."""
    assert steps("| 10/100 [", "| 100/100 [", "| 5/100 [", "| 50/100 [") == [10, 100, 105, 150]
    assert steps("Epoch 1/3", "12/100 [==>.] - loss: 0.5", "100/100 [====]", "Epoch 2/3", "5/100 [>...]")[-1] == 105


def test_bars_of_several_ranks_do_not_count_up() -> None:
    """Eight ranks a step apart write into one log: that is no new epoch."""
    assert steps("| 51/100 [", "| 50/100 [", "| 52/100 [", "| 51/100 [") == [51, 50, 52, 51]


def test_steps_within_named_epochs_go_on_counting() -> None:
    """A counter that starts anew in each epoch fell below its best, and the run was ended as stalled."""
    lines = [
        f"epoch {epoch} step {step} loss 2.0"
        for epoch, step in ((1, 50), (1, 100), (2, 50), (1, 100), (2, 60), (3, 10))
    ]
    assert steps(*lines) == [50, 100, 150, None, 160, 170]


def test_the_last_step_of_each_epoch_goes_on_counting() -> None:
    """A program that prints `step 100` once an epoch stood still for ever."""
    assert steps("epoch 1 step 100 loss 2.0", "epoch 2 step 100 loss 1.9", "epoch 3 step 100 loss 1.8") == [
        100,
        200,
        300,
    ]


def test_a_marker_whose_loss_is_no_number() -> None:
    """A run whose loss is NaN still advances; NaN has no JSON."""
    assert scanner(None).scan(b"iter 1,200: loss nan\n").mark == Mark(1200, None, {})


def test_first_and_last_of_one_look() -> None:
    """A resume is believed by its first step, so the first marker of a look must not be lost behind the last."""
    found = scanner(None).scan(b"starting\nstep 301/500\nnoise\nstep 302/500\nstep 303/500\nbye\n")
    assert (found.first, found.mark) == (Mark(301, 500), Mark(303, 500))


def test_carriage_returns_separate_states_of_a_bar() -> None:
    """A bar is one line for ever; read by newlines it showed nothing until the end."""
    found = scanner(None).scan(b"\r  1%| | 5/500 [\r  2%| | 10/500 [\r  3%| | 15/500 [\r")
    assert (found.first, found.mark) == (Mark(5, 500), Mark(15, 500))


def test_a_persons_pattern_decides_alone() -> None:
    """Known forms beside a pattern written by hand would be a second opinion that nobody asked for."""
    scan = scanner(r"tokens=(?P<step>[\d,.]+)M of (?P<total>\d+)M, loss (?P<loss>\S+) on (?P<host>\w+)")
    found = scan.scan(b"step 5: loss 1\ntokens=1.5M of 300M, loss 2.5 on n1\ntokens=3M of 300M, loss nan on n1\n")
    assert found.first == Mark(1.5, 300, {"loss": 2.5})
    assert found.mark == Mark(3, 300)


def test_a_pattern_must_name_the_step() -> None:
    """A pattern without the group found nothing all night."""
    with pytest.raises(ValueError, match="no group named step"):
        scanner(r"iter (\d+)")


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 10_000_000 + b"\n",
        b"step " * 2_000_000 + b"\n",
        b"epoch [ " * 1_000_000,
        b"1/10 " * 1_000_000,
        b"step: 1" + b"1," * 2040 + b"\n",
        b"a.b/c-" * 680 + b" step 5\n",
        (b"iter 12: " + b"loss " * 800 + b"\n") * 500,
        b"iter 12: loss 2.1, time 3ms\n" * 140_000,
        b"\xff\xfe\x00" * 1_000_000,
    ],
)
def test_hostile_logs_do_not_hang_a_look(data: bytes) -> None:
    """One run's ten-megabyte line stopped the looks at all the others."""
    start = time.process_time()
    scanner(None).scan(data)
    assert time.process_time() - start < 5  # each takes well below a second; quadratic ones take minutes


def test_a_slow_pattern_is_given_up_for_this_look() -> None:
    """A person's pattern over 60,000 lines must not hold a thread for minutes."""
    start = time.process_time()
    scanner(r"(?:[a-z]+ )*(?P<step>\d+)$").scan((b"abc " * 40 + b"!\n") * 60_000)
    assert time.process_time() - start < 10
