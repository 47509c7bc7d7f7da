"""Random nights from a seed: a campaign, what its attempts do, what people type, what breaks."""

import random
from collections.abc import Callable

from overnight.model import requests as r
from overnight.model.codec import replace
from overnight.model.manifest import Frozen
from overnight.model.policy import AUTO, Backoff, CodeIdentity, Limits, Policy, Resources, RetryPolicy
from overnight.model.run import Run
from overnight.testing.simulator import SETTLED, Faults, Lie, Simulation
from overnight.testing.world import SHELL, frozen, launch

CODE = CodeIdentity("code-1", 1)

KINDS: dict[str, Callable[[random.Random], dict[str, object]]] = {
    "exit": lambda d: {"exit_code": d.randint(1, 6)},
    "hang": lambda d: {"hangs_after": d.uniform(0, 30)},
    "spin": lambda d: {"spins_after": d.uniform(0, 30)},
    "never": lambda d: {"never_begins": True},
    "slow start": lambda d: {"claim_after": d.uniform(0, 20)},
    "lost": lambda d: {"lost_at": d.uniform(0, 10), "found_at": d.uniform(11, 2000)},
    "twice": lambda d: {"duplicates": True},
    "late": lambda d: {"late": d.uniform(0, 50)},
    "contradicting": lambda d: {"contradicts": d.randint(0, 3)},
    "vanished": lambda d: {"vanishes_at": d.uniform(0, 20)},
    "stubborn": lambda d: {"ignores_term": True, "hangs_after": d.uniform(0, 20)},
    "taken": lambda d: {"cause": d.choice(["node.lost", "preempted"])},
    "killed": lambda d: {"signal": "SIGKILL"},
    "no command": lambda d: {"start_error": "no such file"},
}

WEATHER = (
    Faults(),
    Faults(0.03, 0.03, 0.02, 0.02),
    Faults(0.02, 0.02, 0.01, 0.01, disk_full=0.05, bad_ground=0.05, gap=0.01, wall_jump=0.01, reboot=0.002),
    Faults(0.01, 0.01, 0.01, 0.01, disk_full=0.02, gap=0.01, blind=0.01, no_room=0.005),
)


class Night:
    """One seeded night. `run` lives through it and returns the runs as they ended."""

    def __init__(self, seed: int) -> None:
        self.dice = dice = random.Random(seed)
        ids = [f"r{i}" for i in range(dice.randint(1, 30))]
        rules = [
            {"run": run_id, "attempt": n, **KINDS[dice.choice(sorted(KINDS))](dice)}
            for run_id in ids
            for n in (1, 2, 3)
            if dice.random() < 0.4
        ]
        policy = Policy(
            resources=Resources(slots=dice.randint(1, 6)),
            limits=Limits(
                timeout=dice.choice([300.0, 7200.0, None]), attempt_timeout=dice.choice([100.0, 3600.0]),
                startup=60.0, heartbeat=dice.choice([30.0, AUTO]), progress=dice.choice([60.0, AUTO]),
                grace=dice.choice([1.0, 30.0]), deadline=dice.choice([None, None, None, "20m", "2h"]),
            ),
            retry=RetryPolicy(
                max_attempts=dice.randint(1, 5), backoff=Backoff(first=dice.choice([1.0, 30.0])),
                outage=dice.choice([60.0, 7200.0]),
            ),
            fail_fast=dice.random() < 0.1,
        )  # fmt: skip
        self.campaign = frozen(
            ids, policy, priorities={run_id: dice.randint(0, 2) for run_id in ids},
            knobs={"seed": seed, "seconds": [1, 60], "steps": dice.choice([0, 20]), "checkpoint_every": 5,
                   "rule": rules},
        )  # fmt: skip
        self.simulation = Simulation(seed, dice.choice(WEATHER))
        self._asked = 0
        self._typed = dice.random() < 0.5

    def run(self) -> dict[str, Run]:
        """Raises Lie or BrokenInvariant, with the seed, if anything does not hold."""
        simulation, name = self.simulation, self.campaign.campaign
        simulation.ask(launch("launch", self.campaign))
        if self._typed:
            for _ in range(self.dice.randint(1, 400)):
                simulation.turn()
                if self.dice.random() < 0.02:
                    self._type_something()
            # In the morning somebody lets everything go on.
            simulation.ask(r.Resume("morning", "person@host", name, SHELL, CODE))
        runs = simulation.run(self.campaign)
        record = simulation.store.campaigns()[0]
        if record.state not in SETTLED:
            raise Lie(f"{name} is {record.state}")
        return runs

    def _type_something(self) -> None:
        self._asked += 1
        campaign: Frozen = self.campaign
        dice, who, name = self.dice, (f"ask-{self._asked}", "person@host"), campaign.campaign
        some = tuple(spec.run_id for spec in campaign.runs if dice.random() < 0.2)[:5]
        requests: list[r.Request] = [
            r.Pause(*who, name, now=dice.random() < 0.5),
            r.Resume(*who, name, SHELL, CODE),
            r.Retry(*who, name, SHELL, CODE, scratch=dice.random() < 0.3),
            r.Amend(*who, name, CODE, replace(campaign.policy, resources=Resources(slots=dice.randint(1, 8)))),
        ]
        if some:
            requests += [r.Cancel(*who, name, some), r.Retry(*who, name, SHELL, CODE, some)]
        request = dice.choice(requests)
        self.simulation.ask(request)
        if dice.random() < 0.2:  # a client that saw no answer asks the very same again
            self.simulation.ask(request)
