"""The production loop on a fake clock, executor and store."""

from overnight.model.codec import replace
from overnight.model.policy import Backoff, Limits, Policy, Resources, RetryPolicy
from overnight.model.states import RunState
from overnight.ports import RunRef
from overnight.testing.simulator import Faults, Simulation
from overnight.testing.world import frozen, launch

POLICY = Policy(
    resources=Resources(slots=2),
    limits=Limits(timeout=7200.0, startup=600.0, heartbeat=300.0, progress=900.0, grace=30.0),
    retry=RetryPolicy(backoff=Backoff(first=5.0)),
)


def test_six_rows_that_behave_differently() -> None:
    """Every kind of row in one night: good, bad argument, transient, silent from the start, over its timeout, good."""
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


def test_a_quiet_start_is_no_stall() -> None:
    """A trainer that prints one banner line, compiles for 40 minutes and then trains was killed by every tool."""
    knobs = {"steps": 100, "startup_seconds": 40 * 60, "step_seconds": 2, "output": [[0.1, "banner"]]}
    campaign = frozen(["compiles"], Policy(), knobs=knobs)
    simulation = Simulation(2)
    simulation.ask(launch("r1", campaign))
    run = simulation.run(campaign)["compiles"]
    assert run.state == RunState.SUCCEEDED
    assert len(run.attempts) == 1


def test_a_suspended_machine_is_held_against_nobody() -> None:
    """A laptop lid closed for five hours, or a SIGSTOPped supervisor, must not look like a stall of every run."""
    knobs = {"steps": 5000, "step_seconds": 100, "output": [[float(t), "x"] for t in range(40)]}
    policy = replace(POLICY, limits=replace(POLICY.limits, timeout=None, heartbeat=150.0, progress=None))
    campaign = frozen(["r0"], policy, knobs=knobs)
    simulation = Simulation(3)
    simulation.ask(launch("r1", campaign))
    for _ in range(120):
        simulation.turn()
    begun = simulation.supervisor.watches.by_run[RunRef(campaign.campaign, "r0")].begun
    simulation.clock.advance(5 * 3600.0 - (simulation.clock.mono - begun.mono) % 100 + 101)
    for _ in range(10):
        simulation.turn()
    run = simulation.runs(campaign)["r0"]
    assert run.attempt is not None and run.attempt.n == 1
    assert run.attempt.stop is None, run.words


def test_ten_thousand_runs_pass_in_seconds() -> None:
    """The simulator runs the production loop: a week of it must not take a night."""
    campaign = frozen(
        [f"r{i}" for i in range(10_000)], Policy(resources=Resources(slots=500)), knobs={"seconds": [600, 6000]}
    )
    simulation = Simulation(4)
    simulation.supervisor.ledger.check = False
    simulation.ask(launch("r1", campaign))
    for _ in range(300):
        simulation.turn()
    live = simulation.supervisor.ledger.live[campaign.campaign]
    assert live == 500
    assert simulation.store.campaigns()[0].counts["running"] == 500
