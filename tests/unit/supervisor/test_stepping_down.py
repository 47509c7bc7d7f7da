"""Another host leads the root: what still lives here is ended, wherever its work is."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from overnight.artifacts.holder import read_holder
from overnight.model.policy import Policy, Stop
from overnight.ports import AttemptRef, RunRef
from overnight.supervisor.__main__ import _step_down
from overnight.supervisor.keep import is_stopped
from overnight.supervisor.lock import Lock
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


def test_its_keeper_sees_it_turn_meanwhile(tmp_path: Path) -> None:
    """Attempts with ten minutes of grace: whoever ended them was killed for standing still, again and again, and each
    of its successors asked anew."""
    lock = Lock(tmp_path)
    waits, beats = os.pipe(), list[int]()

    class Slow:
        def step_down(self, wait: Callable[[float], object]) -> list[RunRef]:
            for _ in range(3):
                beats.append(read_holder(tmp_path).beat)
                wait(0.0)
            return []

    local = SimpleNamespace(fileno=lambda: waits[0])
    assert _step_down(cast("Any", Slow()), cast("Any", local), tmp_path, "host b leads", lock) == 0
    assert len(set(beats)) == 3 and is_stopped(tmp_path)
    lock.close()
    for end in waits:
        os.close(end)
