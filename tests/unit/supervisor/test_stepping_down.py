"""Another host leads the root: what still lives here is ended, wherever its work is."""

import pytest

from overnight.model.policy import Policy, Stop
from overnight.ports import AttemptRef
from overnight.testing.simulator import Simulation
from overnight.testing.world import frozen, launch


def test_work_that_lives_elsewhere_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor that had lost its root ended `docker run`, and the container went on beside the new host's."""
    policy = Policy(stop=Stop(("docker", "stop", "{attempt_id}")))
    campaign = frozen(["r0"], policy, knobs={"seconds": 9999})
    simulation = Simulation(1)
    simulation.ask(launch("q1", campaign))
    for _ in range(20):
        simulation.turn()
    ended: list[AttemptRef] = []
    known = simulation.executor.stop

    def stop(target: AttemptRef, grace: float) -> None:
        ended.append(target)
        known(target, grace)

    monkeypatch.setattr(simulation.executor, "stop", stop)
    left = simulation.supervisor.step_down(simulation.clock.advance)
    assert left == []
    (target,) = ended
    assert target.stop is not None
    *words, name = target.stop.argv
    assert words == ["docker", "stop"] and name.startswith(f"{campaign.campaign}.r0.1.")
