"""`python -m overnight.keeper --state DIR --root DIR`: one per state directory; a second one ends at once.

With `--stay yes`, for a service manager, it waits instead: for its turn, and for as long as a person wants nobody to
watch. Ended then by SIGTERM like any program."""

import contextlib
import ctypes
import fcntl
import gc
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence

from overnight.keeper.loop import Keeper, say
from overnight.keeper.orphans import Orphans
from overnight.keeper.rehearsal import rehearse
from overnight.keeper.respawn import Respawn
from overnight.keeper.watch import BeatWatch
from overnight.shim import shim

LOG_BYTES = 1_000_000
_DESCRIPTORS = 65_536
_OPTIONS = {"--state", "--root", "--supervisor-argv", "--timing", "--stay"}
_WISH_SECONDS = 0.5
_REST_SECONDS = 45.0
_LEFTOVER_SECONDS, _LEFTOVER_LOOK_SECONDS = 5.0, 0.02


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0 when the supervisor was meant to stop (or another keeper is there), 4 without a state."""
    options = _options(arguments)
    if options is None:
        sys.stderr.write("error: a state and a root are wanted\nhint: " + (__doc__ or "") + "\n")
        return 2
    state, root = os.path.abspath(options["--state"]), os.path.abspath(options["--root"])
    os.environ.pop("LD_BIND_NOW", None)  # it was said to us alone
    # The working directory will be `/`: what was relative to the caller's must still be found.
    if path := os.environ.get("PYTHONPATH"):
        os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, path.split(os.pathsep)))
    os.closerange(3, _DESCRIPTORS)
    name = ctypes.create_string_buffer(b"overnight-keep")
    try:
        path = os.path.join(state, "keeper.lock")
        lock = _turn(path, state) if options.get("--stay") == "yes" else _lock(path)
        if lock is None:
            return 0
        _detach(os.path.join(state, "keeper.log"))
        shim.become_subreaper(name)
    except OSError as error:
        words = f"error: no keeper can run in {state}: {error}\nhint: it must be a writable directory"
        sys.stderr.write(words + " on a local disk\n")
        return 4
    limits = _raise_descriptors()
    # For tests, both JSON: a list that starts another supervisor, and other intervals.
    base = json.loads(options.get("--supervisor-argv", "null")) or [sys.executable, "-P", "-m", "overnight.supervisor"]
    timing = json.loads(options.get("--timing", "{}"))
    keeper = Keeper(
        [*base, "--state", state, "--root", root],
        BeatWatch(os.path.join(state, "lock"), **timing.get("watch", {})),
        respawn=Respawn(**timing.get("respawn", {})),
        orphans=Orphans(**timing.get("orphans", {})),
        unwanted=lambda: os.path.exists(os.path.join(state, "stopped")),
        before_shim=_nothing if limits is None else lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits),
    )
    shim.warm_up()
    rehearse(state)
    shim.become_subreaper(name)  # by its own name again
    gc.disable()  # what is frozen is not written to, and stays shared with every shim
    gc.freeze()
    say(f"keeper of {root} (pid {os.getpid()})")
    code = keeper.run()
    os.close(lock)
    if options.get("--stay") == "yes" and not keeper.told_to_end and not os.path.exists(os.path.join(state, "stopped")):
        _rest()
    return code


def _rest() -> None:
    """Only a person can help (a database that is gone, a takeover half done): no service manager's storm of tries."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    time.sleep(_REST_SECONDS)


def _options(arguments: Sequence[str]) -> dict[str, str] | None:
    """The options by name; None if they make no sense. Not argparse: it would be part of every fork."""
    names, values = arguments[::2], arguments[1::2]
    if len(names) != len(values) or not {"--state", "--root"} <= set(names) <= _OPTIONS:
        return None
    return dict(zip(names, values, strict=True))


def _turn(path: str, state: str) -> int:
    """Wait until nobody else keeps this root and nobody wishes that it be left alone; the lock's descriptor.
    Clients that see the file `keeper.stay` leave the keeping to us. Raises OSError."""
    with open(os.path.join(state, "keeper.stay"), "w", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")
    wish = os.path.join(state, "stopped")
    while True:
        while os.path.exists(wish):
            time.sleep(_WISH_SECONDS)
        lock = _lock(path, wait=True)
        if lock is not None and not os.path.exists(wish):
            return lock
        if lock is not None:
            os.close(lock)


def _lock(path: str, *, wait: bool = False) -> int | None:
    """The descriptor that holds the lock, or None: another keeper does. Raises OSError.

    A keeper that was killed in the middle of a fork leaves its lock with the child until that has closed what it
    inherited: whoever took that for a keeper would leave, and nobody would be here.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    until = time.monotonic() + _LEFTOVER_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            break
        except BlockingIOError:
            if _keeps(fd) or time.monotonic() > until:
                os.close(fd)
                return None
            time.sleep(_LEFTOVER_LOOK_SECONDS)
    with contextlib.suppress(OSError):  # for people; a full disk is no reason not to run
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _keeps(fd: int) -> bool:
    """Whether the process that wrote itself into the lock file is a living keeper (a zombie has no words)."""
    try:
        pid = int(os.pread(fd, 32, 0))
        with open(f"/proc/{pid}/cmdline", "rb") as words:
            return b"overnight.keeper" in words.read()
    except (OSError, ValueError):
        return False


def _detach(log_path: str) -> None:
    """A session of its own, no input, output to the log. Raises OSError."""
    log = os.open(log_path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    _shorten(log)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(null)
    os.close(log)
    with contextlib.suppress(PermissionError):  # its caller has made it a leader already
        os.setsid()
    os.chdir("/")
    os.umask(0o022)


def _shorten(log: int) -> None:
    """Keep the newer half of a log that has grown too long, in place: others may be writing to it."""
    if os.fstat(log).st_size > LOG_BYTES:
        kept = os.pread(log, LOG_BYTES // 2, os.fstat(log).st_size - LOG_BYTES // 2)
        os.ftruncate(log, 0)
        with contextlib.suppress(OSError):  # a full disk: better no log than no keeper
            os.write(log, kept[kept.find(b"\n") + 1 :])


def _nothing() -> None:
    pass


def _raise_descriptors() -> tuple[int, int] | None:
    """Room for the descriptors of a burst of starts; returns what the shims get back, if anything changed."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = limits
    room = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= room:
        return None
    resource.setrlimit(resource.RLIMIT_NOFILE, (room, hard))
    return limits


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
