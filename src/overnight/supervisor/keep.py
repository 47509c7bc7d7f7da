"""Bringing the keeper up, from a client: the other half of "someone is always watching".

A client never decides who supervises: `keeper.lock` and `lock` do, by flock. It only looks whether somebody
does and, if not, starts a keeper and waits until a supervisor shows itself. Two clients at once start two
keepers, of which one leaves at once.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import overnight
from overnight.artifacts.finding import owner_of
from overnight.artifacts.holder import STOPPED, Holder, lives, read_holder
from overnight.artifacts.layout import of_root
from overnight.artifacts.lease import Lease, my_lease, read_lease
from overnight.artifacts.whole import write_whole

LOCK = "lock"
DATABASE = "overnight.db"
KEEPER_LOCK = "keeper.lock"
KEEPER_LOG = "keeper.log"
KEEPER_STAY = "keeper.stay"  # a service manager has a keeper of its own here
SUPERVISOR_LOG = "supervisor.log"

UP_WITHIN_SECONDS = 15.0
KEEPER_WITHIN_SECONDS = 3.0  # by then the keeper that was started has said that it is there
STAY_SECONDS = 4.0
STILL_SECONDS = 30.0
AGAIN_SECONDS = 5.0
GAP_SECONDS = 5.0
_LOOK_SECONDS = 0.05
_HANDED_OVER = "handed over by"
_TAIL_BYTES = 8192


class CannotSupervise(Exception):
    """No supervisor came up, or none can be reached. Exit code 4."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def holder_of(state: Path) -> Holder | None:
    """The last word of the last holder of `<state>/lock`; None if there was none yet, or it cannot be read now."""
    try:
        return read_holder(state)
    except (OSError, ValueError):
        return None


def supervised(state: Path) -> bool:
    """Whether a supervisor lives that can be seen from here."""
    holder = holder_of(state)
    return holder is not None and lives(holder)


def keeper_lives(state: Path) -> bool:
    """Whether the keeper that last held `keeper.lock` lives. The lock itself is not tried: that would be in the
    way of one that is just starting."""
    try:
        pid = int((state / KEEPER_LOCK).read_text("ascii"))
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return False
    return b"overnight.keeper" in words and os.fsencode(state) in words  # a zombie has no words


# --- the wish to stay down ---------------------------------------------------------------------------------


class Wish(NamedTuple):
    """A person wants nobody to watch."""

    handed_over: bool  # only for a moment: `supervisor restart`
    age: float  # seconds, by the wall clock


def wish_stopped(state: Path, why: str) -> None:
    """`supervisor stop`, or another host leads: nobody brings a supervisor up until somebody asks for work again."""
    # Whole from its first moment: whoever waits and looks just then would take a hand-over for a stop.
    write_whole(str(state / STOPPED), f"{why}\n".encode())


def is_stopped(state: Path) -> bool:
    """Whether a person wants no supervisor here."""
    return (state / STOPPED).exists()


def wish_handed_over(state: Path, who: str) -> None:
    """`supervisor restart`: down for a moment."""
    wish_stopped(state, f"{_HANDED_OVER} {who}")


def wish_of(state: Path) -> Wish | None:
    """What a person wants, in one look: in two, a restart that begins in between would seem a stop. None: somebody
    watches, or should."""
    try:
        with (state / STOPPED).open(encoding="utf-8", errors="replace") as wish:
            handed = wish.read(len(_HANDED_OVER)) == _HANDED_OVER
            return Wish(handed, abs(time.time() - os.fstat(wish.fileno()).st_mtime))
    except OSError:
        return None


def forget_stopped(state: Path) -> None:
    """Somebody asks for work again."""
    (state / STOPPED).unlink(missing_ok=True)


# --- a lost database ---------------------------------------------------------------------------------------


def database_lost(root: Path, state: Path) -> bool:
    """Whether campaigns were launched from this state, and its database is not there any more. An empty one in
    its place would know nothing of what has run and what lives."""
    if (state / DATABASE).exists():
        return False
    launched = any(state.glob("launch/*.env"))
    # A root's own state has seen all of its campaigns; elsewhere they may be another host's.
    return launched or (state == root / ".state" and any(root.glob("campaigns/*/manifest.json")))


