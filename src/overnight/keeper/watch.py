"""Is the supervisor still turning? It writes a counter each turn; one that stands still is replaced."""

from __future__ import annotations

import json
import os

from overnight.shim.shim import host_identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class BeatWatch:
    """Looks at `<state>/lock`, one JSON line with the holder's identity, term and beat. Times in seconds.

    No clock but the keeper's own is involved, and time in which the keeper itself did not look (suspended,
    stopped) counts for nothing.
    """

    def __init__(self, lock_file: str, every: float = 5.0, still: float = 30.0, again: float = 5.0) -> None:
        self.every = every
        self._lock_file, self._still, self._again = lock_file, still, again
        self._gap = 5.0
        self._looked: float | None = None
        self._beat: object = None
        self._changed = 0.0
        self._suspected: float | None = None

    def stands_still(self, now: float, pid: int, start_ticks: int | None) -> bool:
        """Whether the process of that identity has not turned for `still`, seen twice `again` apart.

        A record of anybody else says nothing about it: false.
        """
        gap = self._looked is not None and now - self._looked > self.every + self._gap
        self._looked = now
        record = self._read()
        beat = None if record is None else (record.get("term"), record.get("beat"), pid, start_ticks)
        if beat is None or not self._is(record, pid, start_ticks) or beat != self._beat or gap:
            self._beat, self._changed, self._suspected = beat, now, None
            return False
        if now - self._changed < self._still:
            return False
        if not self._can_be_written():  # a disk gone read-only: it may well turn
            self._changed = now
            return False
        if self._suspected is None:
            self._suspected = now
        return now - self._suspected >= self._again

    @staticmethod
    def _is(record: dict[str, Any] | None, pid: int, start_ticks: int | None) -> bool:
        host = host_identity()
        return (
            record is not None
            and start_ticks is not None
            and (record.get("pid"), record.get("start_ticks")) == (pid, start_ticks)
            and all(record.get(key) == host[key] for key in ("boot", "pidns", "init_start"))
        )

    def _can_be_written(self) -> bool:
        try:
            os.utime(self._lock_file)
        except OSError:
            return False
        return True

    def _read(self) -> dict[str, Any] | None:
        try:
            with open(self._lock_file, "rb") as file:
                record = json.loads(file.readline())
        except (OSError, ValueError):  # not there yet, or caught half-written: the next look sees more
            return None
        return record if isinstance(record, dict) else None
