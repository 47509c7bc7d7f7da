"""Where a path lives: its volume, and whether that may only not be mounted yet. May block on a dead file system."""

import os
from pathlib import Path

from overnight.model.room import LOW_BYTES, LOW_INODES

LOW_SHARE = 0.1  # of a small volume
_LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "tmpfs", "overlay", "bcachefs", "jfs"})
_MOUNTS, _FSTAB = Path("/proc/self/mounts"), Path("/etc/fstab")


def existing(path: str) -> str:
    """The path itself, else the nearest folder above it that is there."""
    while not os.path.lexists(path) and path not in ("", "/"):
        path = os.path.dirname(path)
    return path or "/"


def volume_of(path: str) -> str:
    """The mount point that holds the path, or would."""
    place = os.path.realpath(existing(os.path.abspath(path)))
    while not os.path.ismount(place) and place != "/":
        place = os.path.dirname(place)
    return place


def fullest(mounts: Path = _MOUNTS) -> str | None:
    """The local volume with the least room, if that is hardly any: where a write without a file's name has failed.
    Network volumes are not asked: one that is dead would not answer."""
    found: list[tuple[int, str]] = []
    for point, kind in _points(mounts):
        if kind not in _LOCAL:
            continue
        try:
            volume = os.statvfs(point)
        except OSError:
            continue
        free, whole = volume.f_bavail * volume.f_frsize, volume.f_blocks * volume.f_frsize
        few_inodes = volume.f_files and volume.f_favail < min(LOW_INODES, volume.f_files * LOW_SHARE)
        if not volume.f_flag & os.ST_RDONLY and whole and (few_inodes or free < min(LOW_BYTES, whole * LOW_SHARE)):
            found.append((free, point))
    return min(found)[1] if found else None


def may_be_late(path: str, mounts: Path = _MOUNTS, fstab: Path = _FSTAB) -> bool:
    """Whether an absolute path that was not there may come by itself: it is there by now, the nearest folder above it
    is empty (as a mount point is that nothing is mounted on), or what belongs there is mounted on demand or not yet."""
    if not path.startswith("/"):
        return False
    if os.path.exists(path):
        return True
    above = existing(path)
    try:
        if os.path.isdir(above) and not any(os.scandir(above)):
            return True
    except OSError:
        return True  # it is there and does not answer
    mounted = _points(mounts)
    if any(_holds(point, path) and kind == "autofs" for point, kind in mounted):
        return True
    present = {point for point, _ in mounted}
    return any(_holds(point, path) and point not in present for point, _ in _points(fstab))


def _points(table: Path) -> list[tuple[str, str]]:
    """(mount point, type) of fstab(5) or /proc/self/mounts; none where it cannot be read."""
    try:
        lines = table.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    fields = [line.split() for line in lines if not line.lstrip().startswith("#")]
    return [(f[1].replace("\\040", " "), f[2]) for f in fields if len(f) >= 3 and f[1].startswith("/")]


def _holds(point: str, path: str) -> bool:
    return point != "/" and (path == point or path.startswith(point.rstrip("/") + "/"))
