"""When a GPU is to be taken out of use: its own word that it is broken, or two attempts that broke on it.

A GPU is quarantined only where it is known which one: of a slot of several, the one that two attempts had in common.
Where that is still several, nothing is: seven good GPUs of a host are not taken from everybody for a guess.
"""

import re

from overnight.core.result import Struck
from overnight.model.campaign import Campaign
from overnight.model.classes import Classification
from overnight.model.codec import replace
from overnight.model.run import Attempt, Slot

# NVIDIA's Xids after which the GPU needs a reset or a person: 48 double bit ECC, 64 row remapping failed, 79 off the
# bus, 95 uncontained ECC, 119 and 120 GSP gone, 140 unrecovered ECC. 74 (NVLink) and 94 (contained) may pass.
CERTAIN_XIDS = frozenset({48, 64, 79, 95, 119, 120, 140})
_XID = re.compile(r"\bXid\b(?: \([^)]*\))?[: ]{1,3}(\d+)\b")
_CERTAIN = re.compile(
    r"(?i)fallen off the bus|GPU is lost|GPU_IS_LOST|requires reset|uncorrectable ECC|ECC_?Uncorrectable"
    r"|ECCNotCorrectable|double bit ECC"
)
_ATTEMPTS = 2  # distinct ones on one GPU are enough, whatever they say
_MOST_KEYS = 256


def certain(found: Classification) -> bool:
    """Whether this one failure proves the GPU broken."""
    text = f"{found.message}\n{found.evidence.text if found.evidence is not None else ''}"
    return _CERTAIN.search(text) is not None or any(int(xid) in CERTAIN_XIDS for xid in _XID.findall(text))


def struck(campaign: Campaign, lesson: Struck) -> Campaign:
    """Remember which GPUs an attempt that failed by its hardware had."""
    hardware = dict(campaign.hardware)
    for key in lesson.keys:
        known = hardware.get(key, ())
        if lesson.attempt not in known and len(known) < _ATTEMPTS and len(hardware) < _MOST_KEYS:
            hardware[key] = (*known, lesson.attempt)
    return replace(campaign, hardware=hardware)


def lesson_of(run_id: str, attempt: Attempt) -> Struck:
    """What the campaign remembers of it."""
    return Struck(f"{run_id} #{attempt.n}", tuple(_gpus(attempt.slot)))


def to_quarantine(campaign: Campaign, run_id: str, attempt: Attempt, found: Classification) -> tuple[Slot, str] | None:
    """The GPU (a slot of its own) that is to be given to nobody, and why; None: not known, or not yet."""
    gpus = _gpus(attempt.slot)
    this = f"{run_id} #{attempt.n}"
    before = {key: [other for other in campaign.hardware.get(key, ()) if other != this] for key in gpus}
    twice = [key for key, others in before.items() if len(others) + 1 >= _ATTEMPTS]
    message = " ".join(found.message.split())[:200]
    if len(gpus) == 1 and certain(found):
        (key,) = gpus
        return gpus[key], f"{campaign.id} {this}: {message}"
    if len(twice) == 1:
        (key,) = twice
        return gpus[key], f"{campaign.id} {this}, and {before[key][0]} before it: {message}"
    return None


def _gpus(slot: Slot) -> dict[str, Slot]:
    """The whole GPUs that a slot is of, or a share of, by lock key."""
    keys: dict[str, list[str]] = {}
    for key in slot.keys:
        keys.setdefault(key.partition(".share-")[0], []).append(key)
    if len(keys) != len(slot.gpu_ids):
        return {}
    return {
        key: Slot(f"gpu:{entry}", tuple(held), (entry,))
        for (key, held), entry in zip(keys.items(), slot.gpu_ids, strict=True)
    }
