"""Checkpoints: which of the files that a run left can be resumed from."""

import glob
import itertools
import os
import re
import stat
import time
import zlib
from collections.abc import Collection, Iterator

from overnight.core.checkpoint_names import number_in

SETTLE_SECONDS = 0.1
MOST_ENTRIES = 2000  # of a folder, looked at to see whether it still changes
MOST_CANDIDATES = 64

# What is being written goes under such a name: save.tmp, tmp-checkpoint-500, .orbax-checkpoint-tmp-3, x.part
_UNFINISHED = re.compile(r"(?i)(?:^|[._-])(?:tmp|temp|part|partial|incomplete|inprogress|saving)(?:[._-]|\d|$)")


def whole(
    pattern: str, complete: str | None = None, excluded: Collection[str] = (), settle_seconds: float = SETTLE_SECONDS
) -> tuple[str, ...]:
    """The whole checkpoints that match `pattern` (an absolute path or glob of files, folders or links),
    best first: highest number in the name, those without a number after them by time of change.

    Left out: empty ones, unfinished names (`x.tmp`, `tmp-checkpoint-500`), folders without the file named
    `complete`, those in `excluded` (as returned here), and those whose size or times differ between two looks
    `settle_seconds` apart. A link is returned as what it points to, so that excluding it does not exclude what it
    points to later. Raises OSError where the folder cannot be read: unknown is not "none".
    """
    magic = glob.has_magic(pattern)
    # A literal path may hold brackets that only look like a glob.
    paths = [pattern] if not magic or os.path.lexists(pattern) else glob.glob(pattern, recursive=True)
    if not paths:
        _readable(pattern)
        return ()
    fixed = len(_fixed_part(pattern)) if magic else len(os.path.dirname(pattern))
    found: dict[str, tuple[tuple[bool, float, int], tuple[int, ...]]] = {}
    for path in paths:
        target = os.path.realpath(path) if os.path.islink(path) else path
        if target in excluded or path in excluded or _UNFINISHED.search(os.path.basename(path)):
            continue
        seen = _state(target, complete)
        if seen is not None:
            step = _number_below(path, fixed)
            found[target] = ((step is not None, step or 0.0, seen[0]), seen)
    best = sorted(found, key=lambda path: (found[path][0], path), reverse=True)[:MOST_CANDIDATES]
    if best and settle_seconds > 0:
        time.sleep(settle_seconds)
    return tuple(path for path in best if _state(path, complete) == found[path][1])


def signature(pattern: str) -> int:
    """A number that differs once a file or folder that matches has come, gone or changed (size, times, inode, what a
    link points to); never 0. Bounded: MOST_CANDIDATES of them, MOST_ENTRIES files below each. Raises OSError for a
    file system that does not answer."""
    literal = not glob.has_magic(pattern) or os.path.lexists(pattern)
    paths = (pattern,) if literal else itertools.islice(glob.iglob(pattern, recursive=True), MOST_CANDIDATES)
    total = 1
    for path in paths:
        try:
            status = os.stat(path)
            below = list(_files(path)) if stat.S_ISDIR(status.st_mode) else []
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        own = (zlib.crc32(os.fsencode(path)), status.st_ino, status.st_size, status.st_mtime_ns)
        total += hash((*own, len(below), sum(at for at, _ in below), sum(size for _, size in below)))
    return total % (1 << 63) or 1


def _number_below(path: str, fixed: int) -> float | None:
    """The number in the last part of `path` that has one; only parts that the pattern left open count."""
    for part in reversed(path[fixed:].rstrip("/").split("/")):
        if (number := number_in(part)) is not None:
            return number
    return None


def _fixed_part(pattern: str) -> str:
    parts = pattern.split("/")
    for at, part in enumerate(parts):
        if glob.has_magic(part):
            return "/".join(parts[:at])
    return pattern


def _readable(pattern: str) -> None:
    """Glob is silent about folders that it cannot read; a folder that is not there is no fault."""
    try:
        with os.scandir(_fixed_part(pattern) or "."):
            pass
    except (FileNotFoundError, NotADirectoryError):
        pass


def _state(path: str, complete: str | None) -> tuple[int, ...] | None:
    """What would differ if it were still being written, newest time first; None if it is no whole checkpoint."""
    try:
        status = os.stat(path)
        if not stat.S_ISDIR(status.st_mode):
            return (status.st_mtime_ns, status.st_size, status.st_ino) if status.st_size else None
        if complete is not None and not os.path.exists(os.path.join(path, complete)):
            return None
        files = list(_files(path))
    except FileNotFoundError:
        return None
    if not files or not any(size for _, size in files):
        return None
    return (max(at for at, _ in files), sum(size for _, size in files), sum(at for at, _ in files), len(files))


def _files(folder: str) -> Iterator[tuple[int, int]]:
    """(mtime in ns, size) of files below, at most MOST_ENTRIES."""
    left, queue = MOST_ENTRIES, [folder]
    while queue and left > 0:
        with os.scandir(queue.pop()) as entries:
            for entry in entries:
                left -= 1
                if entry.is_dir(follow_symlinks=False):
                    queue.append(entry.path)
                elif left >= 0:
                    status = entry.stat()
                    yield status.st_mtime_ns, status.st_size
