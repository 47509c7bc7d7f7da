"""Code identity: a digest of what would run, the same whether a change is committed or not.

It covers paths and contents, nothing else: neither commits nor branches nor times, so that the same code on
another host is the same code. Every look is bounded; one that does not come back in time is a named problem,
never an error and never a guess.
"""

import hashlib
import os
import stat
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from overnight.manifest.codefiles import LARGEST_BYTES, CodeProblem, Deadline, Listing, OutOfTime, list_code
from overnight.model.policy import CodeIdentity

_Stat = tuple[int, int, int, int]
_RACY_NANOSECONDS = 2_000_000_000  # file systems count in steps up to this; a younger file may change unseen
_MOST_KNOWN = 4 * 50_000


class CodeCache:
    """Digests of files by path, size, times and inode, so that a second look reads only what changed."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[_Stat, bytes]] = {}
        self._looking: dict[str, threading.Thread] = {}

    def digest(self, path: str, status: os.stat_result) -> bytes:
        """SHA-256 of the file's content. Raises OSError."""
        key = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        known = self._known.get(path)
        if known is not None and known[0] == key:
            return known[1]
        found = _content(path, status)
        if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _RACY_NANOSECONDS:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[path] = (key, found)
        return found

    def claim(self, directory: str, thread: threading.Thread) -> bool:
        """Whether nobody is looking at `directory` any more; then `thread` is."""
        before = self._looking.get(directory)
        if before is not None and before.is_alive():
            return False
        self._looking[directory] = thread
        return True


_shared = CodeCache()


def code_identity(
    cwd: Path, exclude: Sequence[Path] = (), deadline_seconds: float = 2.0, cache: CodeCache | None = None
) -> CodeIdentity:
    """The identity of the code that a command run in `cwd` would see. `exclude`: root and state.

    Never raises and returns in time even where the file system hangs: then `digest` is None and `problem` says
    why. A `problem` beside a digest says what the digest leaves out. `cache`: the process's own by default.
    """
    cache = _shared if cache is None else cache
    answer: list[CodeIdentity] = []

    def look() -> None:
        answer.append(_look(cwd, exclude, Deadline(deadline_seconds), cache))

    # A thread, because a stat on a dead network file system returns when it pleases.
    thread = threading.Thread(target=look, name="code-identity", daemon=True)
    if not cache.claim(str(cwd), thread):
        return CodeIdentity(problem=f"an earlier look at {cwd} has not come back; its file system may hang")
    thread.start()
    thread.join(deadline_seconds + 0.25)
    if not answer:
        return CodeIdentity(problem=_late(cwd, deadline_seconds))
    return answer[0]


def _late(cwd: Path, seconds: float) -> str:
    return f"looking at the code below {cwd} took longer than {seconds:g} s"


def _look(cwd: Path, exclude: Sequence[Path], deadline: Deadline, cache: CodeCache) -> CodeIdentity:
    try:
        return _identify(list_code(cwd, exclude, deadline), deadline, cache)
    except OutOfTime:
        return CodeIdentity(problem=_late(cwd, deadline.seconds))
    except CodeProblem as error:
        return CodeIdentity(problem=str(error))
    except OSError as error:
        return CodeIdentity(problem=f"the code below {cwd} cannot be read: {error}")


def _identify(listing: Listing, deadline: Deadline, cache: CodeCache) -> CodeIdentity:
    whole = hashlib.sha256()
    files = 0
    unreadable: list[str] = []
    for name in sorted({*listing.tracked, *listing.loose}):
        path = os.path.join(listing.base, name)
        _ = deadline.left
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                content = b"link " + hashlib.sha256(os.fsencode(os.readlink(path))).digest()
            elif not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_BYTES:
                continue  # a pipe would hold us for ever; a large file is data
            else:
                content = b"file " + cache.digest(path, status)
        except FileNotFoundError:
            continue  # deleted but still tracked, or just removed
        except OSError:
            unreadable.append(name)
            content = b"unreadable"
        files += 1
        whole.update(os.fsencode(name) + b"\0" + content + b"\n")
    problem = listing.problem
    if unreadable:
        more = f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        problem = f"{unreadable[0]}{more} cannot be read" + (f"; {problem}" if problem else "")
    return CodeIdentity(digest=whole.hexdigest(), files=files, commit=listing.commit, problem=problem)


def _content(path: str, status: os.stat_result) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        found = hashlib.sha256()
        left = LARGEST_BYTES + 1  # a file that grows while we read it must not keep us
        while left > 0 and (chunk := file.read(min(left, 1 << 20))):
            found.update(chunk)
            left -= len(chunk)
    return found.digest()
