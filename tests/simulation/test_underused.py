"""GPUs that a run was given and does not use, under the real loop."""

import pytest

from overnight.executors.fake import FakeProbe
from overnight.model.campaign import Device
from overnight.model.codec import replace
from overnight.model.policy import Policy, Resources
from overnight.ports import Look, LookOrder
from overnight.testing.simulator import Simulation
from overnight.testing.world import frozen, launch


class Counting(FakeProbe):
    """Sees so many GPUs in use; `asked`: (second of the run, UUIDs) of each look that was to count them."""

    def __init__(self, simulation: Simulation, used: int | None) -> None:
        super().__init__(simulation.world)
        self._lives, self._clock, self._used = simulation.world.lives, simulation.clock, used
        self.asked: list[tuple[float, tuple[str, ...]]] = []

    def look(self, order: LookOrder) -> Look:
        look = super().look(order)
        if not order.gpus:
            return look
        self.asked.append((self._lives[order.attempt_dir].elapsed(self._clock.mono), order.gpus))
        return replace(look, gpus_used=self._used)


@pytest.mark.parametrize(
    ("gpus", "used", "uuid", "flags"),
    [
        (2, 1, "GPU-b", ("underused",)),
        (2, 2, "GPU-b", ()),
        (2, None, "GPU-b", ()),  # nobody tells
        (2, 1, None, ()),  # one that has no UUID cannot be asked about
        (0.5, 0, "GPU-b", ()),  # shared: its neighbour's use is not its own
    ],
)
def test_a_gpu_that_is_not_used_is_told(
    gpus: float, used: int | None, uuid: str | None, flags: tuple[str, ...]
) -> None:
    """`--nproc-per-node` said 1 on two GPUs, and in the morning nobody knew that half of the box had idled."""
    campaign = frozen(["r"], Policy(resources=Resources(gpus=gpus)), knobs={"steps": 60, "step_seconds": 10.0})
    simulation = Simulation(1)
    probe = Counting(simulation, used)
    simulation.supervisor._probe = probe
    devices = (Device("0", "GPU-a"), Device("1", uuid))
    simulation.ask(replace(launch("launch", campaign), devices=devices))
    assert simulation.run(campaign)["r"].flags == flags
    if flags:
        assert probe.asked[0][1] == ("GPU-a", "GPU-b")
        assert 310 <= probe.asked[0][0] < 312  # its first step came at 10 s
        assert len(probe.asked) == 6
