"""An attempt's directory, ready for its shim. On the hot path of every start: few system calls, plain strings."""

import contextlib
import json
import os
import re
from shlex import quote

from overnight.artifacts import layout
from overnight.artifacts.whole import write_all, write_first, write_whole
from overnight.ports import StartOrder

DEFAULT_UMASK = 0o022  # the shim's, where the order names none

_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def prepare(order: StartOrder) -> bool:
    """Make the run's and the attempt's directories and everything that the shim reads.

    False: the attempt's directory exists, here or on another host of the root: its number is taken.
    Raises OSError (disk full, read-only, no permission);
    then the attempt's directory is gone again and the number is free.
    """
    path = order.attempt_dir
    if not path.startswith(order.run_dir + "/"):
        _make_run(order)
        word = f"{os.uname().nodename} {path}\n".encode()
        if not write_first(layout.number_file(order.run_dir, order.n), word):
            return False
    elif order.n == 1:
        _make_run(order)
    try:
        os.mkdir(path)
    except FileExistsError:
        return False
    except FileNotFoundError:
        _make_run(order)
        try:
            os.mkdir(path)
        except FileExistsError:
            return False
    try:
        _new(path + "/env.json", env_json(order), 0o666)
        _new(path + "/bound", bound_json(order.bound_seconds, order.grace), 0o666)
        _new(path + "/command.sh", command_sh(order), 0o777)
    except OSError:
        _undo(path)
        raise
    return True


def env_json(order: StartOrder) -> bytes:
    """What the shim starts: docs/reference/attempt-files.md. The launching shell's environment is named, not
    repeated: it may hold secrets."""
    document = {
        "attempt_id": order.attempt_id,
        "argv": order.argv,
        "cwd": order.cwd,
        "umask": order.umask,
        "rlimits": order.rlimits,
        "launch_env": order.launch_env,
        "set": order.env_set,
        "unset": order.env_unset,
        "default": order.env_default,
    }
    return json.dumps(document).encode() + b"\n"


def bound_json(seconds: float | None, grace: float) -> bytes:
    """The bound that the shim keeps: seconds of running from the attempt's start, and the grace."""
    return json.dumps({"seconds": seconds, "grace": grace}).encode() + b"\n"


def command_sh(order: StartOrder) -> bytes:
    """A script that runs the same command in the same place with the same settings; the rest of the environment is
    that of the shell that runs it."""
    lines = [
        "#!/bin/sh",
        f"# {order.attempt_id}: what Overnight ran. Variables of the launching shell are not repeated here.",
        f"cd {quote(order.cwd)} || exit 1",
        f"umask {DEFAULT_UMASK if order.umask is None else order.umask:04o}",
    ]
    if order.env_unset:
        lines.append("unset " + " ".join(name for name in order.env_unset if _SHELL_NAME.match(name)))
    strange = []  # no shell can export these names; env(1) can
    for name, value in order.env_set.items():
        if _SHELL_NAME.match(name):
            lines.append(f"export {name}={quote(value)}")
        else:
            strange.append(quote(f"{name}={value}"))
    words = [*(["env", *strange] if strange else []), *map(quote, order.argv)]
    lines.append("exec " + " ".join(words))
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def _make_run(order: StartOrder) -> None:
    run = order.run_dir
    try:
        os.mkdir(run)
    except FileNotFoundError:
        os.makedirs(run, exist_ok=True)
    except FileExistsError:
        pass
    for folder in dict.fromkeys((order.out_dir, f"{run}/attempts", os.path.dirname(order.attempt_dir))):
        try:
            os.mkdir(folder)
        except FileExistsError:
            pass
        except FileNotFoundError:  # attempts live elsewhere
            os.makedirs(folder, exist_ok=True)
    _write_run_json(run + "/run.json", order.run_json)


def _write_run_json(path: str, data: bytes) -> None:
    """Once; a torn one (we were killed while writing it) is replaced."""
    try:
        fd = os.open(path, _NEW, 0o666)
    except FileExistsError:
        if data and os.stat(path).st_size != len(data):
            write_whole(path, data)
        return
    try:
        write_all(fd, data)
    finally:
        os.close(fd)


def _new(path: str, data: bytes, mode: int) -> None:
    fd = os.open(path, _NEW, mode)
    try:
        write_all(fd, data)
    finally:
        os.close(fd)


def _undo(path: str) -> None:
    """Nobody but us knows of this directory yet."""
    for name in ("env.json", "bound", "command.sh"):
        with contextlib.suppress(OSError):
            os.unlink(f"{path}/{name}")
    with contextlib.suppress(OSError):
        os.rmdir(path)
