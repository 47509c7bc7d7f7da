"""Did the program go on after a line? Progress is a number that grows."""

import re

from overnight.failures.lines import PROGRESS, says_finished, shows_completion
from overnight.failures.margins import own_words
from overnight.failures.source import Source

_BLOCK_BYTES = 256 << 10
_LOOK_BACK_BYTES = 24 << 20  # stacks of many ranks may follow the last step; more than this never does
_ENOUGH = 3  # growing numbers after a failure: it was survived (ranks that wait for a dead one print one more at most)
_END_LINES = 12
_SKEW = 2  # ranks are no further apart
_AGAIN = re.compile(rb"(?i)\brestart|\bresum(?:e|ing)|\brendezvous'ing|\bre-?launch|\battempts? left")
_BAR = re.compile(rb"/\d{1,9} {0,3}\[")
_FULL = re.compile(rb"\D?(\d{1,9})/\1 {0,3}\[")
_IT = re.compile(rb"its?[\"']?[ \t]{0,3}[:=#\[]?[ \t]{0,6}\d")


def last_survived(source: Source) -> int:
    """The offset before which every failure was survived: three growing numbers of one kind follow it. 0: none."""
    lowest: dict[int, float] = {}
    seen: dict[int, int] = {}
    high = source.size
    floor = max(0, source.size - _LOOK_BACK_BYTES)
    while high > floor:
        low = max(floor, high - _BLOCK_BYTES)
        block = source.read_at(low, high - low)
        cut = block.find(b"\n") + 1 if low else 0
        matches = [] if _no_progress(block) else list(PROGRESS.finditer(block, cut))
        for match in reversed(matches):
            kind = match.lastindex or 0
            number = float(match[kind])
            if number < lowest.get(kind, float("inf")):
                lowest[kind] = number
                seen[kind] = seen.get(kind, 0) + 1
                if seen[kind] >= _ENOUGH:
                    return low + match.start()
        high = low + cut if cut < len(block) // 2 else low  # the first line belongs to the block before
    return 0


def begun_again(source: Source, before: int, after: int) -> bool:
    """Whether the numbers after a failure begin lower than those before it had come, or a launcher says as much."""
    low = max(0, before - _BLOCK_BYTES)
    highest: dict[int, float] = {}
    for match in PROGRESS.finditer(source.read_at(low, before - low)):
        kind = match.lastindex or 0
        highest[kind] = max(float(match[kind]), highest.get(kind, 0.0))
    below = source.read_at(after, _BLOCK_BYTES)
    first: dict[int, float] = {}
    for match in PROGRESS.finditer(below):
        first.setdefault(match.lastindex or 0, float(match[match.lastindex or 0]))
    lower = (number < highest.get(kind, 0.0) - _SKEW for kind, number in first.items())
    return any(lower) or _AGAIN.search(below) is not None


def was_advancing(source: Source, before: int) -> bool:
    """Whether the output just before an offset shows numbers that grow."""
    low = max(0, before - _BLOCK_BYTES)
    block = source.read_at(low, before - low)
    highest: dict[int, float] = {}
    seen: dict[int, int] = {}
    for match in PROGRESS.finditer(block):
        kind = match.lastindex or 0
        if float(match[kind]) > highest.get(kind, -1.0):
            highest[kind] = float(match[kind])
            seen[kind] = seen.get(kind, 0) + 1
    return max(seen.values(), default=0) > _ENOUGH


def _no_progress(block: bytes) -> bool:
    """Quickly, for most blocks in which `PROGRESS` finds nothing: it is slow where it has to look at every byte."""
    lower = block.lower()
    words = (b"step", b"iter", b"epoch", b"update", b"batch", b"sample", b"token", b"trial ")
    return not any(word in lower for word in words) and not _BAR.search(lower) and not _IT.search(lower)


def last_lines(source: Source, after: int, count: int = _END_LINES) -> list[str]:
    """The log's last lines with words in them, none of them beginning before `after`."""
    low = max(after, source.size - (32 << 10))
    raw = source.read_at(low, source.size - low).replace(b"\r", b"\n")
    return [own_words(source, line[-2000:]).text for line in raw.split(b"\n") if line.strip()][-count:]


def ended_well(source: Source, after: int, *, died: bool) -> bool:
    """Whether the lines after a failure are those of a program that went on and did its work."""
    lines = last_lines(source, after)
    return any(shows_completion(line, died=died) for line in lines) or _goes_on(lines)


def finished_before(source: Source, end: int) -> bool:
    """Whether one of the last lines before an offset says that all of it is over."""
    low = max(0, end - _BLOCK_BYTES // 16)
    before = source.read_at(low, end - low).decode("utf-8", "replace")
    return any(says_finished(line) for line in before.splitlines()[-_END_LINES:])


def _goes_on(lines: list[str]) -> bool:
    """Whether numbers grow, or a bar is full. One alone is a bar that is drawn once more as the program ends."""
    reached: dict[int, set[float]] = {}
    for line in lines:
        for match in PROGRESS.finditer(line.encode()):
            if _FULL.match(match[0].strip()):
                return True
            kind = match.lastindex or 0
            reached.setdefault(kind, set()).add(float(match[kind]))
    return any(len(numbers) > 1 for numbers in reached.values())
