"""Recorded cadences of real programs, through the code that watches."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from false_kills import DEFAULTS, SCALES, latencies  # noqa: E402  (it lies beside the tests, not in the package)
from replay import Cadence, cadences, replaying  # noqa: E402  (so does this)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("cadence", cadences(), ids=lambda cadence: cadence.name)
def test_no_recorded_program_is_ended_at_the_defaults(cadence: Cadence, scale: int) -> None:
    """Compiling, tokenising, an evaluation or an upload was taken for a hang, and the night was lost."""
    with replaying(cadence.scaled(scale), DEFAULTS) as replay:
        assert replay.ended_by(replay.cadence.seconds) == {}


def test_a_hang_after_a_recorded_training_is_noticed() -> None:
    """Limits that never end a healthy run must not be those that end none."""
    (charlm,) = [cadence for cadence in cadences() if cadence.name == "charlm"]
    assert latencies(charlm, 0.5)["auto"] == pytest.approx(900.0, abs=10)
    assert latencies(charlm, 0.5, b"waiting\n")["auto"] == pytest.approx(3600.0, abs=10)
