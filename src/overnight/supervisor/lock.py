"""One supervisor per root: an flock, and in the locked file who holds it, with a counter that moves each turn."""

import contextlib
import fcntl
import json
import os
import socket
from pathlib import Path

from overnight.shim.shim import host_identity, process_start_ticks

PADDED = 512  # bytes: the line is replaced in place by one write
_COUNTER = 40  # of them for the counter


class Taken(Exception):
    """Another supervisor holds the root."""


class Lock:
    """`<state>/lock`. Raises `Taken` at once if somebody holds it. No clock is involved."""

    def __init__(self, state: Path, *, watch_only: bool = False) -> None:
        self._fd = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            os.close(self._fd)
            raise Taken(str(state)) from problem
        before = self._read()
        self._beat = 0
        term = before.get("term", 0)
        self._record: dict[str, object] = {
            **host_identity(),
            "hostname": socket.gethostname(),
            "pid": os.getpid(),
            "start_ticks": process_start_ticks(os.getpid()),
            "term": (term if isinstance(term, int) else 0) + 1,
            "watch_only": watch_only,
        }
        self._problem = ""
        self._line = json.dumps(self._record).removesuffix("}")
        self.beat()

    def _read(self) -> dict[str, object]:
        try:
            record = json.loads(os.pread(self._fd, PADDED, 0).decode())
        except (ValueError, OSError):
            return {}
        return record if isinstance(record, dict) else {}

    @property
    def term(self) -> object:
        """How many supervisors this root has had, this one included."""
        return self._record["term"]

    def beat(self, problem: str = "") -> None:
        """The counter moves. A full disk does not matter: the space is taken already. On one that has gone read-only it
        stands still; whoever watches it sees why. `problem`: why nothing can be committed, for whoever asks."""
        self._beat += 1
        if problem != self._problem:
            self._problem = problem
            words = json.dumps({**self._record, "problem": problem})
            while len(words) > PADDED - _COUNTER:
                problem = problem[: len(problem) // 2]
                words = json.dumps({**self._record, "problem": problem})
            self._line = words.removesuffix("}")
        line = f'{self._line}, "beat": {self._beat}}}'
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, line.ljust(PADDED - 1).encode() + b"\n", 0)

    def resign(self) -> None:
        """Let go without having supervised: whoever reads the file must not take us for somebody who watches, least of
        all for one that stands still."""
        line = json.dumps({"term": self.term})
        os.pwrite(self._fd, line.ljust(PADDED - 1).encode() + b"\n", 0)
        self.close()

    def close(self) -> None:
        """Let go; the file stays, for the term."""
        os.close(self._fd)
