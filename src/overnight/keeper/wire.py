"""The socket between keeper and supervisor: JSON datagrams, descriptors beside them. Never blocks.

After each fork every page that the keeper writes to must be copied, a microsecond each: the calls here are the
plainest there are, and a message of the keeper's own is put together without an encoder. Each fork copies the map of
the heap, of which `socket` and `typing` would be a sixth (this is what `socket` is made of), and of each extension
module: 9 microseconds for one that is there beside those that nothing can be done without.
"""

from __future__ import annotations

import _socket
import errno
import json
import os
import struct
from collections import deque
from collections.abc import Iterator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Received = tuple[dict[str, Any], list[int], bool]

MESSAGE_BYTES = 65_536
DESCRIPTORS = 64
_ROOM = _socket.CMSG_SPACE(DESCRIPTORS * 4)
_decode = json.JSONDecoder().raw_decode
quoted = json.encoder.encode_basestring_ascii
_TURN = 32  # messages taken before the caller looks at anything else
# The kernel lends only so many descriptors in flight; there is room again when the other side has read some.
_LATER = {errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS}


class Wire:
    """One end of a SEQPACKET pair. What cannot be sent at once waits here, in order."""

    def __init__(self, end: _socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._queue: deque[tuple[bytes, int | None]] = deque()
        self.closed = False

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def waiting(self) -> bool:
        """Something could not be sent yet."""
        return bool(self._queue)

    def receive(self) -> Iterator[Received]:
        """What has come, some tens of messages at most, each with its descriptors, which are the caller's to close, and
        whether all of them could be received. Sets `closed` when the other end is gone."""
        for _ in range(_TURN):
            try:
                data, beside, flags, _ = self._socket.recvmsg(MESSAGE_BYTES, _ROOM, _socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError:
                data, beside, flags = b"", [], 0
            if not data:
                self.closed = True
                return
            descriptors: list[int] = []
            for level, kind, value in beside:
                if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                    descriptors += struct.unpack_from(f"{len(value) // 4}i", value)
            try:
                message = _decode(data.decode())[0]
            except ValueError:
                message = None
            whole = not flags & (_socket.MSG_CTRUNC | _socket.MSG_TRUNC)
            yield (message if isinstance(message, dict) else {}), descriptors, whole

    def send(self, message: str, descriptor: int | None = None) -> None:
        """Send JSON, or keep it until the other side has room. The descriptor is closed once it is sent."""
        self._queue.append((message.encode(), descriptor))
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as there is room."""
        while self._queue and not self.closed:
            data, descriptor = self._queue[0]
            beside = (
                [] if descriptor is None else [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", descriptor))]
            )
            try:
                self._socket.sendmsg([data], beside)
            except OSError as error:
                if error.errno in _LATER:
                    return
                self.closed = True
                return
            self._drop()

    def close(self) -> None:
        """The other side is gone: what waits concerns nobody, the files tell its successor."""
        self.closed = True
        while self._queue:
            self._drop()
        self._socket.close()

    def _drop(self) -> None:
        descriptor = self._queue.popleft()[1]
        if descriptor is not None:
            try:
                os.close(descriptor)
            except OSError:
                pass
