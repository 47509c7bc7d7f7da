"""The inbox: requests as files, so that a client needs no open connection and no lock on the database.

A client writes beside, syncs, renames into `<state>/inbox/` and pokes the FIFO `<state>/wake`. The supervisor
takes whole files in the order of their names, commits what follows from them, then deletes them: a request
whose file is there twice over a crash carries the same id, under which its answer is already stored.
"""

import errno
import logging
import os
import secrets
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from overnight.model.codec import from_json, to_json
from overnight.model.manifest import Refusal
from overnight.model.requests import Request

INBOX = "inbox"
REJECTED = "rejected"
WAKE = "wake"
SETTLED_NS = 1_000_000_000  # a folder unchanged for so long has a time that the next change will differ from
STALE_TEMP_SECONDS = 3600.0  # what a client that died while writing left behind

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_PASSING = {errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_REQUEST = cast("type[Request]", Request)  # the decoder takes a union where the type system has no word for it

log = logging.getLogger(__name__)


def new_request_id() -> str:
    """An id that sorts by time of writing and that no second client can have chosen."""
    return f"{time.time_ns():020d}-{secrets.token_hex(5)}"


def submit(state: Path, request: Request) -> str:
    """Put a request into the inbox of `state` and wake its supervisor; returns the request's id.

    When this returns the request is on the platter: it is taken however often client and supervisor are
    killed from here on. Raises `Refusal` when it cannot be written; then nothing was asked.
    """
    inbox = state / INBOX
    temporary = inbox / f".{request.id}.tmp"
    try:
        inbox.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _write_all(descriptor, to_json(request))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.rename(inbox / f"{request.id}.json")
    except OSError as problem:
        temporary.unlink(missing_ok=True)
        raise _refusal(inbox, problem) from problem
    _sync_folder(inbox)
    poke(state)
    return request.id


def withdraw(state: Path, request_id: str) -> bool:
    """Take a request back that nobody has taken yet. False: it is gone already, or was never there."""
    try:
        (state / INBOX / f"{request_id}.json").unlink()
    except OSError:
        return False
    return True


def pending(state: Path, request_id: str) -> bool:
    """Whether the request is still in the inbox: nobody has committed its consequences."""
    return (state / INBOX / f"{request_id}.json").exists()


def rejection(state: Path, request_id: str) -> str | None:
    """Why the supervisor could not read a request; None if it was not rejected."""
    try:
        return (state / INBOX / REJECTED / f"{request_id}.why").read_text("utf-8", "replace").strip()
    except OSError:
        return None


def poke(state: Path) -> None:
    """Wake the supervisor. Nobody reading, no FIFO yet or a full one are all fine: it reads the folder anyway."""
    try:
        descriptor = os.open(state / WAKE, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.write(descriptor, b"\n")
    except OSError:
        pass
    finally:
        os.close(descriptor)


class StateGone(Exception):
    """Somebody removed the state, or put another one in its place: what is asked there is asked of another."""


class FileInbox:
    """The supervisor's side (see `ports.Inbox`). One reader per state; not thread-safe."""

    def __init__(self, state: Path) -> None:
        """Make the folder and the FIFO if they are missing. Raises `OSError` when they cannot be made."""
        self._inbox = state / INBOX
        self._inbox.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = str(self._inbox)
        self._inode = os.stat(self._folder).st_ino
        self._wake = _open_fifo(state / WAKE)
        self._quiet_since: int | None = None  # the folder as it was when it held nothing for us
        self._known: dict[str, Request] = {}  # by file: what is read once, for a large launch may lie there for long
        self._sweep()

    def read(self) -> Sequence[Request]:
        """Whole requests, oldest first. Files that cannot be understood are moved to `rejected/`, with a
        `.why` beside them, and stop nobody else's request. Raises `StateGone`."""
        try:
            folder = os.stat(self._folder)
        except FileNotFoundError as problem:
            raise StateGone(self._folder) from problem
        if folder.st_ino != self._inode:
            raise StateGone(self._folder)
        changed = folder.st_mtime_ns
        if changed == self._quiet_since:
            return ()
        # A file that comes in the same tick of the clock leaves no trace in the folder's time: look once more.
        settled = time.time_ns() - changed > SETTLED_NS
        requests: list[Request] = []
        left = False
        names = [name for name in sorted(os.listdir(self._inbox)) if name[0] != "." and name.endswith(".json")]
        self._known = {name: self._known[name] for name in names if name in self._known}
        for name in names:
            if name in self._known:
                requests.append(self._known[name])
                continue
            path = self._inbox / name
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue  # withdrawn between listing and reading
            except OSError as problem:
                if problem.errno in _PASSING:
                    left = True
                    continue  # the file may be whole; the next turn looks again
                self._reject(path, f"cannot be read: {problem.strerror}")
                continue
            try:
                request = from_json(data, _REQUEST)
            except ValueError as problem:
                self._reject(path, f"is not a request that this version understands: {problem}")
                continue
            if f"{request.id}.json" != name:
                self._reject(path, f"carries the id {request.id!r}, which is not its file's name")
                continue
            self._known[name] = request
            requests.append(request)
        self._quiet_since = changed if settled and not requests and not left else None
        return requests

    def delete(self, request_ids: Sequence[str]) -> None:
        """Remove requests whose consequences have been committed. Twice is harmless."""
        for request_id in request_ids:
            (self._inbox / f"{request_id}.json").unlink(missing_ok=True)

    def fileno(self) -> int:
        """Readable when a client has poked; `drain` it before `read`."""
        return self._wake

    def drain(self) -> None:
        """Forget the pokes so far. What was written before them is in the folder."""
        self._quiet_since = None
        try:
            while os.read(self._wake, 4096):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Let go of the FIFO; its file stays."""
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1

    def _reject(self, path: Path, why: str) -> None:
        """A full disk may keep us from writing the reason; the file is moved aside even so, or, if that too
        fails, left: it is met again next time and harms nobody."""
        log.warning("request %s %s; moved aside", path.name, why)
        folder = self._inbox / REJECTED
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            path.rename(folder / path.name)
            (folder / f"{path.stem}.why").write_text(f"{path.name} {why}\n", "utf-8")
        except OSError:
            return

    def _sweep(self) -> None:
        now = time.time()
        for leftover in self._inbox.glob(".*.tmp"):
            try:
                if now - leftover.stat().st_mtime > STALE_TEMP_SECONDS:
                    leftover.unlink()
            except OSError:
                continue


def _open_fifo(path: Path) -> int:
    """Opened for reading and writing, so that it never reports end-of-file when the last client closes it."""
    for _ in range(2):
        try:
            os.mkfifo(path, 0o600)
        except FileExistsError:
            if not stat.S_ISFIFO(path.lstat().st_mode):
                path.unlink()
                continue
        break
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(folder: Path) -> None:
    """The rename, too, must survive a power cut; a file system that cannot sync folders does not need it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _refusal(inbox: Path, problem: OSError) -> Refusal:
    if problem.errno in _NO_ROOM:
        return Refusal(
            f"no space left to write the request into {inbox}",
            "free some space on that volume and type the command again; nothing was changed",
        )
    return Refusal(
        f"the request cannot be written into {inbox}: {problem.strerror}",
        "check the folder's owner and permissions, or choose another one with OVERNIGHT_STATE",
    )
