"""A real keeper whose supervisor is a relay: the test itself holds the supervisor's end of the socket.

`python tests/processes/keeper_world.py [ATTEMPTS]` prints what a no-op attempt costs through it.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from overnight.shim.shim import process_start_ticks

SOURCE = Path(__file__).parents[2] / "src"
SHIM = SOURCE / "overnight" / "shim" / "shim.py"
PATIENCE_SECONDS = 20.0

# Hands its end of the keeper's socket to the test, then only lives: it can be killed like a supervisor.
RELAY = """
import os, signal, socket, sys
fd = int(sys.argv[sys.argv.index("--keeper-fd") + 1])
with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
    os.chdir(sys.argv[1])
    door.connect("door")  # the whole name may be longer than a socket's can be
    socket.send_fds(door, [repr((os.getpid(), "--watch-only" in sys.argv)).encode()], [fd])
os.close(fd)
signal.pause()
"""


def await_that(condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """The first true answer of `condition`; fails the test if none comes."""
    until = time.monotonic() + seconds
    tick = select.poll()
    while not (answer := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"nothing came of it in {seconds} s")
        tick.poll(5)
    return answer


def alive(pid: int) -> bool:
    """Neither gone nor a zombie."""
    return process_start_ticks(pid) is not None


def processes_of(text: str) -> list[int]:
    """Live processes with `text` on their command line."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and text.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                found.append(int(name))
    return [pid for pid in found if pid != os.getpid() and alive(pid)]


def prepare(
    folder: Path,
    argv: Sequence[str],
    *,
    grace: float = 5.0,
    seconds: float | None = None,
    margin: float | None = None,
    **more: Any,
) -> Path:
    """Write what a shim reads into the new directory `folder`."""
    folder.mkdir(parents=True)
    spec = {"attempt_id": folder.name, "argv": list(argv), "cwd": str(folder), "umask": None, "rlimits": {}}
    spec |= {"launch_env": None, "set": {}, "unset": []} | more
    (folder / "env.json").write_text(json.dumps(spec))
    set_bound(folder, seconds, grace, margin)
    return folder


def set_bound(folder: Path, seconds: float | None, grace: float, margin: float | None = None) -> None:
    """Replace `bound` by rename, as an amend does."""
    record = {"seconds": seconds, "grace": grace} | ({} if margin is None else {"margin": margin})
    (folder / "bound.tmp").write_text(json.dumps(record))
    (folder / "bound.tmp").rename(folder / "bound")


def run_shim(folder: Path, **more: Any) -> subprocess.Popen[bytes]:
    """The shim by path, as other executors run it."""
    return subprocess.Popen([sys.executable, str(SHIM), str(folder)], start_new_session=True, **more)


def exit_record(folder: Path) -> dict[str, Any]:
    """The exit record, once it is there."""
    await_that((folder / "exit").exists)
    record: dict[str, Any] = json.loads((folder / "exit").read_text())
    return record


def read_when_there(path: Path) -> str:
    """The content of a file that somebody writes in one go, once it has any."""
    return str(await_that(lambda: path.exists() and path.read_text()))


