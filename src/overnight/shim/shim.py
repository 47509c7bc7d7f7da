"""The shim: claims an attempt, runs its command, bounds it, ends its tree whole, writes how it ended.

One file of the standard library that imports nothing of ours, so that the keeper can fork it ready-made
(`run_attempt`) and any other executor can run it by path (`python shim.py ATTEMPT_DIR`), on a host where
nothing else is installed. What it reads and writes is specified in docs/reference/attempt-files.md.

All signals but faults stay blocked in it from its first moment and are taken by `sigtimedwait`: nothing can end
it half-way through a file, and a stop request that comes before the command runs is not lost.

What a forked child costs is pages: those that the keeper has, which are mapped and unmapped with each, and those that
it touches for the first time, a microsecond or two each, one for about every function, constant or class that it
meets. So the way to the command and to its record uses bare descriptors and the plainest calls instead of Python's
comfortable ones, and `typing` is imported for the type checker alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RAN, TAKEN, NEVER_BEGAN, UNRECORDED = 0, 3, 4, 5  # what `run_attempt` returns

EXIT_RECORD_BYTES = 4096
DEFAULT_GRACE_SECONDS = 30.0
DEFAULT_MARGIN_SECONDS = 600.0
DEFAULT_BOUND_SECONDS = 86_400.0  # a bound that was never readable is no licence to run for ever
BOUND_READ_SECONDS = 60.0
_UNBOUNDED = float("inf")
LEFTOVER_GRACE_SECONDS = 5.0
STACKS_SECONDS = 1.0
GAP_SECONDS = 5.0
UNRECORDED_SECONDS = 600.0
OOM_RAISE, OOM_MOST = 500, 1000  # of oom_score_adj: the command above its shim, by the kernel's own bound

_PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 15, 36
# 32 and 33 belong to the C library's threads and cannot be set.
_SIGNALS = frozenset(range(1, signal.NSIG)) - {signal.SIGKILL, signal.SIGSTOP, 32, 33}
_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGSYS}
HELD_SIGNALS = _SIGNALS - _FAULTS - {signal.SIGTRAP}
# These would bind the shim as well as the command: they are set between fork and exec. The others are
# harmless to the shim, which sets them on itself and keeps the cheaper posix_spawn.
_LIMITS_OF_THE_COMMAND_ALONE = {"AS", "CPU", "DATA", "FSIZE", "NPROC", "STACK"}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}

_OOM_FILE = "/proc/self/oom_score_adj"
_SMALL_BYTES = 16_384
_decode = json.JSONDecoder().raw_decode  # half the pages of json.loads
_encode = json.JSONEncoder().encode
_NAME = ctypes.create_string_buffer(b"overnight-shim")
_prctl = ctypes.CDLL(None, use_errno=True).prctl
_prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)


def _read(path: str, folder: int | None = None) -> bytes:
    """The whole of a small file. Raises OSError."""
    fd = os.open(path, os.O_RDONLY, dir_fd=folder)
    try:
        data = os.read(fd, _SMALL_BYTES)
        if len(data) == _SMALL_BYTES:  # a file on disk ends where a read falls short
            data += _rest(fd)
        return data
    finally:
        os.close(fd)


def _read_proc(path: str) -> bytes:
    """The whole of a file in /proc, where a read may fall short anywhere. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return _rest(fd)
    finally:
        os.close(fd)


def _rest(fd: int) -> bytes:
    data = b""
    while more := os.read(fd, 65_536):
        data += more
    return data


# --- who a process is --------------------------------------------------------------------------------------


class Stat:
    """What /proc/PID/stat says: state letter, parent, session, start time in clock ticks since boot."""

    __slots__ = ("parent", "session", "start_ticks", "state")

    def __init__(self, state: str, parent: int, session: int, start_ticks: int) -> None:
        self.state, self.parent, self.session, self.start_ticks = state, parent, session, start_ticks

    @property
    def dead(self) -> bool:
        """Ended: a container's PID 1 may never reap, so a zombie does not count as alive."""
        return self.state in "ZXx"


def process_stat(pid: int) -> Stat | None:
    """The process's line in /proc (proc_pid_stat(5)), or None where there is none."""
    try:
        data = _read(f"/proc/{pid}/stat")  # one line, always read whole
    except OSError:
        return None
    fields = data[data.rindex(b")") + 2 :].split(b" ", 20)
    return Stat(fields[0].decode(), int(fields[1]), int(fields[3]), int(fields[19]))


