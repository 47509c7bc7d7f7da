"""Who gets which slot of this host: the lowest free one that serves, if nobody else computes there."""

import contextlib
import os
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from overnight.executors.gpus import MemoryWatch
from overnight.executors.slot_files import SlotFiles, Taken, close_all, gpu_key
from overnight.model.run import Slot
from overnight.ports import Busy, Placement, SlotRequest

FOREIGN_BYTES = 2**30  # more than this in use on a GPU that nobody has locked: somebody else computes there
_PORTS_REMEMBERED = 4096


class SlotBook:
    """Takes and gives up slots. Never waits. Not thread-safe: its executor locks."""

    def __init__(self, directory: Path, memory: MemoryWatch | None = None) -> None:
        self._files = SlotFiles(directory)
        self._memory = memory
        self._held: dict[tuple[str, ...], tuple[Slot, list[int]]] = {}  # locks that are in our hands
        self._passed: dict[str, int] = {}  # keys that went to attempts we watch, and how many of them
        self._vacated: dict[str, float] = {}
        self._lowest_cpu = 0
        self._ports: dict[int, None] = {}  # in the order they were given out

    # --- taking --------------------------------------------------------------------------------------------

    def acquire(self, request: SlotRequest) -> Placement | Busy:
        """The lowest free slot that serves the request, and a port."""
        try:
            self._files.make()
            found: Slot | Busy
            if request.gpus <= 0:
                found = self._acquire_cpu(request)
            elif request.gpus < 1:
                found = self._acquire_share(request)
            else:
                found = self._acquire_gpus(request)
            return found if isinstance(found, Busy) else Placement(found, self._free_port())
        except OSError as error:
            where = error.filename or self._files.directory
            return Busy(f"the slots of this host cannot be used: {error.strerror}: {where}")

    def _acquire_cpu(self, request: SlotRequest) -> Slot:
        number = self._lowest_cpu
        lowest_is_ours = True
        while True:
            key = f"cpu-{number}"
            ours = key in self._passed or (key,) in self._held
            if lowest_is_ours and not ours:
                self._lowest_cpu, lowest_is_ours = number, False
            if not ours and f"cpu:{number}" not in request.avoid:
                with contextlib.suppress(Taken):
                    fd = self._files.lock(key, request.campaign)
                    if self._files.set_aside(key) is None:
                        return self._hold(Slot(f"cpu:{number}", (key,)), [fd])
                    os.close(fd)
            number += 1

    def _acquire_gpus(self, request: SlotRequest) -> Slot | Busy:
        wanted = int(request.gpus)
        if wanted > len(request.devices):
            return Busy(f"{wanted} GPUs are asked for and the launching shell had {len(request.devices)}")
        suspects = _suspects(request.avoid)
        chosen: list[tuple[str, str]] = []
        fds: list[int] = []
        spare, reasons = 0, []
        try:
            for entry, uuid in request.devices:
                key = gpu_key(entry, uuid)
                try:
                    fd = self._files.lock(key, request.campaign)
                except Taken as taken:
                    reasons.append(f"GPU {entry} is held by {taken}")
                    continue
                used = self._unusable(entry, uuid, key)
                if used is None and entry not in suspects:
                    fds.append(fd)
                    chosen.append((entry, key))
                    if len(chosen) == wanted:
                        break
                    continue
                os.close(fd)
                if used is None:
                    spare += 1
                    reasons.append(f"GPU {entry} is suspect")
                else:
                    reasons.append(used)
        except BaseException:
            close_all(fds)
            raise
        if len(chosen) < wanted:
            close_all(fds)
            return Busy("; ".join(reasons), only_avoided=len(chosen) + spare >= wanted)
        entries, keys = zip(*chosen, strict=True)
        return self._hold(Slot(f"gpu:{','.join(entries)}", keys, entries), fds)

    def _acquire_share(self, request: SlotRequest) -> Slot | Busy:
        shares = int(1 / request.gpus + 1e-9)
        suspects = _suspects(request.avoid)
        spare, reasons = 0, []
        for entry, uuid in request.devices:
            try:
                slot = self._share_of(entry, uuid, shares, request.campaign, entry in suspects)
            except Taken as taken:
                reasons.append(f"GPU {entry} is held by {taken}")
                continue
            if isinstance(slot, Slot):
                return slot
            spare += slot is None
            reasons.append(slot or f"GPU {entry} is suspect")
        return Busy("; ".join(reasons) or "the launching shell had no GPU", only_avoided=spare > 0)

    def _share_of(self, entry: str, uuid: str | None, shares: int, campaign: str, suspect: bool) -> Slot | str | None:
        """A share; words if somebody else uses the GPU; None if a share is free on a suspect GPU."""
        key = gpu_key(entry, uuid)
        base, alone = self._files.lock_shared(key)
        fds = [base]
        try:
            used = self._unusable(entry, uuid, key) if alone else self._set_aside(entry, key)
            if used is not None:
                close_all(fds)
                return used
            holders = []
            for number in range(shares):
                try:
                    fds.append(self._files.lock(f"{key}.share-{number}", campaign))
                except Taken as taken:
                    holders.append(str(taken))
                    continue
                if suspect:
                    close_all(fds)
                    return None
                keys = (key, f"{key}.share-{number}")
                return self._hold(Slot(f"gpu:{entry}#{number}", keys, (entry,)), fds)
        except OSError:
            close_all(fds)
            raise
        close_all(fds)
        raise Taken(", ".join(dict.fromkeys(holders)))

    def _unusable(self, entry: str, uuid: str | None, key: str) -> str | None:
        """Why a GPU that nobody has locked may not be used, or None."""
        return self._set_aside(entry, key) or self._foreign(entry, uuid, key)

    def _set_aside(self, entry: str, key: str) -> str | None:
        why = self._files.set_aside(key)
        return None if why is None else f"GPU {entry} {why} (overnight slots release {entry})"

    def _foreign(self, entry: str, uuid: str | None, key: str) -> str | None:
        """Who computes on a GPU that nobody has locked, or None."""
        if self._memory is None or uuid is None or uuid.startswith("MIG-"):
            return None
        known, used = self._memory.used(uuid, self._vacated.get(key, float("-inf")))
        if not known:
            return f"the memory of GPU {entry} is being looked at"
        if used is not None and used > FOREIGN_BYTES:
            return f"somebody outside of Overnight uses {used / 2**30:.1f} GiB of the memory of GPU {entry}"
        return None

    def quarantine(self, slot: Slot, why: str) -> None:
        """From now on it is given to nobody. Of a share, the whole GPU. Raises OSError."""
        for number, key in enumerate(slot.keys):
            if ".share-" not in key:
                name = f"gpu:{slot.gpu_ids[number]}" if number < len(slot.gpu_ids) else slot.name
                self._files.mark("quarantine", key, name, why)

    # --- passing on ----------------------------------------------------------------------------------------

    def take(self, slot: Slot) -> list[int] | str:
        """The locks of `slot`, to be passed on; they are the caller's. A slot that an earlier supervisor had
        acquired is locked anew; words if somebody holds it meanwhile. Raises OSError."""
        _, fds = self._held.pop(slot.keys, (slot, []))
        if not fds:
            try:
                self._files.make()
                for key in slot.keys:
                    shared = any(other.startswith(f"{key}.share-") for other in slot.keys)
                    fds.append(
                        self._files.lock_shared(key)[0] if shared else self._files.lock(key, "an earlier supervisor")
                    )
            except (Taken, OSError) as problem:
                close_all(fds)
                if isinstance(problem, OSError):
                    raise
                return str(problem)
        self.passed(slot)
        return fds

    def passed(self, slot: Slot) -> None:
        """An attempt that we watch holds it."""
        for key in slot.keys:
            self._passed[key] = self._passed.get(key, 0) + 1

    def vacated(self, slot: Slot) -> None:
        """The attempt has ended: its locks are gone with its shim."""
        for key in slot.keys:
            left = self._passed.get(key, 0) - 1
            if left > 0:
                self._passed[key] = left
            else:
                self._passed.pop(key, None)
                self._vacated[key] = time.monotonic()
        self._lower_cpu(slot)

    def release(self, slot: Slot) -> None:
        """Give up what was acquired and not taken; anything else is left alone.

        That very object: a slot of the same name may have been acquired by somebody else since, and an order
        of before a restart knows only the name.
        """
        held = self._held.get(slot.keys)
        if held is not None and held[0] is slot:
            del self._held[slot.keys]
            close_all(held[1])
            self._lower_cpu(slot)

    def _hold(self, slot: Slot, fds: list[int]) -> Slot:
        self._held[slot.keys] = slot, fds
        return slot

    def close(self) -> None:
        """Give up all that is still in our hands."""
        for _, fds in self._held.values():
            close_all(fds)
        self._held.clear()

    def _lower_cpu(self, slot: Slot) -> None:
        for key in slot.keys:
            if key.startswith("cpu-"):
                self._lowest_cpu = min(self._lowest_cpu, int(key[4:]))

    def _free_port(self) -> int | None:
        """A TCP port that nobody uses now and that was not among the last ones given out: whoever got it may
        not be listening yet."""
        for _ in range(64):
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", 0))
                except OSError:  # none left
                    return None
                port: int = probe.getsockname()[1]
            if port not in self._ports:
                self._ports[port] = None
                if len(self._ports) > _PORTS_REMEMBERED:
                    del self._ports[next(iter(self._ports))]
                return port
        return None


def _suspects(avoid: Iterable[str]) -> set[str]:
    """GPU entries of the slots to be avoided: `gpu:0,1` and `gpu:2#0` name 0, 1 and 2."""
    found: set[str] = set()
    for name in avoid:
        if name.startswith("gpu:"):
            found.update(name[4:].partition("#")[0].split(","))
    return found
