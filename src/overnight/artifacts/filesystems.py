"""Which file systems are local: where SQLite's locks, flock and rename mean what they say."""

import os
import sys

# fmt: off
NOT_LOCAL = frozenset({
    "nfs", "nfs3", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "lustre", "lustre_lite", "gpfs", "beegfs",
    "beegfs_nodev", "ceph", "glusterfs", "orangefs", "pvfs2", "panfs", "wekafs", "9p", "virtiofs", "afs", "coda",
    "ocfs2", "gfs2", "davfs",
})
# fmt: on
_MOUNTS = "/proc/self/mountinfo"


def fs_type(path: str, mounts: str = _MOUNTS) -> str:
    """Type of the file system that holds `path` (or would), as in proc_pid_mountinfo(5); empty: unknown."""
    real = os.path.realpath(path)
    best, found = -1, ""
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields, _, rest = line.partition(" - ")
                point = _unescaped(fields.split()[4])
                # The later of two mounts at one point hides the earlier.
                if len(point) >= best and (real == point or real.startswith(point.rstrip("/") + "/")):
                    best, found = len(point), rest.split()[0]
    except (OSError, IndexError):
        return ""
    return found


def is_local(path: str, mounts: str = _MOUNTS) -> bool:
    """Whether `path` is on a local file system. What is unknown is taken for local; so is everything on macOS."""
    if not sys.platform.startswith("linux"):
        return True
    kind = fs_type(path, mounts)
    return kind not in NOT_LOCAL and not kind.startswith("fuse.") and kind != "fuse"


def _unescaped(point: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(code, character)
    return point
