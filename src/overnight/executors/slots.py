"""Who gets which slot of this host: the lowest free one that serves, if nobody else computes there."""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterable

from overnight.executors.gpus import Memory, MemoryWatch
from overnight.executors.release import ReleaseChecks
from overnight.executors.slot_files import SlotFiles, Taken, close_all, gpu_key, write_tenant
from overnight.model.codec import Struct, replace
from overnight.model.run import Slot
from overnight.ports import Busy, Placement, RunRef, SlotRequest

_PORTS_REMEMBERED = 4096
_AN_ATTEMPT = "an attempt that has not ended"
FOREIGN_SECONDS = 2.0  # so old a look at a GPU that somebody else uses is looked at again


class _Held(Struct):
    slot: Slot
    fds: list[int]
    before: dict[str, int | None]  # of the GPUs that it has alone so far: key, bytes in use


class SlotBook:
    """Takes and gives up slots. Never waits. Not thread-safe: its executor locks."""

    def __init__(
        self,
        directory: str | os.PathLike[str],
        memory: MemoryWatch | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = SlotFiles(directory)
        self._memory, self._now = memory, now
        self._held: dict[tuple[str, ...], _Held] = {}  # locks that are in our hands
        self._passed: dict[str, int] = {}  # keys that went to attempts we watch, and how many of them
        self._vacated: dict[str, float] = {}
        self._lowest_cpu = 0
        self._ports: dict[int, None] = {}  # in the order they were given out
        self.checks = ReleaseChecks(self._files, memory, now)

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
                    fd, _ = self._files.lock(key)
                    if self._files.set_aside(key) is None:
                        write_tenant(fd, self._files.tenant(request.campaign))
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
        before: dict[str, int | None] = {}
        spare, reasons = 0, []
        try:
            for entry, uuid in request.devices:
                key = gpu_key(entry, uuid)
                try:
                    fd, level = self._take_gpu(entry, uuid, key)
                except Taken as taken:
                    reasons.append(str(taken))
                    continue
                if entry in suspects:
                    os.close(fd)
                    spare += 1
                    reasons.append(f"GPU {entry} is suspect")
                    continue
                fds.append(fd)
                chosen.append((entry, key))
                before[key] = level
                if len(chosen) == wanted:
                    break
        except BaseException:
            close_all(fds)
            raise
        if len(chosen) < wanted:
            close_all(fds)
            return Busy("; ".join(reasons), only_avoided=len(chosen) + spare >= wanted)
        for fd in fds:
            write_tenant(fd, self._files.tenant(request.campaign))
        entries, keys = zip(*chosen, strict=True)
        return self._hold(Slot(f"gpu:{','.join(entries)}", keys, entries), fds, before)

    def _take_gpu(self, entry: str, uuid: str | None, key: str) -> tuple[int, int | None]:
        """The lock of a GPU that is free in every way, and bytes of its memory in use (None: nobody can tell).
        Raises Taken with the whole reason, OSError."""
        checked = self.checks.words(key)
        if checked is not None:
            raise Taken(f"GPU {entry} is not free yet: {checked}")
        if key in self._passed:
            raise Taken(f"GPU {entry} is held by {self._files.holder(key) or _AN_ATTEMPT}")
        try:
            fd, tenant = self._files.lock(key)
        except Taken as taken:
            raise Taken(f"GPU {entry} is held by {taken}") from None
        try:
            if self.checks.begin(key, fd, tenant):
                raise Taken(f"GPU {entry} is not free yet: {self.checks.words(key)}")
            return fd, self._level(entry, uuid, key)
        except BaseException:
            if self.checks.words(key) is None:
                os.close(fd)
            raise

    def _level(self, entry: str, uuid: str | None, key: str) -> int | None:
        """Bytes in use of a GPU that nobody has locked and that may be used; None: nobody can tell. Raises Taken."""
        self._refuse_set_aside(entry, key)
        if self._memory is None or uuid is None or uuid.startswith("MIG-"):
            return None
        known, found = self._memory.used(uuid, self._vacated.get(key, float("-inf")))
        if not known:
            raise Taken(f"the memory of GPU {entry} is being looked at")
        if found is None:
            return None
        if found.used > found.foreign:
            self._memory.used(uuid, self._now() - FOREIGN_SECONDS)  # somebody waits: the next look is asked for early
            used = f"{found.used / 2**30:.1f} GiB"
            raise Taken(f"somebody outside of Overnight uses {used} of the memory of GPU {entry}")
        return found.used

    def _refuse_set_aside(self, entry: str, key: str) -> None:
        why = self._files.set_aside(key)
        if why is not None:
            raise Taken(f"GPU {entry} {why} (overnight slots release {entry})")

    def _acquire_share(self, request: SlotRequest) -> Slot | Busy:
        shares = int(1 / request.gpus + 1e-9)
        suspects = _suspects(request.avoid)
        spare, reasons = 0, []
        for entry, uuid in request.devices:
            try:
                slot = self._share_of(entry, uuid, shares, request.campaign, entry in suspects)
            except Taken as taken:
                reasons.append(str(taken))
                continue
            if slot is not None:
                return slot
            spare += 1
            reasons.append(f"GPU {entry} is suspect")
        return Busy("; ".join(reasons) or "the launching shell had no GPU", only_avoided=spare > 0)

    def _share_of(self, entry: str, uuid: str | None, shares: int, campaign: str, suspect: bool) -> Slot | None:
        """A share; None if one is free on a suspect GPU. Raises Taken with the whole reason, OSError."""
        key = gpu_key(entry, uuid)
        before: dict[str, int | None] = {}
        fds = [self._shared_base(entry, uuid, key, campaign, before)]
        try:
            holders = []
            for number in range(shares):
                share = f"{key}.share-{number}"
                if share in self._passed:
                    holders.append(self._files.holder(share) or _AN_ATTEMPT)
                    continue
                try:
                    fds.append(self._files.lock(share)[0])
                except Taken as taken:
                    holders.append(str(taken))
                    continue
                if suspect:
                    close_all(fds)
                    return None
                write_tenant(fds[-1], self._files.tenant(campaign))
                return self._hold(Slot(f"gpu:{entry}#{number}", (key, share), (entry,)), fds, before)
            raise Taken(f"GPU {entry} is held by {', '.join(dict.fromkeys(holders))}")
        except BaseException:
            close_all(fds)
            raise

    def _shared_base(self, entry: str, uuid: str | None, key: str, campaign: str, before: dict[str, int | None]) -> int:
        """The shared lock of a GPU; its memory goes into `before` if nobody shares it yet."""
        checked = self.checks.words(key)
        if checked is not None:
            raise Taken(f"GPU {entry} is not free yet: {checked}")
        try:
            fd, last = self._files.lock_shared(key)
        except Taken as taken:
            raise Taken(f"GPU {entry} is held by {taken}") from None
        try:
            if last is None:
                self._refuse_set_aside(entry, key)
                return fd
            if self.checks.begin(key, fd, last):
                raise Taken(f"GPU {entry} is not free yet: {self.checks.words(key)}")
            before[key] = self._level(entry, uuid, key)
            write_tenant(fd, replace(self._files.tenant(campaign), campaign="runs that share it"))
            self._files.share(fd)
            return fd
        except BaseException:
            if self.checks.words(key) is None:
                os.close(fd)
            raise

    def quarantine(self, slot: Slot, why: str) -> None:
        """From now on it is given to nobody. Of a share, the whole GPU. Raises OSError."""
        for number, key in enumerate(slot.keys):
            if ".share-" not in key:
                name = f"gpu:{slot.gpu_ids[number]}" if number < len(slot.gpu_ids) else slot.name
                self._files.mark("quarantine", key, name, why)

    # --- passing on ----------------------------------------------------------------------------------------

    def take(self, slot: Slot, ref: RunRef, n: int, attempt_id: str) -> list[int] | str:
        """The locks of `slot`, to be passed on to this attempt; they are the caller's. A slot that an earlier
        supervisor had acquired is locked anew; words if somebody holds it meanwhile. Raises OSError."""
        held = self._held.pop(slot.keys, None)
        if held is None:
            held = _Held(slot, [], {})
            try:
                self._files.make()
                for key in slot.keys:
                    held.fds.append(self._lock_anew(slot, key, held.before))
            except (Taken, OSError) as problem:
                close_all(held.fds)
                if isinstance(problem, OSError):
                    raise
                return str(problem)
        for number, (key, fd) in enumerate(zip(slot.keys, held.fds, strict=True)):
            tenant = replace(self._files.tenant(ref.campaign), run_id=ref.run_id, n=n)
            if key in held.before:
                name = f"gpu:{slot.gpu_ids[number]}"
                uuid = key.removeprefix("gpu-")
                tenant = replace(tenant, attempt_id=attempt_id, slot=name, uuid=uuid, before=held.before[key])
            elif ".share-" not in key and key.startswith("gpu-"):
                continue  # others share it, and the first of them stands there
            write_tenant(fd, tenant)
        self.passed(slot)
        return held.fds

    def _lock_anew(self, slot: Slot, key: str, before: dict[str, int | None]) -> int:
        if any(other.startswith(f"{key}.share-") for other in slot.keys):
            fd, last = self._files.lock_shared(key)
        else:
            fd, last = self._files.lock(key)
        if key.startswith("gpu-") and ".share-" not in key and last is not None:
            if self.checks.begin(key, fd, last):
                raise Taken("its release is being checked")
            # Nobody knows what was in use when it was acquired; more than this it cannot have been.
            before[key] = None if self._memory is None else Memory(0).foreign
            if len(slot.keys) > 1 and slot.keys[1].startswith(f"{key}.share-"):
                self._files.share(fd)
        return fd

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
                self._vacated[key] = self._now()
        self._lower_cpu(slot)

    def release(self, slot: Slot) -> None:
        """Give up what was acquired and not taken; anything else is left alone.

        That very object: a slot of the same name may have been acquired by somebody else since, and an order
        of before a restart knows only the name.
        """
        held = self._held.get(slot.keys)
        if held is not None and held.slot is slot:
            del self._held[slot.keys]
            close_all(held.fds)
            self._lower_cpu(slot)

    def _hold(self, slot: Slot, fds: list[int], before: dict[str, int | None] | None = None) -> Slot:
        self._held[slot.keys] = _Held(slot, fds, before or {})
        return slot

    def check(self, slot: Slot) -> None:
        """Its attempt's tree is gone: take its GPUs back until they are proven free. Whoever was faster checks."""
        for key in slot.keys:
            if key.startswith("gpu-") and ".share-" not in key and key not in self._passed:
                self._check(key, proven=True)

    def check_all(self) -> None:
        """Of all GPUs of this host that are free and whose check is owed: whose supervisor died over it."""
        with contextlib.suppress(OSError):
            for key in self._files.known():
                if key.startswith("gpu-") and ".share-" not in key:
                    self._check(key, proven=False)

    def _check(self, key: str, *, proven: bool) -> None:
        if self.checks.words(key) is None:
            with contextlib.suppress(Taken, OSError):
                fd, tenant = self._files.lock(key)
                if not self.checks.begin(key, fd, tenant, proven=proven):
                    os.close(fd)

    def close(self) -> None:
        """Give up all that is still in our hands."""
        for held in self._held.values():
            close_all(held.fds)
        self._held.clear()
        self.checks.close()

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
