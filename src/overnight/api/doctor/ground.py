"""The ground of a root: its volumes, its clock, its database."""

import errno
import os
import time
from pathlib import Path

from overnight.api.places import Place
from overnight.artifacts.layout import of_root
from overnight.model.health import Check, Health

_GIB, _MIB = 1 << 30, 1 << 20
BAD_BYTES, WARN_BYTES = 64 * _MIB, _GIB
BAD_INODES, WARN_INODES = 1000, 10_000
SKEW_SECONDS = 5.0
_PROBE = b"overnight\n" * 6554  # 64 KiB: a full file system may still take a few bytes
_LONG_AGO = 1_700_000_000.0  # a clock before this was never set


def nearest(folder: Path) -> Path:
    """The folder, or the first above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def room(name: str, folder: Path, *, local: bool) -> Check:
    """Can `folder` be written, and is there room? `local`: it must lie on this machine."""
    from overnight.artifacts.filesystems import fs_type, is_local

    there = nearest(folder)
    kind = fs_type(str(there)) or "unknown"
    found = os.statvfs(there)
    free, inodes = found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None
    words = f"{folder}{'' if there == folder else ' (not made yet)'}: {kind}, {_size(free)} free"
    problem = _write(there / f".overnight-probe-{name}-{os.getpid()}")
    if problem is not None:
        full = problem.errno in {errno.ENOSPC, errno.EDQUOT}
        hint = "free some space, or see your quota" if full else "choose another --root, or OVERNIGHT_STATE"
        return Check(name, Health.BAD, f"{words}; writing: {problem.strerror}", hint)
    if free < BAD_BYTES or (inodes is not None and inodes < BAD_INODES):
        return Check(name, Health.BAD, f"{words}, {inodes} inodes", "free some space there before anything is launched")
    if local and not is_local(str(there)):
        return Check(name, Health.BAD, f"{words}: a database on a network file system is damaged sooner or later",
                     "OVERNIGHT_STATE names a local folder")  # fmt: skip
    if free < WARN_BYTES or (inodes is not None and inodes < WARN_INODES):
        return Check(
            name, Health.WARN, f"{words}, {inodes} inodes", "checkpoints fill it in one night: free some space"
        )
    if not local and not is_local(str(there)):
        words += "; the database and live attempts are kept elsewhere"
    return Check(name, Health.OK, words)


def _write(probe: Path) -> OSError | None:
    try:
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        return problem
    try:
        os.write(descriptor, _PROBE)
        os.fsync(descriptor)
    except OSError as problem:
        return problem
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)
    return None


def _size(free: int) -> str:
    return f"{free / _GIB:,.1f} GiB" if free >= _GIB else f"{free // _MIB:,} MiB"


def clock(folder: Path) -> Check:
    """Does this machine's clock agree with that of the root's file system?"""
    now = time.time()
    if now < _LONG_AGO:
        return Check("clock", Health.BAD, f"it is {time.strftime('%Y-%m-%d', time.gmtime(now))} here", "set the clock")
    there = nearest(folder)
    probe = there / f".overnight-clock-{os.getpid()}"
    try:
        probe.touch(exist_ok=False)
        skew = probe.stat().st_mtime - time.time()
        probe.unlink()
    except OSError as problem:
        return Check("clock", Health.NOTE, f"not compared with {there}: {problem.strerror}")
    if abs(skew) > SKEW_SECONDS:
        words = f"{there} is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"
        return Check("clock", Health.WARN, words, "set both by NTP: no limit depends on it, people and logs do")
    return Check("clock", Health.OK, f"agrees with that of {there}")


def database(where: Place) -> Check:
    """Whole, and of a version that this installation reads?"""
    import sqlite3

    from overnight.ports import StoreError
    from overnight.store import ReadStore
    from overnight.supervisor import keep

    if not where.begun:
        if where.state.is_dir() and keep.database_lost(where.root, where.state):
            return Check("database", Health.BAD, *keep.lost_words(where.root, where.state))
        return Check("database", Health.OK, "none yet: the first launch makes it")
    try:
        store = ReadStore(where.database)
        try:
            campaigns = len(store.campaign_ids())
            said = store.fault()
        finally:
            store.close()
    except StoreError as problem:
        return Check("database", Health.BAD, str(problem), getattr(problem, "hint", None) or "")
    except sqlite3.Error as problem:
        return Check("database", Health.BAD, f"{where.database}: {problem}", "")
    if said:
        hint = f"overnight rebuild {of_root(where.root_name)}"
        return Check("database", Health.BAD, f"{where.database} is damaged: {said}", hint)
    size = os.stat(where.database).st_size
    return Check(
        "database", Health.OK, f"whole: {campaigns} campaign{'s' if campaigns != 1 else ''}, {size // 1024:,} KiB"
    )
