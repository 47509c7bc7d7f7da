"""Beyond 2,000 live attempts: looks are ten seconds apart, and a stall is noticed all the same."""

import pytest
from nights import Night

from overnight.core import limits
from overnight.executors.fake import FakeProbe
from overnight.model.policy import Limits, Policy, Resources
from overnight.ports import Look, LookOrder, RunRef
from overnight.testing.simulator import Simulation
from overnight.testing.world import frozen, launch

LIVE = 2200
LATE_AT_MOST = 12.0  # seconds after the limit
HUNG = {f"r{100 * n}": 30.0 + n for n in range(1, 11)}  # one in each second between two looks; none at its very turn


@pytest.mark.parametrize("heartbeat", [5.0, 15.0])
def test_a_stall_among_many_is_noticed_within_twelve_seconds(heartbeat: float) -> None:
    """Noticed after 22 s: the last change was seen ten seconds late, and the two silent looks were ten seconds each."""
    rules = [{"run": run, "hangs_after": at + 0.5} for run, at in HUNG.items()]
    policy = Policy(
        resources=Resources(slots=LIVE),
        limits=Limits(timeout=7200.0, startup=600.0, heartbeat=heartbeat, progress=None, grace=1.0),
    )
    campaign = frozen([f"r{i}" for i in range(LIVE)], policy, knobs={"steps": 10**6, "seconds": 10**6, "rule": rules})
    simulation = Simulation(5)
    simulation.supervisor.ledger.check = False
    simulation.ask(launch("r1", campaign))
    while simulation.clock.mono < 1000.0 + 30.0 + len(HUNG) + heartbeat + LATE_AT_MOST + 10.0:
        simulation.turn()
    runs = simulation.runs(campaign)
    stopped = {run.run_id for run in runs.values() if any(attempt.stop for attempt in run.attempts)}
    assert stopped == set(HUNG), "who prints each second is ended by nobody"
    for name, hung in HUNG.items():
        began = runs[name].attempts[0].started
        story = simulation.store.story(RunRef(campaign.campaign, name))
        noticed = next(entry.at.mono for entry in story if entry.event == "LimitReached")
        assert began is not None
        assert 0.0 <= noticed - (began.mono + hung) - heartbeat <= LATE_AT_MOST, (name, noticed - began.mono - hung)


def test_many_without_a_near_limit_are_looked_at_each_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand live logs looked at each second left no time for anything else."""
    monkeypatch.setattr(limits, "MANY_LIVE", 3)
    campaign = frozen([f"r{i}" for i in range(5)], Policy(resources=Resources(slots=5)), knobs={"seconds": 10**6})
    simulation = Simulation(6)
    simulation.ask(launch("r1", campaign))
    looks: list[float] = []
    see = FakeProbe.look

    def look(probe: FakeProbe, order: LookOrder) -> Look:
        looks.append(simulation.clock.mono)
        return see(probe, order)

    while simulation.clock.mono < 1030.0:
        simulation.turn()
    monkeypatch.setattr(FakeProbe, "look", look)
    while simulation.clock.mono < 1330.0:
        simulation.turn()
    assert 5 * 29 <= len(looks) <= 5 * 31


@pytest.mark.parametrize("block", range(4))
def test_nights_as_if_there_were_many(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Gaps, blind looks, reboots and dead supervisors, with looks that come sooner: nobody at work is ended."""
    monkeypatch.setattr(limits, "MANY_LIVE", 0)
    for seed in range(block, 80, 4):
        Night(seed).run()
