"""One pass over a log: the lines that rules match, and where tracebacks begin. Memory is bounded whatever the log."""

import re
from collections import deque
from collections.abc import Iterator, Set
from dataclasses import dataclass, field

from overnight.failures.lines import GAVE_UP, LINE_BYTES, MILD, SURVIVED
from overnight.failures.margins import own_words
from overnight.failures.matcher import Buffer, Hit, finder
from overnight.failures.rules import FATAL, HINT, SAID, Rule, RuleSet
from overnight.failures.source import Source

BLOCK_BYTES = 512 << 10  # fits a core's cache
KEEP = 60  # events kept per rule at either end of the log
_TRACEBACKS = 200  # the same for tracebacks
_TIRED = 20_000  # after so many lines in vain, or hints, a literal is looked at in the last part of the log only
_SATED = 100_000  # the same after so many lines of any kind: the first and the last of them are kept anyway
_WARY = 300  # after so many looks, a line that differs from an earlier one in nothing but digits is taken for it
_SHAPES = 4096
_DIGITS = b"0123456789"
_TAIL_BYTES = 4 << 20
_BEFORE_BYTES, _AFTER_BYTES = 5000, 1500  # what `near` and `away` see

TRACEBACK = b"Traceback (most recent call last)"
_RETOLD = re.compile(
    r" {2,4}(?:[a-z_]\w*\.)*[A-Z]\w*(?:Error|Exception)(?:: |$)"
)  # in torchelastic's table of failures


@dataclass(slots=True, eq=False)
class Event:
    """A line that a rule matched."""

    offset: int  # of the line's first byte
    end: int
    text: str  # cleaned
    rank: str
    rule: Rule
    message: str
    strength: int
    order: float = 0.0  # place among events of several logs
    file: str | None = None
    raised: bool = False  # it ended a traceback that nobody called harmless
    uncaught: bool = False  # … and that ended its process
    began: int = -1  # where that traceback begins


@dataclass(slots=True)
class Ends:
    """The first and the last few of many."""

    keep: int = KEEP
    first: list[Event] = field(default_factory=list)
    last: deque[Event] = field(default_factory=deque)

    def add(self, event: Event) -> None:
        if len(self.first) < self.keep:
            self.first.append(event)
        else:
            self.last.append(event)
            if len(self.last) > self.keep:
                self.last.popleft()


@dataclass(slots=True)
class Scan:
    """What one pass found."""

    events: list[Event]
    tracebacks: list[int]  # offsets of the lines that begin one


def scan(source: Source, rules: RuleSet) -> Scan:
    """Look at every byte once."""
    gaze = _Gaze(source, rules)
    for block, base, hits in _blocks(source, gaze.literals, gaze.tired):
        index = 0
        while index < len(hits):
            start, end = _line_start(block, hits[index][1]), _line_end(block, hits[index][1])
            literals = {hits[index][0]}
            index += 1
            while index < len(hits) and hits[index][1] < end:
                literals.add(hits[index][0])
                index += 1
            gaze.line(block[start:end], base + start, literals)
    events = [event for ends in gaze.found.values() for event in (*ends.first, *ends.last)]
    events.sort(key=lambda event: event.offset)
    return Scan(events, [*gaze.heads, *gaze.late_heads])


