"""The shell that typed a request: what runs inherit, taken once and sent along."""

import getpass
import os
import resource
import socket
from collections.abc import Mapping
from pathlib import Path

from overnight.api.places import Place
from overnight.model.policy import CodeIdentity
from overnight.model.requests import Shell

# RLIMIT_CORE is left out: the shim turns core files off, whatever the shell says.
_LIMITS = ("AS", "CPU", "DATA", "FSIZE", "MEMLOCK", "NOFILE", "NPROC", "RSS", "STACK")


def this_shell(cwd: Path, env: Mapping[str, str] | None = None) -> tuple[Shell, list[str]]:
    """The shell we were typed in, and warnings about what of it cannot be passed on."""
    given = dict(os.environ if env is None else env)
    passed, dropped = {}, []
    for name, value in given.items():
        if _is_text(name) and _is_text(value):
            passed[name] = value
        else:
            dropped.append(name.encode("utf-8", "replace").decode())
    warnings = [f"the environment variable {name} is not UTF-8: runs will not have it" for name in dropped]
    return Shell(env=passed, cwd=str(cwd), umask=_umask(), rlimits=_rlimits()), warnings


def by() -> str:
    """Who asks: `user@host`."""
    return f"{user()}@{socket.gethostname()}"


def user() -> str:
    """Our name; in a container without one, our number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def workdir(written: str, fallback: Path) -> Path:
    """The folder that commands run in, as a path. One that differs from run to run (`cwd` with a column in
    it) is no single folder: then `fallback`, which is where the campaign file is."""
    from overnight.manifest import UnknownPlaceholder, expand_text

    try:
        return Path(expand_text(written, {}, {}))
    except UnknownPlaceholder:
        return fallback


def code_of(folder: Path, place: Place) -> CodeIdentity:
    """Which code would run now: of the folder that commands run in, without our own files."""
    from overnight.manifest import code_identity

    return code_identity(folder, exclude=(place.root, place.state))


def patch_of(folder: Path, place: Place) -> str | None:
    """What the code has otherwise than its commit: with that commit it makes the code again. None: nothing, or nobody
    can tell."""
    from overnight.manifest import code_patch

    return code_patch(folder, exclude=(place.root, place.state))


def _is_text(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # surrogate escapes: bytes that are no UTF-8
        return False
    return True


def _umask() -> int:
    """From /proc where there is one: asking by setting it would, for an instant, change it for all threads."""
    try:
        for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    except OSError:
        pass
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _rlimits() -> dict[str, tuple[int, int]]:
    found = {}
    for name in _LIMITS:
        number = getattr(resource, f"RLIMIT_{name}", None)
        if number is not None:
            soft, hard = resource.getrlimit(number)
            found[name] = (_bounded(soft), _bounded(hard))
    return found


def _bounded(value: int) -> int:
    return -1 if value == resource.RLIM_INFINITY else value
