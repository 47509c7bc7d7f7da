"""The files of this host's slots: lock files, and marks beside them. One directory for all roots and users.

A lock belongs to the open file, not to a process: handed to a shim it is held exactly as long as the attempt lives,
whoever supervises. A mark (`KEY.quarantine`, `KEY.drain`) says that a slot is given to nobody, by whom and why; it
outlives every process, and its maker, root or a release takes it away.
"""

import contextlib
import errno
import fcntl
import os
import pwd
import re
import stat
import time
from collections.abc import Mapping, Sequence
from typing import Literal

from overnight.model.codec import Struct, from_json, to_json

MARKS: tuple["MarkKind", ...] = ("quarantine", "drain")
MarkKind = Literal["quarantine", "drain"]
_TENANT_BYTES = 1024
_MARK_BYTES = 65_536
_KEY = re.compile(r"cpu-\d+|gpu-[A-Za-z0-9_-]+(\.share-\d+)?")
_MARKED = re.compile(rf"\.({'|'.join(MARKS)})$")


def slots_home(env: Mapping[str, str]) -> str:
    """The host's directory of slots: $OVERNIGHT_SLOTS_DIR, else one that all users share."""
    return env.get("OVERNIGHT_SLOTS_DIR") or "/var/tmp/overnight-slots"


def gpu_key(entry: str, uuid: str | None) -> str:
    """The name of a GPU's lock file: its UUID, else the entry as written."""
    return "gpu-" + re.sub(r"[^A-Za-z0-9_-]", "_", uuid or entry)


