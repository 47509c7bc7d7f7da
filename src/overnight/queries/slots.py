"""The slots of this host: who holds them, which are set aside and why. From files and the driver; no supervisor is
needed, and none is in the way."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from overnight.model.campaign import Campaign
from overnight.model.codec import replace
from overnight.model.reports import Need, SlotLine, SlotsReport
from overnight.model.time import Moment
from overnight.queries.words import iso

if TYPE_CHECKING:
    from overnight.executors.slot_files import Mark, SlotFiles, Tenant
    from overnight.nvidia import Gpu


def slots(env: Mapping[str, str]) -> SlotsReport:
    """All GPUs that the driver tells of, that the shell of `env` may use or that somebody has used here, and the CPU
    slots that are in use or quarantined. May block for some seconds on a broken driver. Raises OSError."""
    from overnight import nvidia
    from overnight.executors.gpus import visible_devices
    from overnight.executors.slot_files import SlotFiles, gpu_key, slots_home

    files = SlotFiles(slots_home(env))
    told = {gpu_key(gpu.index, gpu.uuid): gpu for gpu in nvidia.look(env) or ()}
    names = {key: gpu.index for key, gpu in told.items()}
    if not told:
        names = {gpu_key(device.entry, device.uuid): device.entry for device in visible_devices(env)}
    known = files.known()
    found: list[SlotLine] = []
    for key in dict.fromkeys([*names, *known]):
        if key.startswith("cpu-"):
            found += _cpu(files, key)
        elif ".share-" not in key:
            shares = [other for other in known if other.startswith(f"{key}.share-")]
            found += _gpu(files, key, names.get(key), told.get(key), shares)
    return SlotsReport(os.uname().nodename, files.directory, tuple(sorted(found, key=_order)))


def quarantined(campaign: Campaign, env: Mapping[str, str]) -> list[Need]:
    """The campaign's GPUs that are quarantined on this host, each as something that needs a person."""
    if not campaign.devices:
        return []
    from overnight.executors.slot_files import SlotFiles, gpu_key, slots_home

    files = SlotFiles(slots_home(env))
    found = []
    for device in campaign.devices:
        mark = files.marked("quarantine", gpu_key(device.entry, device.uuid))
        if mark is not None and (campaign.ended is None or campaign.id in mark.why):
            why = f"{mark.why}. Nothing runs on it until a person has looked (nvidia-smi) and lets it go"
            found.append(Need(f"GPU {device.entry} is quarantined", why, f"overnight slots release {device.entry}"))
    return found


def _order(line: SlotLine) -> tuple[bool, int, str]:
    number = line.slot.partition(":")[2].partition("#")[0]
    return line.slot.startswith("cpu:"), int(number) if number.isdigit() else 10**6, line.slot


def _cpu(files: "SlotFiles", key: str) -> Sequence[SlotLine]:
    line = SlotLine(f"cpu:{key.removeprefix('cpu-')}", key, "free")
    held, tenant = files.held(key)
    quarantine = files.marked("quarantine", key)
    if quarantine is not None:
        return [_set_aside(line, "quarantined", quarantine)]
    return [_held(line, tenant)] if held else []


def _gpu(files: "SlotFiles", key: str, index: str | None, gpu: "Gpu | None", shares: list[str]) -> Sequence[SlotLine]:
    held, tenant = files.held(key)
    quarantine, drain = files.marked("quarantine", key), files.marked("drain", key)
    mark = quarantine or drain
    name = f"gpu:{index}" if index is not None else tenant.slot or (mark.slot if mark else f"gpu:{key[4:]}")
    line = SlotLine(name, key, "free")
    if gpu is not None:
        line = replace(line, uuid=gpu.uuid, memory_used=gpu.memory_used, memory_total=gpu.memory_total)
    parts = [(share, *files.held(share)) for share in shares]
    below = [
        _held(SlotLine(f"{name}#{share.rpartition('-')[2]}", share, "free"), holder)
        for share, is_held, holder in parts
        if is_held
    ]
    if quarantine is not None:
        line = _set_aside(line, "quarantined", quarantine)
    elif held or below:
        line = _held(line, tenant)
        if drain is not None:
            words = f"drained by {drain.by}: what runs goes on, nothing new starts"
            line = replace(line, reason=words, until=_iso(drain.until), command=_release(line))
    elif drain is not None:
        line = _set_aside(line, "drained", drain)
    elif tenant.attempt_id:
        words = "its last attempt ended unseen: it is checked before the next one starts"
        line = replace(_held(line, tenant), state="checking", reason=words)
    elif gpu is not None and _foreign(gpu):
        line = replace(line, reason="somebody outside of Overnight uses its memory")
    return [line, *below]


def _foreign(gpu: "Gpu") -> bool:
    from overnight.executors.gpus import Memory

    return gpu.memory_used is not None and gpu.memory_used > Memory(gpu.memory_used, gpu.memory_total or 0).foreign


def _held(line: SlotLine, tenant: "Tenant") -> SlotLine:
    line = replace(
        line, state="busy", campaign=tenant.campaign or None, run_id=tenant.run_id or None, attempt=tenant.n or None,
        user=tenant.user or None, since=_iso(tenant.since),
    )  # fmt: skip
    if tenant.checked_since is None:
        return line
    return replace(line, state="checking", reason="its attempt has ended; its memory is not yet proven to be back")


def _set_aside(line: SlotLine, state: str, mark: "Mark") -> SlotLine:
    return replace(
        line, state=state, user=mark.by, since=_iso(mark.at), until=_iso(mark.until), reason=mark.why,
        command=_release(line),
    )  # fmt: skip


def _release(line: SlotLine) -> str:
    return f"overnight slots release {line.slot.removeprefix('gpu:')}"


def _iso(seconds: float | None) -> str | None:
    return iso(Moment(0.0, seconds)) if seconds else None
