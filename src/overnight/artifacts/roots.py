"""Where a root's state is made, and which roots are remembered."""

import contextlib
import errno
import hashlib
import json
import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path

from overnight.artifacts.filesystems import is_local
from overnight.artifacts.finding import OWNER, POINTER, memory, pointers, state_of, user_state
from overnight.artifacts.whole import write_all, write_whole
from overnight.model.manifest import Refusal

PROBE_BYTES = 64 << 10
ROOTS_BYTES = 1 << 20
ROOTS_KEPT = 2000
_FULL = {errno.ENOSPC, errno.EDQUOT}


def state_dir(root: Path, env: Mapping[str, str] | None = None) -> Path:
    """The state directory of `root` on this host, made if need be (mode 0700) and proven writable.

    The one already in use; else $OVERNIGHT_STATE; else `<root>/.state` on a local file system; else the first local
    and writable of the user's state directory and /var/tmp/overnight-<uid>. Raises `Refusal` when none can be
    written, the disk is full, or $OVERNIGHT_STATE names another one than the root's database is in.
    """
    env = os.environ if env is None else env
    root = Path(os.path.abspath(root))
    wanted = env.get("OVERNIGHT_STATE")
    used = find_state_dir(root)
    if used is not None:
        if wanted and not _same(Path(wanted), used):
            raise Refusal(
                f"OVERNIGHT_STATE names {wanted}, but the state of {root} is in {used}",
                "unset OVERNIGHT_STATE, or launch under another --root",
            )
        return _made(used, root)
    if wanted:
        chosen = _made(Path(os.path.abspath(wanted)), root)
    elif is_local(str(root)):
        chosen = _made(root / ".state", root)
    else:
        chosen = _first_local(root, env)
    _remember_owner(chosen, root)
    if chosen != root / ".state":
        _point(root, chosen)
    return chosen


def find_state_dir(root: Path) -> Path | None:
    """The state directory that holds the root's database on this host, or None; makes nothing."""
    found = state_of(str(root))
    return None if found is None else Path(found)


def attempts_home(root: Path, state: Path) -> Path:
    """Under which path attempts live: the root where its file system is local, else a folder of the state."""
    return Path(root) if is_local(str(root)) else Path(state) / "attempts"


def remember_root(root: Path, campaign: str, env: Mapping[str, str] | None = None) -> bool:
    """Note that `campaign` is under `root`, so that its name is enough from any directory. Never raises: a home that
    cannot be written costs a convenience (False), not a campaign."""
    path = Path(memory(env))
    entry = {"root": os.path.abspath(root), "campaign": campaign, "host": os.uname().nodename}
    # The newline in front ends a line that somebody was killed in.
    line = b"\n" + json.dumps(entry).encode() + b"\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > ROOTS_BYTES:
                _shorten(path)
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, line)
        finally:
            os.close(fd)
    except OSError:
        return False
    return True


def _shorten(path: Path) -> None:
    """Keep the newest: two who do it at once lose at most each other's last line."""
    lines = dict.fromkeys(reversed([line for line in path.read_bytes().splitlines() if line.strip()]))
    kept = list(lines)[:ROOTS_KEPT]
    write_whole(str(path), b"".join(line + b"\n" for line in reversed(kept)), mode=0o600)


def _first_local(root: Path, env: Mapping[str, str]) -> Path:
    own = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    tried: list[str] = []
    for base in (Path(user_state(env)), Path(f"/var/tmp/overnight-{os.getuid()}")):
        if not is_local(str(base)):
            tried.append(f"{base} is on no local file system")
            continue
        try:
            return _made(base / own, root)
        except Refusal as refusal:
            tried.append(refusal.message)
    raise Refusal(
        f"there is no local, writable place for the state of {root}: {'; '.join(tried)}",
        "set OVERNIGHT_STATE to a directory on a local disk of this host",
    )


def _made(path: Path, root: Path) -> Path:
    """`path` as a directory of ours alone, of this root alone, proven writable."""
    hint = "set OVERNIGHT_STATE to a directory on a local disk of this host, or choose another --root"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
        # In /var/tmp somebody else may have been first.
        if status.st_uid != os.getuid() and os.getuid() != 0:
            raise Refusal(f"{path} belongs to another user", hint)
        if stat.S_IMODE(status.st_mode) & 0o077:
            path.chmod(0o700)
        probe = path / f".probe.{os.getpid()}.{time.monotonic_ns()}"
        try:
            with open(probe, "xb") as file:
                file.write(bytes(PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)
        owner = (path / OWNER).read_text(encoding="utf-8", errors="surrogateescape").strip()
    except FileNotFoundError:
        return path
    except OSError as error:
        if error.errno in _FULL:
            raise Refusal(f"the disk of {path} is full", "free some space there, then try again") from error
        raise Refusal(f"{path} cannot be used: {error.strerror or error}", hint) from error
    # Below the root it is the root's by its place, also after the root was moved.
    if owner and path != root / ".state" and not _same(Path(owner), root):
        raise Refusal(f"{path} is the state of {owner}, not of {root}", "each root needs a state directory of its own")
    return path


def _remember_owner(state: Path, root: Path) -> None:
    _written(state / OWNER, os.fsencode(root) + b"\n")


def _point(root: Path, state: Path) -> None:
    known = {**pointers(str(root)), os.uname().nodename: str(state)}
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refusal(f"{root} cannot be made: {error.strerror or error}", "choose another --root") from error
    _written(root / POINTER, json.dumps(known, indent=2).encode() + b"\n")


def _written(path: Path, data: bytes) -> None:
    try:
        write_whole(str(path), data, synced=True)
    except OSError as error:
        if error.errno in _FULL:
            raise Refusal(f"the disk of {path.parent} is full", "free some space there, then try again") from error
        raise Refusal(f"{path} cannot be written: {error.strerror or error}", "choose another --root") from error


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
