"""When a GPU is taken out of use: what proves it broken alone, what needs a second attempt, which GPU it is."""

import pytest
from core_world import Tale, a_campaign, at

from overnight.core.hardware import certain, struck, to_quarantine
from overnight.core.result import Struck
from overnight.model.classes import Classification, Evidence
from overnight.model.codec import replace
from overnight.model.effects import QuarantineSlot
from overnight.model.events import SlotQuarantined
from overnight.model.run import Attempt, Slot
from overnight.model.states import AttemptState, RunState

ONE = Slot("gpu:0", ("GPU-0",), ("0",))
TWO = Slot("gpu:0,1", ("GPU-0", "GPU-1"), ("0", "1"))
OTHER_TWO = Slot("gpu:1,2", ("GPU-1", "GPU-2"), ("1", "2"))


def attempt(slot: Slot, n: int = 1) -> Attempt:
    return Attempt(n, 1, AttemptState.ENDED, 1, slot, at(0))


def hardware(message: str = "NVLink error") -> Classification:
    return Classification("gpu.hardware", "gpu-lost", message)


@pytest.mark.parametrize(
    ("text", "proof"),
    [
        ("NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, GPU has fallen off the bus.", True),
        ("NVRM: Xid (PCI:0000:3b:00): 48, pid=1234, DBE (double bit error) ECC Error", True),
        ("NVRM: Xid (PCI:0000:3b:00): 95, Uncontained ECC error", True),
        ("NVRM: Xid (0000:03:00): 64, row remapping failure", True),
        ("the driver reported Xid 119: GSP RPC timeout", True),
        ("RuntimeError: CUDA error: uncorrectable ECC error encountered", True),
        ("CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable ECC error encountered", True),
        ("Unable to determine the device handle for GPU 0000:C1:00.0: GPU is lost.", True),
        ("[ 1234.5] NVRM: Xid (PCI:0000:86:00): 74, NVLink: fatal error detected on link 2", False),
        ("NVRM: Xid (PCI:0000:86:00): 94, Contained ECC error", False),
        ("HW Exception by GPU node-1 reason :GPU Hang", False),
        ("Xid (PCI:0000:48:00): 74, pid=79", False),
    ],
)
def test_what_proves_a_gpu_broken_alone(text: str, proof: bool) -> None:
    """A PCI address with a 48 in it is no double bit error; a GPU off the bus needs no second victim."""
    assert certain(hardware(text)) is proof
    assert certain(Classification("gpu.hardware", "x", "it failed", Evidence(None, 1, text))) is proof


def test_the_second_attempt_on_the_same_gpu_is_enough() -> None:
    """A fault that may pass is not held against a GPU once; twice is."""
    campaign = a_campaign(gpus=2)
    assert to_quarantine(campaign, "a", attempt(ONE), hardware()) is None
    campaign = struck(campaign, Struck("a #1", ("GPU-0",)))
    assert to_quarantine(campaign, "a", attempt(ONE), hardware()) is None  # the same word once more
    found = to_quarantine(campaign, "b", attempt(ONE), hardware())
    assert found is not None and found[0] == ONE
    assert found[1] == "bat-1 b #1, and a #1 before it: NVLink error"


def test_of_two_pairs_the_gpu_in_common_is_the_one() -> None:
    """Three GPUs were suspect, and one had been there both times."""
    campaign = struck(a_campaign(gpus=3), Struck("a #1", TWO.keys))
    found = to_quarantine(campaign, "b", attempt(OTHER_TWO), hardware())
    assert found is not None and found[0] == Slot("gpu:1", ("GPU-1",), ("1",))
    assert to_quarantine(campaign, "b", attempt(TWO), hardware()) is None  # which of the two, nobody knows


def test_a_share_means_its_whole_gpu_and_a_cpu_means_nothing() -> None:
    """Half a GPU cannot be broken."""
    share = Slot("gpu:0#1", ("GPU-0.share-1",), ("0",))
    campaign = struck(a_campaign(gpus=1), Struck("a #1", ("GPU-0",)))
    found = to_quarantine(campaign, "b", attempt(share), hardware())
    assert found is not None and found[0].name == "gpu:0"
    assert to_quarantine(campaign, "b", attempt(Slot("cpu:0", ("cpu-0",))), hardware("GPU is lost")) is None


def begin_on_gpu(tale: Tale) -> None:
    """An attempt on GPU 0, whose lock has a name here."""
    tale.begin("gpu:0")
    newest = replace(tale.run.attempts[-1], slot=ONE)
    tale.run = replace(tale.run, attempts=(*tale.run.attempts[:-1], newest))


def test_it_is_owed_until_it_is_done_and_nothing_starts_before() -> None:
    """The retry was on its way to the broken GPU before the GPU was marked."""
    tale = Tale(gpus=2)
    begin_on_gpu(tale)
    tale.end()
    tale.verify("gpu.hardware")
    assert not tale.run.owed
    begin_on_gpu(tale)
    tale.end()
    tale.verify("gpu.hardware")
    (owed,) = tale.run.owed
    assert isinstance(owed, QuarantineSlot) and owed.slot == ONE
    assert tale.state == RunState.WAITING
    tale.step(SlotQuarantined(tale.now, Slot("gpu:1")))
    assert tale.run.owed == (owed,)
    tale.step(SlotQuarantined(tale.now, ONE))
    assert tale.run.owed == ()
