"""Further logs of one attempt: what launchers write by rank, found by globs below the run's directory.

A run's folder outlives its attempts, so only files that were written since this attempt began count.
"""

import fnmatch
import glob
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

LOGS_MOST = 64
TOTAL_BYTES = 1 << 30  # of all together: about three seconds of reading
ENTRIES_MOST = 20_000  # looked at in folders; a data set below {out_dir} must not hold the night up
DEPTH_MOST = 12  # folders below each other that ** goes through
SKEW_SECONDS = 5.0  # where log and claim lie on different file systems, whose clocks may differ


def rank_logs(patterns: Sequence[str], run_dir: str, attempt_dir: str) -> list[tuple[str, Path]]:
    """(name relative to `run_dir`, path) of the newest `LOGS_MOST` regular files that the absolute globs name.

    The one last written to earliest comes first: who fails first falls silent first, while the other ranks wait for
    it. Links are not followed out of the run's directory; what cannot be read is left out.
    """
    if not patterns:
        return []
    home = os.path.realpath(run_dir)
    try:
        begun = os.stat(os.path.join(attempt_dir, "started"))
    except OSError:
        return []  # it never began, so nothing is its
    found: dict[str, tuple[float, int, str]] = {}
    left = [ENTRIES_MOST]
    for pattern in patterns:
        base, parts = _split(pattern)
        for path in _matching(base, parts, left, 0):
            real = os.path.realpath(path)
            if os.path.commonpath([home, real]) != home or real in found:
                continue
            seen = _readable(real)
            if seen is not None and seen.st_mtime >= begun.st_mtime - _skew(seen, begun):
                found[real] = (seen.st_mtime, seen.st_size, os.path.relpath(real, home))
    return _chosen(found)


def _chosen(found: dict[str, tuple[float, int, str]]) -> list[tuple[str, Path]]:
    """The newest within the bounds, the earliest of them first."""
    newest = sorted(found.items(), key=lambda item: item[1], reverse=True)[:LOGS_MOST]
    chosen, total = [], 0
    for path, (_, size, name) in newest:
        if total + size <= TOTAL_BYTES:
            total += size
            chosen.append((name, Path(path)))
    return chosen[::-1]


def _skew(seen: os.stat_result, begun: os.stat_result) -> float:
    return 0.0 if seen.st_dev == begun.st_dev else SKEW_SECONDS


def _readable(path: str) -> os.stat_result | None:
    """A regular file with something in it that we may read. Opening a pipe that nobody writes to would never end."""
    try:
        seen = os.stat(path)
    except OSError:
        return None
    regular = stat.S_ISREG(seen.st_mode) and seen.st_size > 0
    return seen if regular and os.access(path, os.R_OK) else None


def _split(pattern: str) -> tuple[str, list[str]]:
    """The part before the first wildcard, its escapes undone, and the parts from there on."""
    parts = pattern.split("/")
    plain = next((at for at, part in enumerate(parts) if glob.has_magic(_unescaped(part)[1])), len(parts) - 1)
    return "/".join(_unescaped(part)[0] for part in parts[:plain]), parts[plain:]


def _unescaped(part: str) -> tuple[str, str]:
    """(what an escaped part means, the part without its escapes: wildcards in it are meant)."""
    meant, bare = part, part
    for mark in "*?[":
        meant = meant.replace(f"[{mark}]", mark)
        bare = bare.replace(f"[{mark}]", "")
    return meant, bare


def _matching(folder: str, parts: Sequence[str], left: list[int], depth: int) -> Iterator[str]:
    """Paths below `folder`; `left[0]` is how many more entries may be looked at. Links to folders are no folders."""
    head, rest = parts[0], parts[1:]
    if head == "**" and rest:
        yield from _matching(folder, rest, left, depth)
    try:
        with os.scandir(folder) as entries:
            listed = []
            for entry in entries:
                left[0] -= 1
                if left[0] < 0:
                    return
                listed.append((entry.name, entry.is_dir(follow_symlinks=False)))
    except OSError:
        return
    for name, is_folder in sorted(listed):
        path = f"{folder}/{name}"
        if name.startswith(".") and not head.startswith("."):
            continue
        if head == "**":
            if is_folder and depth < DEPTH_MOST:
                yield from _matching(path, parts, left, depth + 1)
            elif not is_folder and not rest:
                yield path
        elif fnmatch.fnmatchcase(name, head):
            if rest and is_folder:
                yield from _matching(path, rest, left, depth)
            elif not rest and not is_folder:
                yield path