def process_start_ticks(pid: int) -> int | None:
    """Start time of a live process in clock ticks since boot; None if there is none, or a zombie."""
    stat = process_stat(pid)
    return None if stat is None or stat.dead else stat.start_ticks


def start_ticks_of_child(pid: int) -> int | None:
    """Start time in clock ticks since boot of a child that is not yet reaped, dead or alive, or of the caller; the
    cheap way to it."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    data = os.read(fd, 4096)
    os.close(fd)
    return int(data[data.rindex(b")") + 2 :].split(b" ", 20)[19])


@functools.cache
def host_identity() -> dict[str, str | int]:
    """This boot of this host as seen from this PID namespace. What cannot be read is empty, or 0."""
    boot, pidns = "", ""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read().strip()
    with contextlib.suppress(OSError):
        pidns = str(os.stat("/proc/self/ns/pid").st_ino)
    init = process_stat(1)
    started = init.start_ticks if init is not None else 0
    return {"hostname": os.uname().nodename, "boot": boot, "pidns": pidns, "init_start": started}


@functools.cache
def _host_json() -> str:
    return json.dumps(host_identity())


def warm_up() -> None:
    """Know what never changes before the first fork."""
    _host_json()
    _kernel_lists_children()
    _decode("{}")


class Descendant:
    """One process below another, at the moment it was seen."""

    __slots__ = ("dead", "pid", "start_ticks")

    def __init__(self, pid: int, start_ticks: int, dead: bool) -> None:
        self.pid, self.start_ticks, self.dead = pid, start_ticks, dead

    @property
    def key(self) -> tuple[int, int]:
        """The process, and no later one of its number."""
        return self.pid, self.start_ticks


@functools.cache
def _kernel_lists_children() -> bool:
    return os.path.exists(f"/proc/{os.getpid()}/task/{os.getpid()}/children")


def _listed_children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                found.extend(int(child) for child in _read_proc(f"/proc/{pid}/task/{task}/children").split())
    return found


def _scanned_children() -> Callable[[int], list[int]]:
    found: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := process_stat(int(name))) is not None:
            found.setdefault(stat.parent, []).append(int(name))
    return lambda pid: found.get(pid, [])


def descendants(*roots: int, deep: bool = True) -> Iterator[Descendant]:
    """All processes below `roots`, parents first; only their children with deep=False.

    A look at a moving tree: what forks meanwhile is seen by the next look. The children of the calling process
    cannot change their pid's meaning until it reaps them; for all others `send` checks again.
    """
    children = _listed_children if _kernel_lists_children() else _scanned_children()
    queue, seen = list(roots), set(roots)
    for parent in queue:
        for pid in children(parent):
            stat = process_stat(pid)
            if pid in seen or stat is None or stat.parent != parent:
                continue
            seen.add(pid)
            if deep:
                queue.append(pid)
            yield Descendant(pid, stat.start_ticks, stat.dead)


def send(pid: int, start_ticks: int, signum: int) -> bool:
    """Signal that very process; False if it is gone (also when its number belongs to another now)."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    except OSError:  # no pidfd before Linux 5.3
        fd = -1
    try:
        stat = process_stat(pid)
        if stat is None or stat.start_ticks != start_ticks:
            return False
        if fd >= 0:
            signal.pidfd_send_signal(fd, signum)
        else:
            os.kill(pid, signum)
        return True
    except OSError:
        return False
    finally:
        if fd >= 0:
            os.close(fd)


def _is_python(pid: int) -> bool:
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe")).startswith("python")
    except OSError:
        return False


def become_subreaper(name: ctypes.Array[ctypes.c_char]) -> None:
    """Processes below that lose their parent fall to the caller, which is called `name` (15 bytes) from now on.

    Raises OSError where the kernel refuses.
    """
    _prctl(_PR_SET_NAME, ctypes.addressof(name), 0, 0, 0)
    if _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")


# --- the claim ---------------------------------------------------------------------------------------------


def claim(attempt_dir: str, by: str) -> bool:
    """Create `started`, which only one process ever can; False if somebody else has.

    The file appears whole or not at all. Raises OSError when it cannot be known or written (a full disk):
    then the caller has claimed nothing.
    """
    final, pid = attempt_dir + "/started", os.getpid()
    data = (
        f'{{"by": "{by}", "host": {_host_json()}, "pid": {pid}, "start_ticks": {start_ticks_of_child(pid)}, '
        f'"mono": {time.monotonic():.6f}, "wall": {time.time():.6f}}}\n'
    ).encode()
    temporary = f"{final}.{pid}.{time.monotonic_ns()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(fd, data)
        os.link(temporary, final)
    except FileExistsError:
        # NFS may have made the link, lost the answer and asked again: two names on our file mean it is ours.
        return os.stat(temporary).st_nlink > 1
    except OSError as error:
        if error.errno in _NO_LINKS:
            return _claim_without_links(final, data)
        raise
    finally:
        os.close(fd)
        try:
            os.unlink(temporary)
        except OSError:
            pass
    return True


