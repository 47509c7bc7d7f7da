"""Which file systems are local: where SQLite's locks, flock and rename mean what they say, and no server is dead."""

import contextlib
import errno
import os
import sys
import time

# fmt: off
NOT_LOCAL = frozenset({
    "nfs", "nfs3", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "lustre", "lustre_lite", "gpfs", "beegfs",
    "beegfs_nodev", "ceph", "glusterfs", "orangefs", "pvfs2", "panfs", "wekafs", "9p", "virtiofs", "afs", "coda",
    "ocfs2", "gfs2", "davfs",
})
# fmt: on
_MOUNTS = "/proc/self/mountinfo"
_LINKS = 40  # the kernel's own limit
_ANSWER_SECONDS = 5.0
_LOOK_SECONDS = 0.002
_ASK = ["/bin/sh", "-c", '[ -e "$0" ]']

Mounts = list[tuple[str, str]]  # points and types, the longest point first


def fs_type(path: str, mounts: str = _MOUNTS) -> str:
    """Type of the file system that holds `path` (or would), as in proc_pid_mountinfo(5); empty: unknown. Asks no file
    server: links are followed as far as the file systems of this machine go."""
    return _mount_of(path, mounts)[1]


def is_local(path: str, mounts: str = _MOUNTS) -> bool:
    """Whether `path` is on a local file system. What is unknown is taken for local; so is everything on macOS."""
    if not sys.platform.startswith("linux"):
        return True
    return _local(fs_type(path, mounts))


def served_from(path: str, mounts: str = _MOUNTS) -> str:
    """Where the file system is mounted that holds `path`, if it is a server's or a program's: it may be dead. Empty: it
    is local."""
    point, kind = _mount_of(path, mounts)
    return "" if _local(kind) or not sys.platform.startswith("linux") else point


def answers(path: str, seconds: float = _ANSWER_SECONDS) -> bool:
    """Whether a file system that may be dead answers within so long. It is asked by a process that may be left behind:
    whoever asks a dead one sleeps where no signal wakes him."""
    nowhere = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    try:
        child = os.posix_spawn(_ASK[0], [*_ASK, path], {}, file_actions=nowhere)
    except OSError:
        return True  # nobody can tell
    until = time.monotonic() + seconds
    with contextlib.suppress(ChildProcessError):  # somebody else's affair, where SIGCHLD is ignored
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() > until:
                return False
            time.sleep(_LOOK_SECONDS)
    return True


def _mount_of(path: str, mounts: str) -> tuple[str, str]:
    table = _table(mounts)
    return _holds(_followed(os.path.abspath(path), table), table)


def _local(kind: str) -> bool:
    return kind not in NOT_LOCAL and not kind.startswith("fuse.") and kind != "fuse"


def _table(mounts: str) -> Mounts:
    found: Mounts = []
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields, _, rest = line.partition(" - ")
                found.append((_unescaped(fields.split()[4]), rest.split()[0]))
    except (OSError, IndexError):
        return []
    found.reverse()  # the later of two mounts at one point hides the earlier
    return sorted(found, key=lambda mount: -len(mount[0]))


def _holds(path: str, table: Mounts) -> tuple[str, str]:
    for point, kind in table:
        if path == point or path.startswith(point.rstrip("/") + "/"):
            return point, kind
    return "", ""


def _followed(path: str, table: Mounts) -> str:
    """`path` without links, up to where a file system begins that is not this machine's."""
    links = 0
    at = ""
    rest = path.split("/")[1:]
    while rest:
        at = f"{at}/{rest.pop(0)}"
        point, kind = _holds(at, table)
        if not _local(kind) and point != "/":  # a dead server of `/` would not have let us start
            break
        try:
            target = os.readlink(at)
        except OSError as problem:
            if problem.errno == errno.EINVAL:
                continue  # no link
            break
        links += 1
        if links > _LINKS:
            break
        whole = os.path.normpath(os.path.join(os.path.dirname(at), target, *rest))
        at, rest = "", whole.split("/")[1:]
    return "/".join([at, *rest])


def _unescaped(point: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(code, character)
    return point
