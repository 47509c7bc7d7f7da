"""Seeded nights in which runs have causes in common, GPUs break and campaigns begin badly."""

import os
import random

import pytest
from nights import Night

from overnight.model.codec import replace
from overnight.model.run import Run
from overnight.model.states import CampaignState, RunState
from overnight.testing.simulator import Lie

SEEDS = int(os.environ.get("OVERNIGHT_SEEDS", "100"))
BLOCKS = 8
SHARED = (3, 7, 8, 9, 10, 11, 13)  # exit codes: testing.world
ROOTS = (1, 2, 5, 10)


class CommonNight(Night):
    """A night in which many rows end alike, and what is cured is cured at some time."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        dice = random.Random(seed + 1_000_000)
        known = self.campaign.policy.fake["rule"]
        assert isinstance(known, list)
        rules = list(known)
        for _ in range(dice.randint(1, 3)):
            code = dice.choice(SHARED if dice.random() < 0.6 else ROOTS)
            tries = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10][: dice.randint(1, 10)]
            rules += [{"run": spec.run_id, "attempt": tries, "exit_code": code}
                      for spec in self.campaign.runs if dice.random() < 0.5]  # fmt: skip
        policy = replace(self.campaign.policy, fake={**self.campaign.policy.fake, "rule": rules})
        self.campaign = replace(self.campaign, policy=policy)
        if dice.random() < 0.5:
            self.simulation.cures.cures.update(dice.sample(["hub.example", "/data/set", "/data"], dice.randint(1, 3)))

    def run(self) -> dict[str, Run]:
        runs = super().run()
        record = self.simulation.store.campaigns()[0]
        waiting = [c for c in record.causes.values() if c.size and c.held is None and not c.freed]
        if waiting and not any(c.held or c.freed for c in record.causes.values()):
            raise Lie(f"seed {self.simulation.seed}: {record.state}, and a judgement is still to come: {waiting}")
        if record.state != CampaignState.HELD and record.hold is not None:
            raise Lie(f"seed {self.simulation.seed}: {record.state} and on hold")
        for run in runs.values():
            if run.state == RunState.HELD and run.held_by and run.held_by not in record.causes:
                raise Lie(f"seed {self.simulation.seed}: {run.run_id} is held by {run.held_by}, which is nothing")
        return runs


@pytest.mark.parametrize("block", range(BLOCKS))
def test_every_night_ends_as_the_world_went(block: int) -> None:
    """Held, judged, probed, swept, cancelled, retried in any order: nothing is forgotten or held by nothing."""
    for seed in range(block, SEEDS, BLOCKS):
        CommonNight(seed).run()
