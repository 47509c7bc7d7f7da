"""A log of any size, read by position.

Not mapped into memory: a log that is truncated while it is mapped kills the reader with SIGBUS.
"""

import io
import os
import re
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

_COUNT_BYTES = 4 << 20


class Source:
    """The bytes of a log as they were when it was opened; what is written later is not seen."""

    def __init__(self, log: Path | bytes | BinaryIO, *, retold: bool = False) -> None:
        """`retold`: its lines are not those of a file that a person can open."""
        self.retold = retold
        self._data: bytes | None = None
        self._file: BinaryIO | None = None
        self._own = False
        self.looked_at = False  # for `margins`, which finds it once
        self.margin: re.Pattern[str] | None = None
        if isinstance(log, bytes):
            self._data, self.size = log, len(log)
        elif isinstance(log, Path):
            self._file, self._own = log.open("rb", buffering=0), True
            if not self._file.seekable():
                self._file = _spooled(self._file)
            self.size = _size(self._file)
        else:
            self._file = log if log.seekable() else _spooled(log)
            self._own = self._file is not log
            self.size = _size(self._file)

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer where the log ends (or was cut meanwhile)."""
        offset = max(offset, 0)
        size = min(size, self.size - offset)
        if size <= 0:
            return b""
        if self._data is not None:
            return self._data[offset : offset + size]
        assert self._file is not None
        self._file.seek(offset)
        parts = []
        while size > 0:
            part = self._file.read(size)
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_into(self, buffer: bytearray, offset: int) -> int:
        """Fill `buffer` from `offset`; returns the count of bytes. One buffer for a whole log saves the page
        faults of a fresh one per block: half the time of a scan."""
        if self._data is not None:
            part = self._data[offset : offset + len(buffer)]
            buffer[: len(part)] = part
            return len(part)
        if isinstance(self._file, io.FileIO):
            want = min(len(buffer), self.size - offset)
            self._file.seek(offset)
            return self._file.readinto(memoryview(buffer)[: max(want, 0)]) or 0
        part = self.read_at(offset, len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def line_number(self, offset: int) -> int:
        """The number, from 1, of the line that holds the byte at `offset`; lines end with a newline."""
        count, at = 1, 0
        while at < offset:
            block = self.read_at(at, min(_COUNT_BYTES, offset - at))
            if not block:
                break
            count += block.count(b"\n")
            at += len(block)
        return count

    def close(self) -> None:
        """Close what was opened here; a file object that was handed in stays open."""
        if self._own and self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _size(file: BinaryIO) -> int:
    here = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(here)
    return size


def _spooled(pipe: BinaryIO) -> BinaryIO:
    """A pipe cannot be read by position: it goes through a temporary file, not through memory."""
    copy = tempfile.TemporaryFile()
    shutil.copyfileobj(pipe, copy, 1 << 20)
    copy.seek(0)
    assert isinstance(copy, io.IOBase)
    return copy