def _claim_without_links(final: str, data: bytes) -> bool:
    try:
        fd = os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    try:
        os.write(fd, data)
    except OSError:
        os.unlink(final)  # ours, and nothing has begun
        raise
    finally:
        os.close(fd)
    return True


# --- starting the command ----------------------------------------------------------------------------------


class _StartError(Exception):
    """The command could not be started. `what` is `exec`, `cwd`, `log` or `env`."""

    def __init__(self, what: str, number: int | None, message: str) -> None:
        super().__init__(message)
        self.record = {"what": what, "errno": number, "message": message[:500]}


def _json(data: bytes) -> Any:
    return _decode(data.decode().lstrip())[0]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _environment(spec: dict[str, Any]) -> dict[bytes, bytes]:
    source = spec.get("launch_env")
    if source is None:
        environment = dict(os.environb)
    else:
        environment = {}
        for name, value in _json(_read(source)).items():
            environment[_bytes(name)] = _bytes(value)
    for name in spec.get("unset") or ():
        environment.pop(_bytes(name), None)
    for name, value in (spec.get("set") or {}).items():
        environment[_bytes(name)] = _bytes(value)
    for name, value in (spec.get("default") or {}).items():
        environment.setdefault(_bytes(name), _bytes(value))
    return environment


def _find(program: bytes, path: bytes) -> bytes:
    """The file execvp would run, by the command's PATH and not the shim's."""
    if b"/" in program:
        return program
    refused = 0
    for folder in path.split(b":"):
        file = os.path.join(folder, program)
        if os.access(file, os.X_OK) and not os.path.isdir(file):
            return file
        refused = refused or (errno.EACCES if os.path.isfile(file) else 0)
    raise OSError(refused or errno.ENOENT, os.strerror(refused or errno.ENOENT))