class World:
    """A keeper in a state directory of its own, and the test as its supervisor."""

    def __init__(self, base: Path, *, supervisor: Sequence[str] | None = None, **timing: Any) -> None:
        self.base, self.state = base, base / "state"
        self.state.mkdir(mode=0o700, exist_ok=True)
        self.wire: socket.socket | None = None
        self.supervisor_pid = 0
        self.watch_only = False
        self.arrived: list[dict[str, Any]] = []
        self.pidfds: dict[int, int] = {}
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        folder = os.open(base, os.O_PATH)
        self._door.bind(f"/proc/self/fd/{folder}/door")
        os.close(folder)
        self._door.listen(64)
        self._door.settimeout(PATIENCE_SECONDS)
        relay = [sys.executable, "-S", "-c", RELAY, str(base)]
        self._argv = [sys.executable, "-m", "overnight.keeper", "--state", str(self.state), "--root", str(base)]
        self._argv += ["--supervisor-argv", json.dumps(list(supervisor or relay))]
        self._argv += ["--timing", json.dumps(timing)]
        self.keeper = self.another_keeper()
        if supervisor is None:
            self.answer_the_door()

    def another_keeper(self, **more: Any) -> subprocess.Popen[bytes]:
        """Start a keeper over the same state."""
        env = os.environ | {"PYTHONPATH": str(SOURCE)}
        return subprocess.Popen(self._argv, env=env, start_new_session=True, **more)

    def answer_the_door(self) -> None:
        """Take the socket of the supervisor that has just been started."""
        caller, _ = self._door.accept()
        with caller:
            caller.settimeout(PATIENCE_SECONDS)
            data, fds, _, _ = socket.recv_fds(caller, 100, 1)
        if self.wire is not None:
            self.wire.close()
        pid, self.watch_only = eval(data)
        self.supervisor_pid = pid
        self.wire = socket.socket(fileno=fds[0])
        self.wire.settimeout(PATIENCE_SECONDS)

    def start(self, folder: Path, locks: Sequence[int] = ()) -> None:
        """Ask for a shim."""
        assert self.wire is not None
        socket.send_fds(self.wire, [json.dumps({"op": "start", "dir": str(folder)}).encode()], list(locks))

    def receive(self) -> dict[str, Any]:
        """The next message of the keeper."""
        assert self.wire is not None
        data, fds, _, _ = socket.recv_fds(self.wire, 65536, 1)
        message: dict[str, Any] = json.loads(data)
        if fds:
            self.pidfds[message["pid"]] = fds[0]
        self.arrived.append(message)
        return message

    def message(self, op: str, folder: Path) -> dict[str, Any]:
        """The keeper's word `op` about that attempt, once it has come."""
        while True:
            for each in self.arrived:
                if each["op"] == op and each["dir"] == str(folder):
                    return each
            self.receive()

    def ended(self, folder: Path) -> None:
        """Wait until the shim of that attempt has been reaped. One that leaves a record ends without a word."""
        pid = self.message("forked", folder)["pid"]
        await_that(lambda: not Path(f"/proc/{pid}").exists())

    def log(self) -> str:
        """What the keeper has said."""
        return (self.state / "keeper.log").read_text()

    def close(self) -> None:
        """End the keeper, and whatever a failed test left."""
        self.keeper.terminate()
        self.keeper.wait(PATIENCE_SECONDS)
        for fd in self.pidfds.values():
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(fd, signal.SIGTERM)
            os.close(fd)
        if self.wire is not None:
            self.wire.close()
        self._door.close()


@contextlib.contextmanager
def world(base: Path, **more: Any) -> Iterator[World]:
    """A World that is always closed."""
    made = World(base, **more)
    try:
        yield made
    finally:
        made.close()


def benchmark(base: Path, attempts: int, side_by_side: int = 2) -> float:
    """Milliseconds per attempt of `true`, from the first start message to the last end."""
    folders = [prepare(base / "attempts" / str(n), ["/bin/true"], set={"A": "1"}) for n in range(attempts)]
    with world(base) as here:
        assert here.wire is not None
        waiting, watched, began = iter(folders), set[int](), time.perf_counter()
        for _ in range(side_by_side):
            here.start(next(waiting))
        ended = 0
        while ended < attempts:
            for each in select.select([here.wire, *watched], [], [])[0]:
                if each is here.wire:
                    watched.update(socket.recv_fds(here.wire, 65536, 1)[1])
                    continue
                watched.remove(each)
                os.close(each)
                ended += 1
                if (folder := next(waiting, None)) is not None:
                    here.start(folder)
        took = time.perf_counter() - began
    assert all((folder / "exit").exists() for folder in folders)
    return took * 1000 / attempts


def main() -> None:
    import tempfile

    attempts = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as base:
        print(f"{benchmark(Path(base), attempts):.2f} ms per no-op attempt, two at a time, {attempts} attempts")


if __name__ == "__main__":
    main()
