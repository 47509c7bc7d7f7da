"""Ballast: a file that takes up room beside the database, so that there is some when the disk is full.

Thrown off when a transaction finds no room, and taken on again when there is: the last states of a night on a full
disk can still be written.
"""

import contextlib
import os
import time
from collections.abc import Callable

BALLAST_BYTES = 8 << 20  # several thousand transactions
AGAIN_SECONDS = 60.0  # between two tries to take it on
LEAST_LEFT = 4  # times its own size must be left beside it


class Ballast:
    """`path`: where it lies. Never raises: without ballast the store is as good as any other."""

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._again = float("-inf")
        self._there = False

    def take_on(self) -> None:
        """See that it is there, if the disk has room for it and for much else. Cheap when it is."""
        now = self._clock()
        if self._there or now < self._again:
            return
        self._again = now + AGAIN_SECONDS
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            if os.fstat(fd).st_size < BALLAST_BYTES:
                volume = os.fstatvfs(fd)
                if volume.f_bavail * volume.f_frsize < (1 + LEAST_LEFT) * BALLAST_BYTES:
                    return
                os.posix_fallocate(fd, 0, BALLAST_BYTES)
            self._there = True
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, 0)
        finally:
            os.close(fd)

    def throw_off(self) -> bool:
        """Give its room back; whether there was any."""
        self._there = False
        self._again = self._clock() + AGAIN_SECONDS
        try:
            thrown = os.stat(self._path).st_size > 0
            os.truncate(self._path, 0)
        except OSError:
            return False
        return thrown