class _Gaze:
    """What has been seen so far, and of what enough has been seen."""

    def __init__(self, source: Source, rules: RuleSet) -> None:
        self.literals = (*rules.literals, TRACEBACK)
        self.found: dict[str, Ends] = {}
        self.heads: list[int] = []
        self.late_heads: deque[int] = deque(maxlen=_TRACEBACKS)
        self.tired: set[int] = set()  # literals that are no longer looked at, but in the last part
        self._source, self._rules = source, rules
        self._mark = len(rules.literals)
        self._looks = [0] * len(self.literals)  # lines looked at, by literal
        self._vain = [0] * len(self.literals)  # those of them that matched nothing
        self._shapes: dict[bytes, tuple[Rule, int] | None] = {}  # a line without its digits: what it was
        self._done = -1  # offset of the last line looked at

    def line(self, raw: bytes | bytearray, offset: int, literals: set[int]) -> None:
        """Look at one line that holds literals."""
        if offset == self._done:
            return
        self._done = offset
        if self._mark in literals:
            literals.remove(self._mark)
            (self.heads if len(self.heads) < _TRACEBACKS else self.late_heads).append(offset)
        if not literals:
            return
        raw = bytes(raw)
        event, known = self._known(raw, offset, literals)
        if not known:
            event = match_line(
                self._source, raw, offset, [rule for each in literals for rule in self._rules.meant[each]]
            )
            if len(self._shapes) < _SHAPES and min(self._looks[each] for each in literals) > _WARY:
                self._shapes[raw.translate(None, _DIGITS)] = (event.rule, event.strength) if event else None
        for each in literals:
            self._looks[each] += 1
            self._vain[each] += event is None or event.strength == HINT
            if self._vain[each] >= _TIRED or self._looks[each] >= _SATED:
                self.tired.add(each)
        if event is not None:
            self.found.setdefault(event.rule.name, Ends()).add(event)

    def _known(self, raw: bytes, offset: int, literals: set[int]) -> tuple[Event | None, bool]:
        """The verdict on a line that differs from an earlier one in nothing but digits."""
        if min(self._looks[each] for each in literals) <= _WARY:
            return None, False
        shape = raw.translate(None, _DIGITS)
        if shape not in self._shapes:
            return None, False
        was = self._shapes[shape]
        if was is None:
            return None, True
        line = own_words(self._source, raw)
        message = was[0].describe(True, line.text)
        return Event(offset, offset + len(raw), line.text, line.rank, was[0], message, was[1]), True


def _blocks(source: Source, literals: tuple[bytes, ...], tired: Set[int]) -> Iterator[tuple[Buffer, int, list[Hit]]]:
    """Blocks with enough around them for whole lines; each hit comes with exactly one block.

    A block is only good until the next one is asked for. Hits of `tired` literals come from the log's last part only.
    """
    find = finder(literals, source.size)
    buffer = bytearray(min(BLOCK_BYTES, source.size) + 2 * LINE_BYTES)
    at = 0
    while at < source.size:
        base = max(0, at - LINE_BYTES)
        size = source.read_into(buffer, base)
        if size <= 0:
            return
        block: Buffer = buffer if size == len(buffer) else bytes(buffer[:size])
        low, high = at - base, at - base + BLOCK_BYTES
        deaf = tired if at + BLOCK_BYTES < source.size - _TAIL_BYTES else frozenset[int]()
        hits = [hit for hit in find(block) if low <= hit[1] < high and hit[0] not in deaf]
        if hits:
            hits.sort(key=lambda hit: hit[1])
            yield block, base, hits
        at += BLOCK_BYTES


def _line_start(block: Buffer, at: int) -> int:
    low = max(0, at - LINE_BYTES // 2)
    newline = block.rfind(b"\n", low, at)
    return_ = block.rfind(b"\r", max(low, newline + 1), at)
    found = max(newline, return_)
    return found + 1 if found >= 0 else low


def _line_end(block: Buffer, at: int) -> int:
    high = min(len(block), at + LINE_BYTES // 2)
    newline = block.find(b"\n", at, high)
    return_ = block.find(b"\r", at, newline if newline >= 0 else high)
    ends = [end for end in (newline, return_) if end >= 0]
    return max(min(ends), at + 1) if ends else high


def match_line(source: Source, raw: bytes, offset: int, candidates: list[Rule]) -> Event | None:
    """The weightiest rule that matches the line."""
    line = own_words(source, raw)
    if _RETOLD.match(line.text):
        line = line._replace(text=line.text.lstrip())
    surroundings: str | None = None
    for rule in sorted(set(candidates), key=_by_weight):
        match = rule.matches(line.text)
        if not match:
            continue
        if rule.needs_surroundings:
            if surroundings is None:
                surroundings = around(source, offset, offset + len(raw))
            if not rule.fits(surroundings):
                continue
        strength = _strength(rule, line.text)
        message = rule.describe(match, line.text)
        return Event(offset, offset + len(raw), line.text, line.rank, rule, message, strength)
    return None


def _by_weight(rule: Rule) -> tuple[int, str]:
    return (-rule.weight, rule.name)


def around(source: Source, start: int, end: int) -> str:
    """The text around a line."""
    low = max(0, start - _BEFORE_BYTES)
    return source.read_at(low, end + _AFTER_BYTES - low).decode("utf-8", "replace")


def _strength(rule: Rule, text: str) -> int:
    if rule.hardy or rule.role == "consequence":
        return rule.strength
    if SURVIVED.search(text) and not GAVE_UP.search(text):
        return HINT
    if rule.strength == FATAL:
        return FATAL
    if MILD.match(text):
        return HINT
    return min(rule.strength, SAID)
