"""Slots of the fake host, in memory."""

from collections.abc import Hashable

from overnight.model.run import Slot
from overnight.ports import Busy, Placement, SlotRequest

_FIRST_PORT, _PORTS = 20_000, 20_000


class FakeSlots:
    """Who holds which slot. An owner is whoever took it: a window onto the world, or an attempt."""

    def __init__(self, gpus: int) -> None:
        self.gpus = gpus
        self.quarantined: dict[str, str] = {}  # key: why
        self._owners: dict[str, Hashable] = {}
        self._port = 0

    def acquire(self, request: SlotRequest, owner: Hashable) -> Placement | Busy:
        """The lowest free slot that serves the request."""
        slot = self._cpu(request) if request.gpus <= 0 else self._gpu(request)
        if isinstance(slot, Busy):
            return slot
        self.give(slot, owner)
        self._port = (self._port + 1) % _PORTS
        return Placement(slot, _FIRST_PORT + self._port)

    def give(self, slot: Slot, owner: Hashable) -> None:
        """It is this owner's now."""
        for key in slot.keys:
            self._owners[key] = owner

    def holder(self, slot: Slot, owner: Hashable) -> Hashable | None:
        """Somebody else who holds a part of it."""
        for key in slot.keys:
            if self._owners.get(key, owner) != owner:
                return self._owners[key]
        return None

    def free(self, slot: Slot, owner: Hashable) -> None:
        """Give up what this owner holds of it."""
        for key in slot.keys:
            if self._owners.get(key) == owner:
                del self._owners[key]

    def quarantine(self, slot: Slot, why: str) -> None:
        """It is given to nobody any more; of a share, the whole GPU."""
        for key in slot.keys:
            self.quarantined.setdefault(key.partition(".share-")[0], why)

    def free_all(self, owner: Hashable) -> None:
        """The owner is gone."""
        self._owners = {key: held for key, held in self._owners.items() if held != owner}

    def _cpu(self, request: SlotRequest) -> Slot:
        number = 0
        while (
            f"cpu-{number}" in self._owners or f"cpu-{number}" in self.quarantined or f"cpu:{number}" in request.avoid
        ):
            number += 1
        return Slot(f"cpu:{number}", (f"cpu-{number}",))

    def _gpu(self, request: SlotRequest) -> Slot | Busy:
        entries = [entry for entry, _ in request.devices] or [str(n) for n in range(self.gpus)]
        suspects = {
            entry
            for name in request.avoid
            if name.startswith("gpu:")
            for entry in name[4:].partition("#")[0].split(",")
        }
        found = [slot for entry in entries if (slot := self._part(entry, request.gpus)) is not None]
        good = [slot for slot in found if slot.gpu_ids[0] not in suspects]
        wanted = max(1, int(request.gpus))
        if len(good) < wanted:
            only_avoided = len(found) >= wanted
            words = "only suspect GPUs are free" if only_avoided else "all GPUs are taken"
            for key, why in self.quarantined.items():
                words += f"; {key.replace('gpu-', 'GPU ')} is quarantined: {why}"
            return Busy(words, only_avoided)
        if request.gpus < 1:
            return good[0]
        chosen = good[:wanted]
        ids = tuple(slot.gpu_ids[0] for slot in chosen)
        return Slot(f"gpu:{','.join(ids)}", tuple(slot.keys[0] for slot in chosen), ids)

    def _part(self, entry: str, gpus: float) -> Slot | None:
        key = f"gpu-{entry}"
        shares = [held for held in self._owners if held.startswith(f"{key}.share-")]
        if key in self._owners or key in self.quarantined or (gpus >= 1 and shares):
            return None
        if gpus >= 1:
            return Slot(f"gpu:{entry}", (key,), (entry,))
        for number in range(int(1 / gpus + 1e-9)):
            share = f"{key}.share-{number}"
            if share not in self._owners:
                return Slot(f"gpu:{entry}#{number}", (share,), (entry,))
        return None
