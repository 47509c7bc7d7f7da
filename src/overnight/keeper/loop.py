"""The keeper's loop: one poll over signals, socket and timers; nothing in it blocks."""

from __future__ import annotations

import _socket
import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence

from overnight.keeper.orphans import Orphans
from overnight.keeper.respawn import Respawn
from overnight.keeper.watch import BeatWatch
from overnight.keeper.wire import Wire, quoted
from overnight.shim import shim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from overnight.keeper.wire import Received

ENDING_SECONDS = 5.0
_SIGINFO_BYTES = 128  # of struct signalfd_siginfo, which begins with the signal's number
_DEFAULT_SIGNALS = frozenset(range(1, signal.NSIG)) - {signal.SIGKILL, signal.SIGSTOP, 32, 33}


class Supervisor:
    """The child that decides, as long as it lives."""

    def __init__(self, pid: int, start_ticks: int | None, began: float) -> None:
        self.pid, self.start_ticks, self.began = pid, start_ticks, began


class Keeper:
    """Everything the keeper holds. `argv` starts a supervisor; what belongs to it is appended.

    `own` are descriptors that no shim may inherit beside those the keeper opens itself; `before_shim` runs in
    the forked child first (it undoes what the keeper changed about itself). `unwanted`: a person wants nobody to watch;
    asked where the one that heard it may have been another keeper's supervisor.
    """

    def __init__(
        self,
        argv: Sequence[str],
        watch: BeatWatch,
        *,
        respawn: Respawn | None = None,
        orphans: Orphans | None = None,
        before_shim: Callable[[], None] = lambda: None,
        unwanted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._argv, self._watch = list(argv), watch
        self._respawn = respawn or Respawn()
        self._orphans = orphans or Orphans()
        self._before_shim = before_shim
        self._unwanted = unwanted
        self._shims: dict[int, str] = {}
        self._left_alone: set[int] = set()  # children of a dead supervisor: their own deadlines end them
        self._supervisor: Supervisor | None = None
        self._wire: Wire | None = None
        self._start_at: float | None = time.monotonic()
        self._look_at = time.monotonic() + watch.every
        self._give_up_at: float | None = None
        self._ending = False
        self._done = False
        # Signals stay blocked and are read here: so does every shim begin, with nothing to undo.
        shim.hold_signals()
        self._signals = signal_descriptor(signal.SIGCHLD, signal.SIGTERM)

    @property
    def told_to_end(self) -> bool:
        """By SIGTERM."""
        return self._ending

    def run(self) -> int:
        """Until the supervisor was meant to stop, or the keeper is. Touches no shim at its end."""
        while not self._done:
            self._listen()
            self._reap()
            if self._wire is not None:
                for received in self._wire.receive():
                    self._take(received)
            self._keep_time(time.monotonic())
            if self._wire is not None:
                self._wire.flush()
                if self._wire.closed:
                    self._hang_up()
        self._orphans.kill()  # nobody will be here to wait for them
        if self._wire is not None:
            self._wire.close()
        return 0

    # --- waiting -------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        poller = select.poll()
        poller.register(self._signals, select.POLLIN)
        if self._wire is not None:
            poller.register(self._wire, select.POLLIN | (select.POLLOUT if self._wire.waiting else 0))
        until = self._look_at
        for each in (self._start_at, self._give_up_at, self._orphans.due()):
            if each is not None and each < until:
                until = each
        poller.poll(max(0.0, until - time.monotonic()) * 1000 + 1)
        try:
            taken = os.read(self._signals, 16 * _SIGINFO_BYTES)
        except BlockingIOError:
            return
        if signal.SIGTERM in taken[::_SIGINFO_BYTES]:
            self._ending = True

    def _keep_time(self, now: float) -> None:
        if self._ending:
            if self._supervisor is None or (self._give_up_at is not None and now >= self._give_up_at):
                self._done = True
            elif self._give_up_at is None:
                self._give_up_at = now + ENDING_SECONDS
                os.kill(self._supervisor.pid, signal.SIGTERM)
        elif self._start_at is not None and now >= self._start_at:
            self._start_at = None
            self._start_supervisor(now)
        if now >= self._look_at:
            self._look_at = now + self._watch.every
            self._look(now)
        due = self._orphans.due()
        if due is not None and now >= due:
            self._orphans.tick(now, self._known())

    def _look(self, now: float) -> None:
        supervisor = self._supervisor
        if supervisor is not None and self._watch.stands_still(
            now, supervisor.pid, shim.process_start_ticks(supervisor.pid)
        ):
            say(f"the supervisor (pid {supervisor.pid}) has stood still: it is killed and replaced")
            os.kill(supervisor.pid, signal.SIGKILL)  # our child, not reaped: the number is its own

    # --- the supervisor ------------------------------------------------------------------------------------

    def _start_supervisor(self, now: float) -> None:
        if self._respawn.contended and self._unwanted():
            self._done = True
            return
        try:
            ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        except OSError as error:  # no descriptor left on this host
            self._not_started(error, now)
            return
        argv = [*self._argv, "--keeper-fd", str(theirs.fileno())]
        if self._respawn.watch_only:
            argv.append("--watch-only")
        if self._respawn.contended:
            argv.append("--contended")
        os.set_inheritable(theirs.fileno(), True)
        try:
            pid = os.posix_spawn(argv[0], argv, os.environ, setpgroup=0, setsigmask=(), setsigdef=_DEFAULT_SIGNALS)
        except OSError as error:
            ours.close()
            self._not_started(error, now)
            return
        finally:
            theirs.close()
        self._wire = Wire(ours)
        stat = shim.process_stat(pid)
        self._supervisor = Supervisor(pid, stat.start_ticks if stat else None, now)

    def _not_started(self, error: OSError, now: float) -> None:
        say(f"the supervisor could not be started: {self._argv[0]}: {error.strerror}")
        self._start_at = now + (self._respawn.ended(0x100, 0.0, now) or 1.0)

    def _supervisor_ended(self, status: int) -> None:
        supervisor, now = self._supervisor, time.monotonic()
        self._supervisor = None
        if supervisor is None:
            return
        self._hang_up()
        watching, contended = self._respawn.watch_only, self._respawn.contended
        delay = self._respawn.ended(status, now - supervisor.began, now)
        if delay is None:
            self._done = True
            return
        if not (contended and self._respawn.contended):  # said once
            say(f"the supervisor (pid {supervisor.pid}) ended: {_words(status)}; the next starts in {delay:.1f} s")
        if self._respawn.watch_only and not watching:
            say("too many supervisors died of their own fault: from now on the next only watches")
        self._start_at = now + delay

    def _hang_up(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    # --- shims ---------------------------------------------------------------------------------------------

    def _take(self, received: Received) -> None:
        message, locks, whole = received
        try:
            folder = message.get("dir")
            if message.get("op") != "start" or not isinstance(folder, str):
                say(f"a message that means nothing here: {json.dumps(message)[:200]}")
            elif not whole:  # without its locks its slot would look free
                self._refuse(folder, errno.EMFILE, "the lock descriptors could not be received")
            else:
                self._start_shim(folder, locks)
        finally:
            for lock in locks:
                os.close(lock)

    def _start_shim(self, folder: str, locks: Sequence[int]) -> None:
        try:
            pid = os.fork()
            if pid == 0:
                self._be_shim(folder, locks)
        except OSError as error:
            self._refuse(folder, error.errno or 0, error.strerror or str(error))
            return
        self._shims[pid] = folder
        started = shim.start_ticks_of_child(pid)
        try:
            watcher: int | None = os.pidfd_open(pid)
        except OSError:  # no descriptor left, or an old kernel: pid and start time tell
            watcher = None
        ticks = "null" if started is None else started
        self._tell(f'{{"op": "forked", "dir": {quoted(folder)}, "pid": {pid}, "start_ticks": {ticks}}}', watcher)

    def _be_shim(self, folder: str, locks: Sequence[int]) -> None:
        code = os.EX_SOFTWARE
        try:
            _close_all_but(locks)
            self._before_shim()
            code = shim.run_attempt(folder, locks)
        except BaseException:
            import traceback  # not before: it would be part of every fork

            traceback.print_exc()
        finally:
            os._exit(code)

    def _refuse(self, folder: str, number: int, message: str) -> None:
        self._tell(json.dumps({"op": "fork_failed", "dir": folder, "errno": number, "message": message}))

    def _tell(self, message: str, descriptor: int | None = None) -> None:
        if self._wire is not None:
            self._wire.send(message, descriptor)
        elif descriptor is not None:
            os.close(descriptor)

    # --- the dead ------------------------------------------------------------------------------------------

    def _known(self) -> set[int]:
        known = self._left_alone | self._shims.keys()
        return known | {self._supervisor.pid} if self._supervisor is not None else known

    def _reap(self) -> None:
        killed: list[tuple[int, str, int]] = []
        supervisor_status: int | None = None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid in self._shims:
                folder = self._shims.pop(pid)
                # One that wrote its record has outlived everything below it, and its pidfd has told its end.
                if status != shim.RAN:
                    killed.append((pid, folder, status))
            elif self._supervisor is not None and pid == self._supervisor.pid:
                supervisor_status = status
            self._left_alone.discard(pid)
        orphans: list[int] = []
        if killed:
            supervisor = set() if self._supervisor is None else {self._supervisor.pid}
            children = self._orphans.unknown(self._left_alone | self._shims.keys() | supervisor)
            orphans = self._orphans.take(children, time.monotonic())
        for pid, folder, status in killed:
            # Of several killed at once nobody can say whose an orphan was: it is counted against each.
            if orphans:
                say(f"the shim of {folder} (pid {pid}) was killed: {_words(status)}; ending {orphans}")
            told = f'"op": "shim_ended", "dir": {quoted(folder)}, "pid": {pid}, "status": {status}'
            self._tell(f'{{{told}, "orphans": {orphans}}}')
        if supervisor_status is not None:
            self._supervisor_ended(supervisor_status)
            self._left_alone |= {
                child.pid for child in self._orphans.unknown(self._known()) if child not in self._orphans
            }


def signal_descriptor(*signals: int) -> int:
    """A descriptor that is readable when one of these (blocked) signals has come: signalfd(2)."""
    mask = (ctypes.c_uint64 * 16)(sum(1 << (each - 1) for each in signals))
    fd = int(ctypes.CDLL(None, use_errno=True).signalfd(-1, mask, os.O_CLOEXEC | os.O_NONBLOCK))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "signalfd")
    return fd


def _close_all_but(kept: Sequence[int]) -> None:
    low = 3
    for fd in sorted(kept):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, 65_536)


def _words(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit code {os.WEXITSTATUS(status)}"


def say(words: str) -> None:
    """A line for `keeper.log`. A full disk loses it, and nothing else."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} keeper: {words}\n")
        sys.stderr.flush()
