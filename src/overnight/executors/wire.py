"""The supervisor's end of the socket to its keeper. JSON datagrams, descriptors beside them; never blocks."""

import array
import contextlib
import errno
import os
import socket
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from overnight.model.codec import from_json, to_json

# The kernel lends only so many descriptors in flight; there is room again when the keeper has read some.
_LATER = {errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS, errno.EINTR}
_MESSAGE_BYTES = 65_536
_ROOM = socket.CMSG_SPACE(16 * 4)  # bytes, of sixteen descriptors


class KeeperGone(Exception):
    """Nobody reads the other end any more."""


class KeeperWire:
    """Orders out, reports in. An order that cannot be sent now waits here, in order, with its descriptors."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end
        self._waiting: deque[tuple[bytes, list[int]]] = deque()

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._end.fileno()

    @property
    def waiting(self) -> bool:
        """Something could not be sent yet."""
        return bool(self._waiting)

    def order(self, directory: str, descriptors: Sequence[int]) -> None:
        """Have a shim forked; `descriptors` are closed here once they are sent. Raises KeeperGone: then
        nothing more will be sent, and they are closed too."""
        message = to_json({"op": "start", "dir": directory})
        self._waiting.append((message, list(descriptors)))
        self.flush()

    def flush(self) -> None:
        """Send what waits as far as there is room. Raises KeeperGone."""
        while self._waiting:
            message, descriptors = self._waiting[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
            try:
                self._end.sendmsg([message], rights if descriptors else [])
            except OSError as error:
                if error.errno in _LATER:
                    return
                raise KeeperGone(error.strerror) from error
            self._waiting.popleft()
            _close(descriptors)

    def receive(self, most: int = 256) -> Iterator[tuple[dict[str, object], list[int]]]:
        """At most `most` reports with their descriptors, which are the caller's to close. Raises KeeperGone."""
        for _ in range(most):
            try:
                data, beside, _, _ = self._end.recvmsg(_MESSAGE_BYTES, _ROOM, socket.MSG_CMSG_CLOEXEC)
            except OSError as error:
                if error.errno in _LATER:
                    return
                raise KeeperGone(error.strerror) from error
            descriptors = _received(beside)
            if not data:
                _close(descriptors)
                raise KeeperGone("it closed the connection")
            try:
                report: dict[str, object] = from_json(data, dict)
            except ValueError:
                report = {}
            yield report, descriptors

    def close(self) -> None:
        """Let go of the socket and of what waits; whoever reads the attempt's files next settles it."""
        while self._waiting:
            _close(self._waiting.popleft()[1])
        self._end.close()


def _received(beside: Iterable[tuple[int, int, bytes]]) -> list[int]:
    found: list[int] = []
    for level, kind, value in beside:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(value[: len(value) // numbers.itemsize * numbers.itemsize])
            found += numbers
    return found


def _close(descriptors: Iterable[int]) -> None:
    for fd in descriptors:
        with contextlib.suppress(OSError):
            os.close(fd)
