"""The inventory: every artifact of a run with its digest, from which a fetch is verified."""

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator

from overnight.artifacts.times import utc

CHUNK_BYTES = 1 << 20
ALL_SECONDS = 600.0

_Entry = dict[str, object]


def write_inventory(run_dir: str, *, seconds: float = ALL_SECONDS, synced: bool = False) -> int:
    """Write inventory.jsonl of everything under out/; the number of entries.

    One JSON object a line, sorted by path as bytes: `path` (relative to the run's directory), `size` in bytes,
    `sha256`, `mtime`. A link has `link`, its target as written, and is never followed. `sha256` is null and `error`
    says why for what cannot be read, is no plain file, changed while it was read (twice), or was not reached
    within `seconds`. Replaced by rename. Raises OSError if the inventory itself cannot be written.
    """
    path = run_dir + "/inventory.jsonl"
    temporary = f"{run_dir}/.inventory.jsonl.{os.getpid()}.tmp"
    until = time.monotonic() + seconds
    count = 0
    try:
        with open(temporary, "wb") as file:
            for entry in _entries(run_dir, until):
                file.write(json.dumps(entry).encode() + b"\n")
                count += 1
            if synced and count:
                file.flush()
                os.fsync(file.fileno())
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return count


def _entries(run_dir: str, until: float) -> Iterator[_Entry]:
    # Folders sort as if their names ended in a slash: then visiting in order gives the order of whole paths.
    queue = ["out/"]
    while queue:
        path = queue.pop()
        if not path.endswith("/"):
            yield _entry(run_dir, path, until)
            continue
        try:
            with os.scandir(f"{run_dir}/{path}") as found:
                inside = [path + item.name + "/" * item.is_dir(follow_symlinks=False) for item in found]
        except OSError as error:
            if path != "out/" or not isinstance(error, FileNotFoundError):
                yield {"path": path, "size": None, "sha256": None, "mtime": None, "error": error.strerror or str(error)}
            continue
        queue.extend(sorted(inside, key=os.fsencode, reverse=True))


def _entry(run_dir: str, path: str, until: float) -> _Entry:
    entry: _Entry = {"path": path, "size": None, "sha256": None, "mtime": None}
    full = f"{run_dir}/{path}"
    try:
        status = os.lstat(full)
        entry["size"], entry["mtime"] = status.st_size, utc(status.st_mtime)
        if stat.S_ISLNK(status.st_mode):
            entry["link"] = os.readlink(full)
        elif not stat.S_ISREG(status.st_mode):
            entry["error"] = "not a plain file"
        else:
            for _ in range(2):
                status, digest, error = _digest(full, until)
                entry["size"], entry["mtime"], entry["sha256"] = status.st_size, utc(status.st_mtime), digest
                if error != "changed while it was read":
                    break
            if error is not None:
                entry["error"] = error
    except OSError as error:
        entry["error"] = error.strerror or str(error)
    return entry


def _digest(path: str, until: float) -> tuple[os.stat_result, str | None, str | None]:
    # No link at the last moment, and no wait for the other end of a pipe.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            return before, None, "not a plain file"
        state = hashlib.sha256()
        while True:
            if time.monotonic() > until:
                return before, None, "not hashed in time"
            chunk = os.read(fd, CHUNK_BYTES)
            if not chunk:
                break
            state.update(chunk)
        after = os.fstat(fd)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            return after, None, "changed while it was read"
        return after, state.hexdigest(), None
    finally:
        os.close(fd)