def lost_words(root: Path, state: Path) -> tuple[str, str]:
    """What is said of it, and what to do."""
    return (
        f"the database {state / DATABASE} is missing, and {root} holds campaigns that it knew",
        f"overnight rebuild {of_root(root)} makes a new one from the campaign files; nothing was started",
    )


# --- another host ---


def led_elsewhere(root: Path, state: Path) -> Lease | None:
    """The lease of another host, or of another state of this one, that leads `root`. Raises OSError."""
    leader = read_lease(str(root))
    if leader is None or leader.same_ground(my_lease(str(state))):
        return None
    return leader


def check_leader(root: Path, state: Path) -> None:
    """Raises `CannotSupervise` where another host leads the root: what is asked of us here would wait for ever."""
    try:
        leader = led_elsewhere(root, state)
    except OSError as problem:
        raise CannotSupervise(
            f"nobody can tell who leads {root}: {problem.strerror or problem}", "see whether its volume is mounted"
        ) from problem
    if leader is not None:
        raise CannotSupervise(
            f"host {leader.host} leads {root}",
            f"ask there; if that host is gone, overnight resume {of_root(root)} takes over once it has been silent",
        )


def check_owner(state: Path) -> None:
    """Raises `CannotSupervise` where the state is another user's: root may write there, but that user's supervisor
    could not read what root asks, and one that root starts would leave files that the next one cannot use."""
    try:
        if os.stat(state / DATABASE).st_uid == os.geteuid():
            return
        owner = owner_of(state / DATABASE)
    except FileNotFoundError:
        return  # nobody's yet
    except OSError as problem:
        raise CannotSupervise(
            f"{state} is another user's: {problem.strerror}",
            "ask as that user, or name a root of your own with --root or OVERNIGHT_ROOT",
        ) from problem
    raise CannotSupervise(
        f"{state} belongs to {owner}, whose supervisor watches it", f"ask as {owner}, or name a root of your own"
    )


# --- bringing it up ----------------------------------------------------------------------------------------


def keeper_command(root: Path, state: Path) -> list[str]:
    """`-P`: the keeper lives in `/`, and a folder of our name there must not become the program."""
    return [sys.executable, "-P", "-m", "overnight.keeper", "--state", str(state), "--root", str(root)]


def ensure_keeper(
    root: Path,
    state: Path,
    *,
    command: Sequence[str] | None = None,
    within_seconds: float = UP_WITHIN_SECONDS,
) -> None:
    """See to it that a supervisor is up; returns at once if one is.

    Raises `CannotSupervise` if none shows itself `within_seconds`, naming the log to read and its last line.
    A supervisor that lives but whose counter stands still counts as up here: its keeper or an `Overseer`
    replaces it, and what is asked of it meanwhile waits in the inbox.
    """
    check_owner(state)
    if database_lost(root, state):
        raise CannotSupervise(*lost_words(root, state))
    first = holder_of(state)
    if first is not None and lives(first):
        return
    check_leader(root, state)
    # The service manager's keeper outlives our own session, so it goes first.
    if (state / KEEPER_STAY).exists() and _up_within(state, first, min(STAY_SECONDS, within_seconds)):
        return
    until, kept = time.monotonic() + within_seconds, False
    while (left := until - time.monotonic()) > 0:
        # Once more where none is there: it left for the sake of one that was about to go.
        if not kept:
            spawn(list(command) if command is not None else keeper_command(root, state), state)
        if _up_within(state, first, min(left, KEEPER_WITHIN_SECONDS)):
            return
        kept = keeper_lives(state)
    raise CannotSupervise(
        f"no supervisor came up within {within_seconds:g} s" + _last_words(state),
        f"read {state / SUPERVISOR_LOG} and {state / KEEPER_LOG}; nothing that was asked for is lost: "
        "it waits in the inbox",
    )


