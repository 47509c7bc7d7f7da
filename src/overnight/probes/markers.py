r"""Markers: reading from a log how far a program has come, and telling that from noise.

A person's `[progress] pattern` decides alone where there is one; without it `known_forms` does. Beside the marker,
bars of anything else (an evaluation, a download) are work too, but say nothing of how far the run is: each counts once
through its length until the marker moves on (`Beside`). So a long evaluation is seen to work, and a loop that loads the
same shard again and again is not.

A count that falls is believed to go on (a new epoch) where an epoch is named, or where it had come far, begins near
zero, and nothing in between looks like trouble (`Count`). After a traceback or a retry it has begun again instead: the
steps that follow are no advance until they pass the old ones.
"""

import re
import time
from typing import Protocol

from overnight.model.codec import Struct
from overnight.ports import Mark
from overnight.probes.lines import lines_of, number, plain

PATTERN_SECONDS = 1.0  # for a person's pattern in one look, per direction
SMALLEST_TOTAL = 10
SURVIVED_AFTER = 3  # growing counts after a sign of trouble: it was survived
MOST_BESIDE = 64

_TROUBLE_BYTES = (b"raceback", b"etry", b"estart", b"timed out", b"ttempt")
_TROUBLE = re.compile(
    r"(?i)traceback \(most recent|\bretry(?:ing)?\b|\bre-?start(?:ing|ed)?\b|\btimed out\b|\battempt\b"
)
_PERCENT = re.compile(r"(?P<p>\d{1,3})%\s?\|")
_OPEN = re.compile(r"(?<![\w./:-])(?P<n>\d{1,15}) ?(?:it|steps?|batch(?:es)?|samples?|examples?|docs?|rows?) \[\d")
_FRACTION = re.compile(r"(?<![\w./:-])(?P<n>\d{1,15})/(?P<m>\d{1,15}) ?(?:\[|[━─═╸╺]{2})")
_WAITING = re.compile(r"(?i)wait|retr|attempt|reconnect|elapsed|timeout")
_LETTERS = re.compile(r"[^\W\d_]+")


class Found(Struct, frozen=True):
    """What new lines have shown. `first` and `mark`: the first and the newest marker, on one scale; `anew`: it is
    another count than that of earlier calls; `worked`: something beside it moved."""

    first: Mark | None = None
    mark: Mark | None = None
    anew: bool = False
    worked: bool = False


class Scanner(Protocol):
    """Finds markers in new, whole lines of one log; remembers between calls what it must."""

    def scan(self, data: bytes) -> Found: ...


class Count:
    """A counter that may start anew: one growing number of it. `least`: how far a round must have come."""

    def __init__(self, least: float = SMALLEST_TOTAL) -> None:
        self._least = least
        self._first: float | None = None
        self._round = 0.0  # what earlier stages or folds had
        self.base = 0.0  # what earlier rounds had
        self.last = 0.0
        self._troubled = 0  # growing counts until trouble is taken for survived

    @property
    def troubled(self) -> bool:
        """Trouble was seen, and not yet survived."""
        return self._troubled > 0

    def trouble(self) -> None:
        """A traceback, a retry: if it falls now, it has not gone on."""
        self._troubled = SURVIVED_AFTER

    def next_round(self) -> None:
        """The epochs begin again, and nothing speaks against it."""
        self.base = self._round = self.base + self.last
        self.last = 0.0

    def restart(self) -> None:
        """The epochs begin again because it had to."""
        self.base, self.last = self._round, 0.0

    def take(self, count: float, turned: bool = False, believable: bool = True) -> float:
        """Enter a count as printed. `turned`: a higher epoch was named since the last one; `believable`: nothing but
        the fall speaks against a new round."""
        if turned and count <= self.last:  # equal: it prints only each epoch's last step
            self.base += self.last
        elif count < self.last:
            start = max(0.1 * self.last, self._first or 0.0 if self._least < SMALLEST_TOTAL else 0.0)
            far = self.last >= self._least and count <= start
            if far and believable and not self._troubled:
                self.base += self.last
        elif count > self.last and self._troubled:
            self._troubled -= 1
        self.last = count
        self._first = count if self._first is None else self._first
        return self.base + count


