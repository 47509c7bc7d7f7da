"""Slots of this host: one lock file per GPU, GPU share or CPU slot, in one directory for all roots and users.

The lock belongs to the open file, not to a process: handed to the shim it is held exactly as long as the
attempt lives, whoever supervises. The files' content is a courtesy, it names the last holder; the lock decides.
"""

import contextlib
import errno
import fcntl
import os
import pwd
import re
import socket
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from overnight.executors.gpus import MemoryWatch
from overnight.model.run import Slot
from overnight.ports import Busy, Placement, SlotRequest

FOREIGN_BYTES = 2**30  # more than this in use on a GPU that nobody has locked: somebody else computes there
_PORTS_REMEMBERED = 4096
_WORDS_BYTES = 200


def slots_home(env: Mapping[str, str]) -> Path:
    """The host's directory of slots: $OVERNIGHT_SLOTS_DIR, else one that all users share."""
    return Path(env.get("OVERNIGHT_SLOTS_DIR") or "/var/tmp/overnight-slots")


class _Taken(Exception):
    """Somebody holds the lock; the message is who."""


class SlotBook:
    """Takes and gives up slots. Never waits. Not thread-safe: its executor locks."""

    def __init__(self, directory: Path, memory: MemoryWatch | None = None) -> None:
        self._directory = str(directory)
        self._memory = memory
        self._held: dict[tuple[str, ...], tuple[Slot, list[int]]] = {}  # locks that are in our hands
        self._passed: dict[str, int] = {}  # keys that went to attempts we watch, and how many of them
        self._vacated: dict[str, float] = {}
        self._lowest_cpu = 0
        self._ports: dict[int, None] = {}  # in the order they were given out
        self._user = _user()
        self._ready = False

    # --- taking --------------------------------------------------------------------------------------------

    def acquire(self, request: SlotRequest) -> Placement | Busy:
        """The lowest free slot that serves the request, and a port."""
        try:
            self._make_directory()
            found: Slot | Busy
            if request.gpus <= 0:
                found = self._acquire_cpu(request)
            elif request.gpus < 1:
                found = self._acquire_share(request)
            else:
                found = self._acquire_gpus(request)
            return found if isinstance(found, Busy) else Placement(found, self._free_port())
        except OSError as error:
            self._ready = False
            return Busy(f"the slots of this host cannot be used: {error.strerror}: {error.filename or self._directory}")

    def _acquire_cpu(self, request: SlotRequest) -> Slot:
        number = self._lowest_cpu
        lowest_is_ours = True
        while True:
            key = f"cpu-{number}"
            ours = key in self._passed or (key,) in self._held
            if lowest_is_ours and not ours:
                self._lowest_cpu, lowest_is_ours = number, False
            if not ours and f"cpu:{number}" not in request.avoid:
                with contextlib.suppress(_Taken):
                    fd = self._lock(key, request.campaign)
                    return self._hold(Slot(f"cpu:{number}", (key,)), [fd])
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
                    fd = self._lock(key, request.campaign)
                except _Taken as taken:
                    reasons.append(f"GPU {entry} is held by {taken}")
                    continue
                used = self._foreign(entry, uuid, key)
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
            _close(fds)
            raise
        if len(chosen) < wanted:
            _close(fds)
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
            except _Taken as taken:
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
        base, alone = self._lock_shared(key)
        fds = [base]
        try:
            used = self._foreign(entry, uuid, key) if alone else None
            if used is not None:
                _close(fds)
                return used
            holders = []
            for number in range(shares):
                try:
                    fds.append(self._lock(f"{key}.share-{number}", campaign))
                except _Taken as taken:
                    holders.append(str(taken))
                    continue
                if suspect:
                    _close(fds)
                    return None
                keys = (key, f"{key}.share-{number}")
                return self._hold(Slot(f"gpu:{entry}#{number}", keys, (entry,)), fds)
        except OSError:
            _close(fds)
            raise
        _close(fds)
        raise _Taken(", ".join(dict.fromkeys(holders)))

    def _foreign(self, entry: str, uuid: str | None, key: str) -> str | None:
        """Why a GPU that nobody has locked may not be used yet, or None."""
        if self._memory is None or uuid is None or uuid.startswith("MIG-"):
            return None
        known, used = self._memory.used(uuid, self._vacated.get(key, float("-inf")))
        if not known:
            return f"the memory of GPU {entry} is being looked at"
        if used is not None and used > FOREIGN_BYTES:
            return f"somebody outside of Overnight uses {used / 2**30:.1f} GiB of the memory of GPU {entry}"
        return None

    # --- passing on ----------------------------------------------------------------------------------------

    def take(self, slot: Slot) -> list[int] | str:
        """The locks of `slot`, to be passed on; they are the caller's. A slot that an earlier supervisor had
        acquired is locked anew; words if somebody holds it meanwhile. Raises OSError."""
        _, fds = self._held.pop(slot.keys, (slot, []))
        if not fds:
            try:
                self._make_directory()
                for key in slot.keys:
                    shared = any(other.startswith(f"{key}.share-") for other in slot.keys)
                    fds.append(self._lock_shared(key)[0] if shared else self._lock(key, "an earlier supervisor"))
            except (_Taken, OSError) as problem:
                _close(fds)
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
            _close(held[1])
            self._lower_cpu(slot)

    def _hold(self, slot: Slot, fds: list[int]) -> Slot:
        self._held[slot.keys] = slot, fds
        return slot

    def close(self) -> None:
        """Give up all that is still in our hands."""
        for _, fds in self._held.values():
            _close(fds)
        self._held.clear()

    def _lower_cpu(self, slot: Slot) -> None:
        for key in slot.keys:
            if key.startswith("cpu-"):
                self._lowest_cpu = min(self._lowest_cpu, int(key[4:]))

    # --- lock files ----------------------------------------------------------------------------------------

    def _make_directory(self) -> None:
        if self._ready and os.path.isdir(self._directory):
            return
        with contextlib.suppress(FileExistsError):
            os.makedirs(self._directory, 0o1777)
            os.chmod(self._directory, 0o1777)  # the umask had its way with the mode above
        found = os.lstat(self._directory)
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "no directory", self._directory)
        self._ready = True

    def _lock(self, key: str, campaign: str) -> int:
        fd = self._flock(key, fcntl.LOCK_EX)
        words = f"{campaign} of {self._user} (pid {os.getpid()})".encode(errors="replace")[:_WORDS_BYTES]
        with contextlib.suppress(OSError):  # a full disk, or another user's file: the lock is what counts
            os.pwrite(fd, words.ljust(_WORDS_BYTES), 0)
        return fd

    def _lock_shared(self, key: str) -> tuple[int, bool]:
        """(descriptor, whether nobody else held it)."""
        try:
            fd = self._flock(key, fcntl.LOCK_EX)
        except _Taken:
            return self._flock(key, fcntl.LOCK_SH), False
        with contextlib.suppress(OSError):
            os.pwrite(fd, b"runs that share it".ljust(_WORDS_BYTES), 0)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:  # the change is no single step: somebody took it in between
            os.close(fd)
            raise _Taken("another campaign") from None
        return fd, True

    def _flock(self, key: str, mode: int) -> int:
        path = f"{self._directory}/{key}"
        while True:
            fd = _open(path)
            try:
                fcntl.flock(fd, mode | fcntl.LOCK_NB)
            except BlockingIOError:
                words = os.pread(fd, _WORDS_BYTES, 0).decode(errors="replace").strip("\0 \n")
                os.close(fd)
                raise _Taken(words or "another campaign") from None
            except OSError:
                os.close(fd)
                raise
            # A tidy-up may have removed the file while we opened it: then the lock on it excludes nobody.
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(fd).st_ino == os.stat(path, follow_symlinks=False).st_ino:
                    return fd
            os.close(fd)

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


def gpu_key(entry: str, uuid: str | None) -> str:
    """The name of a GPU's lock file: its UUID, else the entry as written."""
    return "gpu-" + re.sub(r"[^A-Za-z0-9._-]", "_", uuid or entry)


def _suspects(avoid: Iterable[str]) -> set[str]:
    """GPU entries of the slots to be avoided: `gpu:0,1` and `gpu:2#0` name 0, 1 and 2."""
    found: set[str] = set()
    for name in avoid:
        if name.startswith("gpu:"):
            found.update(name[4:].partition("#")[0].split(","))
    return found


def _open(path: str) -> int:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        try:
            return os.open(path, os.O_RDWR | flags)
        except PermissionError:
            return os.open(path, os.O_RDONLY | flags)  # enough for a lock
        except FileNotFoundError:
            pass
        # Only where there is none: in a sticky directory the kernel refuses O_CREAT on another user's file
        # (fs.protected_regular).
        with contextlib.suppress(FileExistsError):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o666)
            os.fchmod(fd, 0o666)
            return fd


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