def _up_within(state: Path, first: Holder | None, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        now = holder_of(state)
        if now is None:
            continue
        # A counter that moves is proof enough where the process cannot be seen (another PID namespace).
        moved = first is not None and (now.term, now.beat) != (first.term, first.beat)
        if lives(now) or moved:
            return True
    return False


class Overseer:
    """A waiting client's watch over the supervisor: revives a dead one, replaces one that stands still.

    Call `look` about once a second. Durations come from our own monotonic clock; a gap in our own looks
    (suspend, Ctrl-Z) starts the count anew, because then it is we who were away.
    """

    def __init__(
        self,
        root: Path,
        state: Path,
        *,
        command: Sequence[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        still_seconds: float = STILL_SECONDS,
        again_seconds: float = AGAIN_SECONDS,
        gap_seconds: float = GAP_SECONDS,
    ) -> None:
        self._root, self._state, self._command, self._clock = root, state, command, clock
        self._still, self._again, self._gap = still_seconds, again_seconds, gap_seconds
        self._seen: tuple[int, int, int] | None = None
        self._since = self._last_look = clock()

    def look(self) -> str | None:
        """Words for a person when something was done, else None. A wish to stay down is respected.

        Raises `CannotSupervise` when a supervisor was needed and none came up.
        """
        now = self._clock()
        away, self._last_look = now - self._last_look > self._gap, now
        holder = holder_of(self._state)
        if holder is None or not lives(holder):
            return self._revive(holder)
        seen = (holder.pid, holder.term, holder.beat)
        if away or seen != self._seen:
            self._seen, self._since = seen, now
            return None
        if now - self._since < self._still + self._again:
            return None
        self._since = now
        try:
            os.utime(self._state / LOCK)
        except OSError:  # a disk gone read-only: it may well turn, and cannot say so
            return None
        if not kill_exactly(holder):
            return None
        return f"the supervisor (pid {holder.pid}) stood still and was ended; it is being replaced"

    def _revive(self, holder: Holder | None) -> str | None:
        if is_stopped(self._state):
            return None
        if keeper_lives(self._state):
            return None  # it brings one up itself, at its own pace: a supervisor that dies at once must not storm
        ensure_keeper(self._root, self._state, command=self._command)
        self._last_look = self._clock()
        return "the supervisor was gone; it is back"


def kill_exactly(holder: Holder) -> bool:
    """SIGKILL that very process: identity checked after its pidfd is open, so a reused number is never hit."""
    if not lives(holder):
        return False
    try:
        descriptor = os.pidfd_open(holder.pid)
    except OSError:
        return False
    try:
        if not lives(holder):
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def spawn(command: list[str], state: Path) -> None:
    """Start a keeper detached: own session, `/` as folder, nobody's child. A shell forks twice, because forking
    ourselves is not safe in a notebook full of threads."""
    try:
        with (state / KEEPER_LOG).open("ab") as log:
            subprocess.run(
                ["/bin/sh", "-c", '"$@" &', "sh", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                # Symbols bound at the keeper's start are not bound anew by each shim that it forks: 0.06 ms a run.
                env={**importing_us(), "LD_BIND_NOW": "1"},
                start_new_session=True,
                check=True,
                timeout=UP_WITHIN_SECONDS,
            )
    except (OSError, subprocess.SubprocessError) as problem:
        raise CannotSupervise(
            f"the keeper cannot be started: {problem}",
            f"check that {state} can be written and that the machine has room for another process",
        ) from problem


def importing_us() -> dict[str, str]:
    """Our environment, made fit for a process that lives in `/`: relative entries of PYTHONPATH would point
    elsewhere there. An installed package finds itself; site-packages must not come before the library."""
    environment = dict(os.environ)
    entries = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    paths = [str(Path(entry).absolute()) for entry in entries]
    home = Path(overnight.__file__).resolve().parent.parent
    if home.name not in {"site-packages", "dist-packages"} and str(home) not in paths:
        paths.append(str(home))
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    if not paths:
        del environment["PYTHONPATH"]
    return environment


def _last_words(state: Path) -> str:
    for name in (SUPERVISOR_LOG, KEEPER_LOG):
        with contextlib.suppress(OSError), (state / name).open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - _TAIL_BYTES))
            lines = log.read().decode("utf-8", "replace").strip().splitlines()
            if lines:
                return f"; the last line of {name} is: {lines[-1][:300]}"
    return ""
