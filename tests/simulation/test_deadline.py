"""Deadlines through the production loop on the fake clock."""

import pytest

from overnight.executors.fake.life import State
from overnight.model.codec import replace
from overnight.model.events import RunFaulted
from overnight.model.manifest import Frozen, RunSpec
from overnight.model.policy import Checkpoint, CodeIdentity, Limits, Policy, Resources
from overnight.model.requests import Amend, Cancel, Pause, Resume
from overnight.model.run import Run
from overnight.model.states import CampaignState, RunState
from overnight.ports import RunRef
from overnight.testing.simulator import Faults, Simulation
from overnight.testing.world import SHELL, frozen, launch

HOUR = 3600.0
POLICY = Policy(resources=Resources(slots=2), limits=Limits(deadline="4h", grace=30.0))


def goes_on(simulation: Simulation, campaign: Frozen) -> dict[str, Run]:
    """A held campaign after a request: first it must be seen to move."""
    while simulation.store.campaigns()[0].state == CampaignState.HELD:
        simulation.turn()
    return simulation.run(campaign)


def states(runs: dict[str, Run]) -> dict[str, int]:
    found: dict[str, int] = {}
    for run in runs.values():
        found[run.state.value] = found.get(run.state.value, 0) + 1
    return found


def test_a_night_of_four_hours() -> None:
    """Six runs of 90 minutes, two at a time, four hours: four are done, the last two are not begun in vain, and the
    campaign says that it waits for a person. The next night goes on from there."""
    campaign = frozen([f"r{i}" for i in range(6)], POLICY, knobs={"steps": 100, "step_seconds": 54})
    simulation = Simulation(1)
    begun = simulation.clock.mono
    simulation.ask(launch("launch", campaign))
    runs = simulation.run(campaign)
    assert states(runs) == {"succeeded": 4, "held": 2}
    assert all(not run.attempts for run in runs.values() if run.state == RunState.HELD)
    assert simulation.clock.mono - begun < 4 * HOUR
    assert simulation.store.campaigns()[0].state == CampaignState.HELD
    early = Resume("early", "ann@host", campaign.campaign, SHELL, CodeIdentity("code-1", 1))
    simulation.ask(early)
    simulation.turn()
    refused = simulation.store.answer("early")
    assert refused is not None and not refused.ok and "limits.deadline" in (refused.hint or "")
    simulation.clock.advance(4 * HOUR)
    simulation.ask(replace(early, id="later"))
    assert states(goes_on(simulation, campaign)) == {"succeeded": 6}


@pytest.mark.parametrize("ends", ["deadline", "pause"])
def test_what_lives_of_a_held_run_is_ended_too(ends: str) -> None:
    """A fault of ours held a run, whose attempt lived on: nobody told it that the host was being taken away, and it was
    killed without its last checkpoint. `pause --now` left it alone as well."""
    campaign = frozen(["r0"], POLICY, knobs={"steps": 1000, "step_seconds": 54})
    simulation = Simulation(1)
    begun = simulation.clock.mono
    simulation.ask(launch("launch", campaign))
    while simulation.clock.mono < begun + 60:
        simulation.turn()
    simulation.supervisor.ledger.apply(
        RunRef(campaign.campaign, "r0"), RunFaulted(simulation.clock.now(), "a surprising log")
    )
    if ends == "pause":
        simulation.ask(Pause("pause", "ann@host", campaign.campaign, now=True))
    while simulation.clock.mono < begun + (120 if ends == "pause" else 4 * HOUR):
        simulation.turn()
    (life,) = simulation.world.lives.values()
    (run,) = simulation.runs(campaign).values()
    assert life.state != State.LIVE and run.live_attempt is None
    assert (run.state, run.cause) == (RunState.HELD, "internal")


def test_with_checkpoints_the_last_minutes_are_used_and_saved() -> None:
    """With checkpoints every start is worth its time; five minutes before the end all get TERM."""
    policy = replace(POLICY, checkpoint=Checkpoint("{out_dir}/ckpt-*"))
    campaign = frozen([f"r{i}" for i in range(6)], policy, knobs={"steps": 100, "step_seconds": 54})
    simulation = Simulation(2, Faults(crash_before_commit=0.02, crash_after_commit=0.02, crash_after_job=0.02))
    begun = simulation.clock.mono
    simulation.ask(launch("launch", campaign))
    runs = simulation.run(campaign)
    assert states(runs) == {"succeeded": 4, "held": 2}
    for run in runs.values():
        if run.state == RunState.HELD:
            assert [a.counted for a in run.attempts if not a.never_began] == [False]
            assert run.attempts[-1].ended is not None
            ended = run.attempts[-1].ended.mono - begun
            assert 4 * HOUR - 310 < ended < 4 * HOUR - 200
    longer = replace(campaign.policy, limits=replace(policy.limits, deadline="6h"))
    simulation.ask(Amend("amend", "ann@host", campaign.campaign, CodeIdentity("code-1", 1), longer))
    assert states(goes_on(simulation, campaign)) == {"succeeded": 6}


def test_a_deadline_that_is_too_near_at_launch_holds_all_at_once() -> None:
    """Launched four minutes before the machine was taken: the runs fell out of the queue in the turn that added them,
    and were `pending` for ever, neither held nor started; whoever had said `--wait` waited."""
    campaign = frozen(["a", "b"], replace(POLICY, limits=Limits(deadline="4m")), knobs={"seconds": 5})
    simulation = Simulation(1)
    simulation.ask(launch("launch", campaign))
    for _ in range(5):
        simulation.turn()
    assert simulation.store.campaigns()[0].counts == {"held": 2}
    simulation.clock.advance(HOUR)
    amended = replace(campaign.policy, limits=Limits(deadline="4h"))
    simulation.ask(Amend("more", "ann@host", campaign.campaign, CodeIdentity("code-1", 1), policy=amended, shell=SHELL))
    assert states(goes_on(simulation, campaign)) == {"succeeded": 2}


def test_a_cancel_in_the_turn_that_adds_the_rows_reaches_them() -> None:
    """Two people at once: the one added rows, the other cancelled, and the new rows were `pending` for ever."""
    campaign = frozen(["a", "b"], Policy(), knobs={"seconds": 50})
    simulation = Simulation(1)
    simulation.ask(launch("launch", campaign))
    while not simulation.store.campaigns():
        simulation.turn()
    code = CodeIdentity("code-1", 1)
    simulation.ask(Amend("amend", "ann@host", campaign.campaign, code, added=(RunSpec("c", {}), RunSpec("d", {}))))
    simulation.ask(Cancel("cancel", "bob@host", campaign.campaign))
    for _ in range(100):
        simulation.turn()
    assert simulation.store.campaigns()[0].counts == {"cancelled": 4}