def user_name() -> str:
    """Who we are, for people."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


class Taken(Exception):
    """Somebody holds the lock; the message is who."""


class Tenant(Struct, frozen=True, omit_defaults=True):
    """Who has, or last had, a lock; the lock file's content. Whoever holds the lock may replace it.

    `attempt_id` of a GPU means that a release check is owed once the lock is free: its tree gone, its memory back at
    `before`. `since` and `checked_since` are Unix seconds and monotonic seconds of `boot`.
    """

    campaign: str = ""
    user: str = ""
    pid: int = 0  # of the supervisor that took it
    since: float = 0.0
    run_id: str = ""
    n: int = 0
    attempt_id: str = ""
    slot: str = ""  # as people know this GPU: `gpu:0`
    uuid: str = ""
    before: int | None = None  # bytes of GPU memory in use before the attempt; None: nobody could tell
    boot: str = ""
    checked_since: float | None = None  # since when it is being checked

    @property
    def words(self) -> str:
        """For whoever waits for it."""
        run = f" (run {self.run_id}, attempt {self.n})" if self.run_id else ""
        return f"{self.campaign}{run} of {self.user} (pid {self.pid})"


class Mark(Struct, frozen=True):
    """Why a slot is given to nobody. `at` and `until` are Unix seconds; `until` None: until it is released."""

    slot: str  # as people know it: `gpu:0`
    by: str
    at: float
    why: str = ""
    until: float | None = None

    def over(self, now: float) -> bool:
        """It has ended by itself."""
        return self.until is not None and self.until <= now


class SlotFiles:
    """Takes locks, writes marks. Never waits."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = os.fspath(directory)
        self._user = user_name()
        self._ready = False

    def make(self) -> None:
        """Have the directory. Raises OSError."""
        if self._ready and os.path.isdir(self.directory):
            return
        self._ready = False
        with contextlib.suppress(FileExistsError):
            os.makedirs(self.directory, 0o1777)
            os.chmod(self.directory, 0o1777)  # the umask had its way with the mode above
        found = os.lstat(self.directory)
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "no directory", self.directory)
        self._ready = True

    # --- locks ---------------------------------------------------------------------------------------------

    def lock(self, key: str) -> tuple[int, Tenant]:
        """A descriptor that holds the lock alone, and who had it last. Raises Taken, OSError."""
        fd = self._flock(key, fcntl.LOCK_EX)
        return fd, read_tenant(fd)

    def lock_shared(self, key: str) -> tuple[int, Tenant | None]:
        """(descriptor, who had it last if nobody else holds it now). Raises Taken, OSError."""
        try:
            fd = self._flock(key, fcntl.LOCK_EX)
        except Taken:
            return self._flock(key, fcntl.LOCK_SH), None
        return fd, read_tenant(fd)

    def share(self, fd: int) -> None:
        """Let others share a lock that is held alone. Raises Taken."""
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:  # the change is no single step: somebody took it in between
            raise Taken("another campaign") from None

    def tenant(self, campaign: str) -> Tenant:
        """Us, on behalf of a campaign."""
        return Tenant(campaign, self._user, os.getpid(), time.time())

    def _flock(self, key: str, mode: int) -> int:
        path = f"{self.directory}/{key}"
        while True:
            fd = _open(path)
            try:
                fcntl.flock(fd, mode | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = read_tenant(fd)
                os.close(fd)
                checked = "" if holder.checked_since is None else ", whose release is being checked"
                raise Taken((holder.words if holder.campaign else "another campaign") + checked) from None
            except OSError:
                os.close(fd)
                raise
            # A tidy-up may have removed the file while we opened it: then the lock on it excludes nobody.
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(fd).st_ino == os.stat(path, follow_symlinks=False).st_ino:
                    return fd
            os.close(fd)

    def held(self, key: str) -> tuple[bool, Tenant]:
        """(whether somebody holds the lock, who has or last had it), without being in anybody's way for longer than a
        system call. Raises OSError."""
        try:
            fd = os.open(f"{self.directory}/{key}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False, Tenant()
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(fd, fcntl.LOCK_UN)
            return False, read_tenant(fd)
        except BlockingIOError:
            return True, read_tenant(fd)
        finally:
            os.close(fd)

    def holder(self, key: str) -> str:
        """Who has, or last had, the lock, in words; without looking whether it is held."""
        try:
            fd = os.open(f"{self.directory}/{key}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return ""
        try:
            tenant = read_tenant(fd)
        finally:
            os.close(fd)
        return tenant.words if tenant.campaign else ""

    def known(self) -> list[str]:
        """Keys of all slots that were ever used or set aside here."""
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        keys = (_MARKED.sub("", name) for name in names)
        return sorted({key for key in keys if _KEY.fullmatch(key)})

    # --- marks ---------------------------------------------------------------------------------------------

    def mark(self, kind: MarkKind, key: str, slot: str, why: str, until: float | None = None) -> None:
        """Have the slot given to nobody. A quarantine that is there already keeps its first reason. Raises OSError
        (PermissionError: the mark is another user's)."""
        self.make()
        if kind == "quarantine" and self.marked(kind, key) is not None:
            return
        final = f"{self.directory}/{key}.{kind}"
        temporary = f"{final}.{os.getpid()}.{time.monotonic_ns()}"
        data = to_json(Mark(slot, self._user, time.time(), why, until))
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            os.write(fd, data)
            os.fchmod(fd, 0o644)
            os.rename(temporary, final)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        finally:
            os.close(fd)

    def marked(self, kind: MarkKind, key: str) -> Mark | None:
        """The mark in force, if there is one. One that cannot be read is in force."""
        path = f"{self.directory}/{key}.{kind}"
        if not os.access(path, os.F_OK):
            return None
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                found = from_json(os.read(fd, _MARK_BYTES), Mark)
            finally:
                os.close(fd)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as problem:
            return Mark(key, "somebody", 0.0, f"its mark cannot be read: {problem}")
        return None if found.over(time.time()) else found

    def unmark(self, kind: MarkKind, key: str) -> bool:
        """Take the mark away; whether there was one. Raises OSError (PermissionError: it is another user's)."""
        try:
            os.unlink(f"{self.directory}/{key}.{kind}")
        except FileNotFoundError:
            return False
        return True

    def set_aside(self, key: str) -> str | None:
        """Why the slot is given to nobody, or None."""
        quarantine = self.marked("quarantine", key)
        if quarantine is not None:
            return f"is quarantined: {quarantine.why or 'no reason given'}"
        drain = self.marked("drain", key)
        if drain is None:
            return None
        until = "" if drain.until is None else time.strftime(" until %a %H:%M", time.localtime(drain.until))
        return f"is drained by {drain.by}{until}{f': {drain.why}' if drain.why else ''}"


def read_tenant(fd: int) -> Tenant:
    """What the lock file says; nobody, where it says nothing that can be understood."""
    try:
        data = os.pread(fd, _TENANT_BYTES, 0).strip(b"\0 \n")
        return from_json(data, Tenant) if data else Tenant()
    except (OSError, ValueError):
        return Tenant()


def write_tenant(fd: int, tenant: Tenant) -> None:
    """Best effort: on a full disk, or where the file is another user's, the lock is what counts."""
    with contextlib.suppress(OSError):
        os.pwrite(fd, to_json(tenant)[:_TENANT_BYTES].ljust(_TENANT_BYTES), 0)


def close_all(fds: Sequence[int]) -> None:
    """Let go of descriptors, and of the locks that nobody else holds by them."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


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