class Beside:
    """Bars that are not the marker: each moves something on once, until the marker does."""

    def __init__(self) -> None:
        self._best: dict[str, float] = {}

    def marked(self) -> None:
        """The marker moved on: they may count again."""
        self._best.clear()

    def see(self, line: str) -> bool:
        """Whether a bar on this line is further than it has been."""
        fraction = _FRACTION.search(line)
        if fraction is not None and float(fraction["n"]) > float(fraction["m"]):
            return False
        found = fraction or _PERCENT.search(line) or _OPEN.search(line)
        if found is None:
            return False
        words = "".join(_LETTERS.findall(line[: found.start()]))[:80]
        if _WAITING.search(words):
            return False
        key = words + (f"/{fraction['m']}" if fraction is not None else "")
        value, best = float(found[1]), self._best.get(key)
        if best is None and len(self._best) >= MOST_BESIDE:
            return False
        self._best[key] = value if best is None else max(best, value)
        return value > (best or 0.0)


def in_trouble(line: bytes) -> bool:
    """A cheap look whether the line may be one after which a counter begins again."""
    return any(map(line.__contains__, _TROUBLE_BYTES)) and _TROUBLE.search(plain(line)) is not None


def may_have_bars(data: bytes) -> bool:
    """A cheap look whether there may be a bar."""
    return b" [" in data or b"%|" in data or b"% |" in data or b"\xe2" in data or (b"/" in data and b"[" in data)


def scanner(pattern: str | None) -> Scanner:
    """A scanner for one log. Raises `re.error` for a pattern that does not compile, `ValueError` for one
    without a group named `step`."""
    from overnight.probes.known_forms import KnownForms  # it is built of what stands here

    return KnownForms() if pattern is None else Pattern(pattern)


class Pattern:
    """A person's pattern: group `step`, optionally `total` and `epoch`; other named groups that are numbers are
    metrics. Where it names an epoch, the steps of a higher one go on counting."""

    def __init__(self, pattern: str) -> None:
        compiled = re.compile(pattern)
        if "step" not in compiled.groupindex:
            raise ValueError("the pattern has no group named step: write (?P<step>\\d+)")
        self._search = compiled.search
        self._count = Count()
        self._epoch: float | None = None
        self._best: float | None = None
        self._beside = Beside()

    def scan(self, data: bytes) -> Found:
        """All lines in their order, for a second; of those beyond it only the newest is looked for."""
        first = last = None
        worked = False
        lines, bars = lines_of(data), may_have_bars(data)
        until = time.monotonic() + PATTERN_SECONDS
        for at, line in enumerate(lines):
            found = self._read(line)
            first, last = first or found, found or last
            if found is None and bars and may_have_bars(line) and self._beside.see(plain(line[-400:])):
                worked = True
            if not at % 64 and time.monotonic() > until:
                last = self._newest(lines[at + 1 :]) or last
                break
        return Found(first, last, worked=worked)

    def _newest(self, lines: list[bytes]) -> Mark | None:
        until = time.monotonic() + PATTERN_SECONDS
        for line in reversed(lines):
            if (found := self._read(line)) is not None:
                return found
            if time.monotonic() > until:
                break
        return None

    def _read(self, line: bytes) -> Mark | None:
        match = self._search(plain(line))
        if match is None:
            if in_trouble(line):
                self._count.trouble()
            return None
        numbers = {name: value for name, text in match.groupdict().items() if (value := number(text)) is not None}
        step = numbers.pop("step", None)
        if step is None:
            return None
        total, epoch = numbers.pop("total", None), numbers.get("epoch")
        turned = epoch is not None and self._epoch is not None and epoch > self._epoch
        if epoch is not None:
            self._epoch = max(epoch, self._epoch or epoch)
        step = self._count.take(step, turned)
        if self._best is None or step > self._best:
            self._best = step
            self._beside.marked()
        return Mark(step, None if self._count.base else total, numbers)
