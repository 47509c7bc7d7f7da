"""Hundreds of seeded nights. To live one again: `Night(SEED).run()`. More of them: OVERNIGHT_SEEDS=5000."""

import os

import pytest
from nights import Night

SEEDS = int(os.environ.get("OVERNIGHT_SEEDS", "400"))
BLOCKS = 16

# Seeds that once found a fault, by the commit before its repair; each is lived again for ever.
ONCE_FAILED = {
    8: "a start that could not be prepared kept its slot",
    51: "a start done twice on bad ground was taken for one that never happened",
    209: "the same, and the run lived twice",
}


@pytest.mark.parametrize("block", range(BLOCKS))
def test_every_night_ends_as_the_world_went(block: int) -> None:
    """Whatever dies, fills up, lies or is typed: no run lives twice, none is lost, what is recorded happened."""
    for seed in range(block, SEEDS, BLOCKS):
        Night(seed).run()


@pytest.mark.parametrize("seed", sorted(ONCE_FAILED))
def test_a_night_that_once_failed(seed: int) -> None:
    """A repaired fault stays repaired."""
    Night(seed).run()
