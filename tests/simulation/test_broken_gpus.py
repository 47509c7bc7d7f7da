"""GPUs that break on the real loop: who goes elsewhere, what is taken out of use, and what goes on."""

import pytest
from story import POLICY, Story, rows

from overnight.executors.fake import FakeWorld
from overnight.model.campaign import Device
from overnight.model.codec import replace
from overnight.model.policy import Resources
from overnight.model.states import RunState
from overnight.testing.simulator import Faults

BROKE, OFF_THE_BUS = 12, 14
ONE_EACH = replace(POLICY, resources=Resources(gpus=1))
EVERY = {"run": "*"}


def on_gpus(story: Story, count: int) -> Story:
    """The same campaign, launched where there are GPUs."""
    request = story.simulation.inbox.read()[0]
    devices = tuple(Device(str(n), f"GPU-{n}") for n in range(count))
    story.simulation.inbox.delete([request.id])
    story.simulation.ask(replace(request, devices=devices))
    return story


def quarantined(story: Story) -> list[str]:
    """GPUs of the fake host that are given to nobody."""
    world: FakeWorld = story.simulation.world
    return sorted(world.slots.quarantined)


def test_the_second_attempt_that_breaks_on_a_gpu_takes_it_out_of_use() -> None:
    """A GPU with failing memory killed one run after the other, each for the first time."""
    rules = [{"run": "r[02]", "attempt": 1, "exit_code": BROKE}, {"run": "r1", "seconds": 2000.0}]
    story = on_gpus(Story(rows(6, *rules, policy=ONE_EACH)), 2)
    runs = story.end()
    assert {run.state for run in runs.values()} == {RunState.SUCCEEDED}
    assert quarantined(story) == ["gpu-0"]
    (why,) = story.simulation.world.slots.quarantined.values()
    assert story.what.campaign in why and "r0 #1" in why and "r2 #1" in why
    # r3 may have been given the slot before it was known why r2 had ended.
    assert all(a.slot.name == "gpu:1" for name in ("r4", "r5") for a in runs[name].attempts)


def test_a_gpu_that_says_itself_that_it_is_gone_needs_no_second() -> None:
    """Xid 79: fallen off the bus. The next attempt on it could only fail, too."""
    story = on_gpus(Story(rows(4, {"run": "r0", "attempt": 1, "exit_code": OFF_THE_BUS}, policy=ONE_EACH)), 2)
    runs = story.end()
    assert quarantined(story) == ["gpu-0"]
    assert [a.slot.name for a in runs["r0"].attempts] == ["gpu:0", "gpu:1"]


def test_of_several_gpus_only_the_one_in_common_goes() -> None:
    """Two GPUs broke a run, and nobody could tell which: a guess would have cost the host both."""
    both = replace(POLICY, resources=Resources(gpus=2))
    story = on_gpus(Story(rows(3, {"run": "r0", "exit_code": OFF_THE_BUS}, policy=both)), 2)
    runs = story.end()
    assert quarantined(story) == []
    assert runs["r0"].state == RunState.FAILED and runs["r0"].failure is not None
    assert runs["r0"].failure.name == "gpu.hardware"


def test_a_run_that_goes_elsewhere_waits_for_the_other_gpu() -> None:
    """Told to avoid GPU 0, the run went back to it at once: the other one was taken for the moment."""
    rules = [{"run": "r0", "attempt": 1, "exit_code": BROKE}, {"run": "r1", "seconds": 100.0},
             {"run": "r[2-9]", "seconds": 300.0}]  # fmt: skip
    story = on_gpus(Story(rows(4, *rules, policy=ONE_EACH)), 2)
    runs = story.end()
    assert [a.slot.name for a in runs["r0"].attempts] == ["gpu:0", "gpu:1"]
    assert runs["r2"].attempts[0].slot.name == "gpu:0"  # it was not left idle meanwhile


def test_it_does_not_wait_for_ever() -> None:
    """The other GPU was somebody's for two days."""
    rules = [{"run": "r0", "attempt": 1, "exit_code": BROKE}, {"run": "r1", "seconds": 7000.0}]
    story = on_gpus(Story(rows(2, *rules, policy=ONE_EACH)), 2)
    story.until(lambda: story.runs["r0"].state == RunState.SUCCEEDED)
    first, second = story.runs["r0"].attempts
    assert second.slot.name == "gpu:0"
    assert 120 <= second.planned.mono - (first.ended or first.planned).mono <= 200  # its backoff, then the longest one


@pytest.mark.parametrize("seed", range(8))
def test_it_survives_a_death_at_any_seam(seed: int) -> None:
    """The supervisor died between the decision and the mark: the GPU stayed in use."""
    weather = Faults(0.05, 0.05, 0.05, 0.05, disk_full=0.05)
    story = on_gpus(
        Story(rows(6, {"run": "r0", "attempt": 1, "exit_code": OFF_THE_BUS}, policy=ONE_EACH), seed, weather), 2
    )
    runs = story.end()
    assert quarantined(story) == ["gpu-0"] or runs["r0"].attempts[0].slot.name == "gpu:1"
    assert len(quarantined(story)) == 1
    assert all(not run.owed for run in runs.values())
