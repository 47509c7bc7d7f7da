"""A GPU that could not be proven free: a person is told before it is set aside, and the rest go on."""

from overnight.model.policy import Policy, Resources
from overnight.model.states import RunState
from overnight.ports import Condemned, RunRef
from overnight.testing.simulator import Simulation
from overnight.testing.world import frozen, launch

WHY = "60 s after attempt 1 of run r0: 9.0 GiB of its memory are in use, 0.3 GiB were before"


def test_a_person_is_told_of_a_quarantine_and_of_nothing_twice() -> None:
    """Seven GPUs that worked on, an eighth that nobody knew of until noon."""
    campaign = frozen(["r0", "r1"], Policy(resources=Resources(slots=2)), knobs={"seconds": 5})
    simulation = Simulation(3)
    simulation.ask(launch("q", campaign))
    simulation.turn()
    found = [Condemned(RunRef(campaign.campaign, "r0"), 1, "gpu:3", WHY)] * 2
    found.append(Condemned(RunRef("another-root-s", "x"), 2, "gpu:4", "processes of it are alive"))
    simulation.executor.condemned = lambda: [found.pop()] if found else []
    runs = simulation.run(campaign)
    assert {run.state for run in runs.values()} == {RunState.SUCCEEDED}
    ours = simulation.store.newest_notice(campaign.campaign, "quarantine:gpu:3")
    assert ours is not None
    assert (ours.n, ours.what, ours.command) == (1, "GPU 3 is quarantined", "overnight slots release 3")
    assert "9.0 GiB" in ours.why
    hosts = simulation.store.newest_notice("", "quarantine:gpu:4")
    assert hosts is not None and hosts.command == "overnight slots release 4"
    told = [entry.words for entry in simulation.store.story(RunRef(campaign.campaign, "r0"))]
    assert any("GPU 3 is quarantined: 60 s after attempt 1" in words for words in told)