def _set_limit(number: int, soft: int, hard: int) -> None:
    """As near to it as this host lets us: only root raises a hard limit."""
    try:
        resource.setrlimit(number, (soft, hard))
    except (OSError, ValueError):
        top = resource.getrlimit(number)[1]
        hard = top if hard == resource.RLIM_INFINITY else min(hard, top)
        soft = hard if soft == resource.RLIM_INFINITY else min(soft, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(number, (soft, hard))


def _limits(wanted: dict[str, Sequence[int]]) -> list[tuple[int, tuple[int, int]]]:
    """Set what is harmless to the shim; return what must be set in the command alone."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    apart: list[tuple[int, tuple[int, int]]] = []
    for name, (soft, hard) in wanted.items():
        number: int | None = getattr(resource, f"RLIMIT_{name}", None)
        if number is None or name == "CORE":
            continue
        if resource.getrlimit(number) == (soft, hard):
            continue
        if name in _LIMITS_OF_THE_COMMAND_ALONE:
            apart.append((number, (soft, hard)))
        else:
            _set_limit(number, soft, hard)
    return apart


def _fork_exec(
    path: bytes,
    argv: list[bytes],
    environment: dict[bytes, bytes],
    log: int,
    limits: list[tuple[int, tuple[int, int]]],
) -> int:
    """Like `_spawn`, with limits that posix_spawn cannot set. Raises the OSError of exec."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        number = errno.EIO
        try:
            os.setpgid(0, 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            for each in _SIGNALS:
                signal.signal(each, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            for limit, pair in limits:
                _set_limit(limit, *pair)
            os.execve(path, argv, environment)
        except OSError as error:
            number = error.errno or number
        finally:
            os.write(writing, str(number).encode())
            os._exit(127)
    os.close(writing)
    with open(reading, "rb") as pipe:
        answer = pipe.read()
    if answer:
        os.waitpid(pid, 0)
        raise OSError(int(answer), os.strerror(int(answer)))
    return pid


def _fair_game() -> int | None:
    """What is started from now on is what the kernel takes first when memory runs out: the command, not its shim, whose
    record would be lost, nor who watches. Raising needs no privilege, nor does going back to where one was; where
    the kernel says no, all stay equal. Returns what to go back to."""
    try:
        before = int(_read(_OOM_FILE))  # one line, always read whole
        _write_oom(min(before + OOM_RAISE, OOM_MOST))
    except (OSError, ValueError):
        return None
    return before


def _write_oom(score: int) -> None:
    file = os.open(_OOM_FILE, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, b"%d" % score)
    finally:
        os.close(file)


def _settle_oom(before: int) -> None:
    try:
        _write_oom(before)
    except OSError:
        pass


def _spawn(spec: dict[str, Any], environment: dict[bytes, bytes], log: int) -> int:
    """Start the command; its pid. Raises OSError (exec) and ValueError (a NUL, an impossible name)."""
    argv = [_bytes(word) for word in spec["argv"]]
    path = _find(argv[0], environment.get(b"PATH", os.defpath.encode()))
    apart = _limits(spec.get("rlimits") or {})
    if spec.get("umask") is not None:
        os.umask(spec["umask"])
    try:
        return _start(path, argv, environment, log, apart)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        with open(path, "rb") as file:
            if b"\0" in file.read(128):
                raise  # a program for another machine
        # No `#!`: what every shell does.
        return _start(b"/bin/sh", [b"/bin/sh", path, *argv[1:]], environment, log, apart)


def _start(
    path: bytes,
    argv: list[bytes],
    environment: dict[bytes, bytes],
    log: int,
    apart: list[tuple[int, tuple[int, int]]],
) -> int:
    if apart:
        return _fork_exec(path, argv, environment, log, apart)
    # Its own process group, so that a script's `kill 0` does not reach the shim; the shim's session, so
    # that it never gets a terminal.
    return os.posix_spawn(
        path,
        argv,
        environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
        setpgroup=0,
        setsigmask=(),
        setsigdef=_SIGNALS,
    )


# --- one attempt -------------------------------------------------------------------------------------------


class _Attempt:
    """The command while it runs. Its clock stands still while nobody could have watched (`gaps`)."""

    def __init__(self, folder: int) -> None:
        self.folder = folder
        self.space: int | None = None
        self.pid = 0
        self.started = time.monotonic()
        self.gaps = 0.0
        self.bound: tuple[float, float, float] = (
            DEFAULT_BOUND_SECONDS,
            DEFAULT_GRACE_SECONDS,
            DEFAULT_MARGIN_SECONDS,
        )
        self.ended: float | None = None
        self.raw: int | None = None
        self.usage: resource.struct_rusage | None = None
        self.childless = False
        self.stopped: str | None = None
        self.aborted = False
        self.killed: set[tuple[int, int]] = set()
        self.error: dict[str, Any] | None = None
        self.read_bound()

    def now(self) -> float:
        return time.monotonic() - self.gaps

    def read_bound(self) -> None:
        """Take the bound as it is now; one that cannot be read leaves the last one in force."""
        try:
            found = _json(_read("bound", self.folder))
            seconds = _UNBOUNDED if found["seconds"] is None else float(found["seconds"])
            grace = float(found.get("grace", DEFAULT_GRACE_SECONDS))
            margin = float(found.get("margin", DEFAULT_MARGIN_SECONDS))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return
        if seconds == seconds and grace == grace and margin == margin:  # not-a-number is unlike itself
            self.bound = (seconds, grace, margin)

    @property
    def grace(self) -> float:
        return max(0.0, self.bound[1])

    @property
    def limit(self) -> float:
        return self.started + self.bound[0] + self.bound[2]

    def wait(self, until: float) -> bool:
        """Until a child ends, somebody asks for the end, or it is `until`; then reap. True: asked to stop."""
        asked = min(max(0.0, until - self.now()), BOUND_READ_SECONDS)
        before = time.monotonic()
        taken = signal.sigtimedwait((signal.SIGTERM, signal.SIGCHLD), asked)
        over = time.monotonic() - before - asked
        if over > GAP_SECONDS:  # suspended, stopped, a frozen machine: time nobody ran in
            self.gaps += over
        self.reap()
        return taken is not None and taken.si_signo == signal.SIGTERM

    def reap(self) -> None:
        while True:
            try:
                pid, raw, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                self.childless = True
                return
            if pid == 0:
                return
            if pid == self.pid and self.raw is None:
                self.ended, self.raw, self.usage = time.monotonic(), raw, usage

    def run(self) -> None:
        """Returns when neither the command nor anything it left is there any more."""
        while self.raw is None:
            reread = self.now() + BOUND_READ_SECONDS
            while self.raw is None and self.now() < min(reread, self.limit):
                if self.wait(min(reread, self.limit)) and self.raw is None:
                    self.stop("request")
            if self.raw is None:
                self.read_bound()
                if self.now() >= self.limit:
                    self.stop("bound")
        if not self.childless:
            self.let_end(self.now() + min(self.grace, LEFTOVER_GRACE_SECONDS))
            self.sweep()

    def stop(self, why: str) -> None:
        """The whole sequence, until nothing lives."""
        self.stopped = why
        self.read_bound()
        with contextlib.suppress(PermissionError):  # a setuid program
            os.kill(self.pid, signal.SIGTERM)  # a child not yet reaped: the number is still its own
            os.kill(self.pid, signal.SIGCONT)  # one that stands still could not save anything
        self.let_end(self.now() + self.grace)
        if not self.childless:
            self.print_stacks()
        self.sweep()

    def let_end(self, until: float) -> None:
        """Give time. While the command lives its helpers are left alone: it may need them to save.

        Afterwards what has fallen to the shim is asked to end, and only that: the same rule one level down.
        """
        asked: set[tuple[int, int]] = set()
        while not self.childless and self.now() < until:
            if self.raw is not None:
                for child in descendants(os.getpid(), deep=False):
                    if (child.pid, child.start_ticks) not in asked:
                        asked.add((child.pid, child.start_ticks))
                        send(child.pid, child.start_ticks, signal.SIGTERM)
            # What is orphaned further down falls to the shim without a signal.
            pause = until if self.raw is None else min(until, self.now() + 0.1)
            if self.wait(pause):
                self.read_bound()
                until = min(until, self.now() + self.grace)

    def print_stacks(self) -> None:
        """ABRT to the Python processes: faulthandler writes where they hang into the log, without ptrace."""
        for each in descendants(os.getpid()):
            if not each.dead and _is_python(each.pid):
                self.aborted = send(each.pid, each.start_ticks, signal.SIGABRT) or self.aborted
        until = self.now() + STACKS_SECONDS
        while self.aborted and not self.childless and self.now() < until:
            self.wait(until)

    def sweep(self) -> None:
        """KILL whatever is there until nothing is. What cannot be killed (state D) is tried for ever."""
        pause = 0.01
        while not self.childless:
            for each in descendants(os.getpid()):
                if send(each.pid, each.start_ticks, signal.SIGKILL) and not each.dead:
                    self.killed.add((each.pid, each.start_ticks))
            until = self.now() + pause
            while not self.childless and self.now() < until:
                self.wait(until)
            pause = min(pause * 1.5, 5.0)

    def record(self) -> dict[str, Any]:
        """What `exit` says."""
        raw, usage = self.raw, self.usage
        by_signal = os.WTERMSIG(raw) if raw is not None and os.WIFSIGNALED(raw) else None
        ended = time.monotonic() if self.ended is None else self.ended
        return {
            "code": os.WEXITSTATUS(raw) if raw is not None and os.WIFEXITED(raw) else None,
            "signal": None if by_signal is None else _signal_name(by_signal),
            "raw": raw,
            "seconds": 0.0 if raw is None else max(0.0, ended - self.started - self.gaps),
            "started_mono": self.started,
            "ended_mono": ended,
            "ended_wall": time.time() - (time.monotonic() - ended),
            "rusage": {
                "utime": usage.ru_utime if usage else 0.0,
                "stime": usage.ru_stime if usage else 0.0,
                "maxrss_kib": usage.ru_maxrss if usage else 0,
            },
            "stopped": self.stopped,
            "aborted": self.aborted,
            "swept": len(self.killed),
            "error": self.error,
        }


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal between SIGRTMIN and SIGRTMAX
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


# --- the record --------------------------------------------------------------------------------------------


def _reserve(folder: int) -> int:
    """Take the space of the exit record before the command can fill the disk."""
    space = os.open("exit.tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644, dir_fd=folder)
    try:
        os.posix_fallocate(space, 0, EXIT_RECORD_BYTES)
    except OSError:
        os.close(space)
        raise
    return space


def _write_exit(folder: int, space: int | None, record: dict[str, Any]) -> bool:
    """Rename the record to `exit`; False if it could not be written for ten minutes, or until a stop request.

    Where the space could not be reserved, or a copy-on-write file system lends none, a full disk is waited
    for: what the record says would be lost.
    """
    data = _encode(record).encode() + b"\n"
    give_up, pause = time.monotonic() + UNRECORDED_SECONDS, 0.1
    while True:
        try:
            if space is None:
                space = os.open("exit.tmp", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=folder)
            if os.pwrite(space, data, 0) == len(data):
                os.ftruncate(space, len(data))
                os.rename("exit.tmp", "exit", src_dir_fd=folder, dst_dir_fd=folder)
                return True
        except OSError as error:
            if error.errno == errno.ENOENT and space is None:
                return False  # the folder itself is gone
            if space is not None:
                os.close(space)
            space = None
        if time.monotonic() > give_up or signal.sigtimedwait((signal.SIGTERM,), pause) is not None:
            return False
        pause = min(pause * 2, 5.0)


def run_attempt(attempt_dir: str, keep_fds: Sequence[int] = ()) -> int:
    """Run the attempt whose files lie in `attempt_dir`, in a process of its own, from claim to record.

    The caller has blocked HELD_SIGNALS and left SIGCHLD at its default (`hold_signals`), before it forked.
    `keep_fds` (slot locks) stay open here and are not passed on. Returns RAN (the record is written), TAKEN
    (somebody else had claimed it: nothing was done), NEVER_BEGAN (it could not be claimed: nothing was run) or
    UNRECORDED (it ran, and the record could not be written).
    """
    os.umask(0o022)
    for fd in keep_fds:
        os.set_inheritable(fd, False)
    try:
        folder = os.open(attempt_dir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.setsid()
        except PermissionError:  # run by path, it may be a leader already
            pass
        become_subreaper(_NAME)
        spec, fault = _read_spec(folder)
        if not claim(attempt_dir, "shim"):
            return TAKEN
    except OSError as error:
        _say(f"error: {attempt_dir} could not be begun: {error}")
        return NEVER_BEGAN
    attempt = _Attempt(folder)
    try:
        if fault is not None:
            raise fault
        _begin(attempt, spec)
    except _StartError as error:
        attempt.error = error.record
    else:
        attempt.run()
    if _write_exit(folder, attempt.space, attempt.record()):
        return RAN
    _say(f"error: {attempt_dir}: the exit record could not be written")
    return UNRECORDED


def _say(words: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, words.encode(errors="replace") + b"\n")


def _read_spec(folder: int) -> tuple[dict[str, Any], _StartError | None]:
    try:
        spec: dict[str, Any] = _json(_read("env.json", folder))
        spec["argv"][0], spec["cwd"]  # what nothing can be run without
        return spec, None
    except OSError as error:
        return {}, _StartError("env", error.errno, f"env.json: {error.strerror}")
    except (ValueError, TypeError, LookupError) as error:
        return {}, _StartError("env", None, f"env.json: {error}")


def _begin(attempt: _Attempt, spec: dict[str, Any]) -> None:
    """Everything up to a running command. Raises _StartError."""
    what, subject = "log", "the exit record"
    try:
        attempt.space = _reserve(attempt.folder)
        what, subject = "env", "the environment"
        environment = _environment(spec)
        what, subject = "log", "output.log"
        log = os.open("output.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644, dir_fd=attempt.folder)
        what, subject = "cwd", str(spec["cwd"])
        os.chdir(_bytes(spec["cwd"]))
        what, subject = "exec", str(spec["argv"][0])
        attempt.started = time.monotonic()
        before = _fair_game()
        try:
            attempt.pid = _spawn(spec, environment, log)
        finally:
            if before is not None:
                _settle_oom(before)
        os.close(log)
    except OSError as error:
        raise _StartError(what, error.errno, f"{subject}: {error.strerror}") from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise _StartError(what, None, f"{subject}: {error}") from error


def main(arguments: Sequence[str]) -> int:
    """`python shim.py ATTEMPT_DIR`. What the caller left open stays open here and is not passed on."""
    if len(arguments) != 1:
        _say("error: one attempt directory is wanted\nhint: python shim.py ATTEMPT_DIR")
        return 2
    hold_signals()
    null = os.open(os.devnull, os.O_RDWR)
    while null < 3:  # a missing descriptor 1 or 2 must not become the log's
        null = os.dup(null)
    os.dup2(null, 0)
    close_on_exec()
    return run_attempt(os.path.abspath(arguments[0]))


def hold_signals() -> None:
    """Block all but faults. SIGCHLD at its default: ignored, it would take the exit status away."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def close_on_exec() -> None:
    """No descriptor above 2 of this process is inherited by what it will run."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the listing's own
                os.set_inheritable(int(name), False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
