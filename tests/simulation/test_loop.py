"""The production loop on a fake clock, executor and store."""

from overnight.model.policy import Backoff, Limits, Policy, Resources, RetryPolicy
from overnight.model.states import RunState
from overnight.testing.simulator import Faults, Simulation
from overnight.testing.world import frozen, launch

POLICY = Policy(
    resources=Resources(slots=2),
    limits=Limits(timeout=7200.0, startup=600.0, heartbeat=300.0, progress=900.0, grace=30.0),
    retry=RetryPolicy(backoff=Backoff(first=5.0)),
)


def test_six_rows_that_behave_differently() -> None:
    """The night of the issue: good, bad argument, transient, silent from the start, over its timeout, good."""
    knobs = {
        "seconds": 60,
        "steps": 50,
        "rule": [
            {"run": "bad", "exit_code": 2, "seconds": 1, "steps": 0},
            {"run": "transient", "attempt": 1, "exit_code": 3, "seconds": 5},
            {"run": "silent", "attempt": 1, "steps": 0, "seconds": 100000},
            {"run": "long", "steps": 100000, "seconds": 100000},
        ],
    }
    campaign = frozen(["good-1", "bad", "transient", "silent", "long", "good-2"], POLICY, knobs=knobs)
    simulation = Simulation(1)
    simulation.ask(launch("r1", campaign))
    runs = simulation.run(campaign)
    states = [runs[spec.run_id].state for spec in campaign.runs]
    assert states == [RunState.SUCCEEDED, RunState.FAILED] + [RunState.SUCCEEDED] * 2 + [
        RunState.FAILED, RunState.SUCCEEDED,
    ]  # fmt: skip
    assert runs["bad"].failure is not None and runs["bad"].failure.name == "config"
    assert len(runs["bad"].attempts) == 1
    assert len(runs["transient"].attempts) == 2
    silent = runs["silent"].attempts
    assert len(silent) == 2 and silent[0].stop_class == "stall.startup"
    assert runs["long"].failure is not None and runs["long"].failure.name == "timeout.wall"


def test_one_seed_with_crashes() -> None:
    """A supervisor that dies at every seam still ends every run as a calm one does."""
    campaign = frozen([f"r{i}" for i in range(20)], POLICY, knobs={"seconds": [5, 60], "steps": 10})
    simulation = Simulation(7, Faults(crash_before_commit=0.05, crash_after_commit=0.05, crash_before_job=0.03,
                                      crash_after_job=0.03, most=40))  # fmt: skip
    simulation.ask(launch("r1", campaign))
    runs = simulation.run(campaign)
    assert {run.state for run in runs.values()} == {RunState.SUCCEEDED}
    assert simulation.deaths > 10
