"""One pass over a log: the lines that rules match, and where tracebacks begin. Memory is bounded whatever the log."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from overnight.failures.lines import LINE_BYTES, MILD, SURVIVED, clean
from overnight.failures.matcher import Buffer, Hit, finder
from overnight.failures.rules import FATAL, HINT, SAID, Rule, RuleSet
from overnight.failures.source import Source

BLOCK_BYTES = 512 << 10  # fits a core's cache
KEEP = 60  # events kept per rule at either end of the log
_TRACEBACKS = 200  # the same for tracebacks
_TIRED = 20_000  # after so many lines in vain a literal is looked at in the last part of the log only
_WARY = 300  # after so many, lines that differ from one looked at in nothing but digits are passed over
_SHAPES = 4096
_TAIL_BYTES = 4 << 20
_BEFORE_BYTES, _AFTER_BYTES = 5000, 1500  # what `near` and `away` see

TRACEBACK = b"Traceback (most recent call last)"


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
    literals = (*rules.literals, TRACEBACK)
    mark = len(rules.literals)
    found: dict[str, Ends] = {}
    heads: list[int] = []
    late_heads: deque[int] = deque(maxlen=_TRACEBACKS)
    vain = [0] * len(literals)
    shapes: set[bytes] = set()  # lines that matched nothing, without their digits
    done = -1  # offset of the last line looked at
    for block, base, hits in _blocks(source, literals):
        index = 0
        while index < len(hits):
            start = _line_start(block, hits[index][1])
            end = _line_end(block, hits[index][1])
            meant: list[int] = []
            while index < len(hits) and hits[index][1] < end:
                if hits[index][0] not in meant:
                    meant.append(hits[index][0])
                index += 1
            offset = base + start
            if offset == done:
                continue
            done = offset
            if mark in meant:
                meant.remove(mark)
                if len(heads) < _TRACEBACKS:
                    heads.append(offset)
                else:
                    late_heads.append(offset)
            late = offset >= source.size - _TAIL_BYTES
            meant = [literal for literal in meant if late or vain[literal] < _TIRED]
            if not meant:
                continue
            raw = bytes(block[start:end])
            wary = min(vain[literal] for literal in meant) > _WARY
            shape = raw.translate(None, b"0123456789") if wary else b""
            if wary and shape in shapes:
                continue
            candidates = [rule for literal in meant for rule in rules.meant[literal]]
            event = _match(source, raw, offset, candidates)
            if event is None:
                for literal in meant:
                    vain[literal] += 1
                if wary and len(shapes) < _SHAPES:
                    shapes.add(shape)
            else:
                found.setdefault(event.rule.name, Ends()).add(event)
    events = [event for ends in found.values() for event in (*ends.first, *ends.last)]
    events.sort(key=lambda event: event.offset)
    return Scan(events, [*heads, *late_heads])


def _blocks(source: Source, literals: tuple[bytes, ...]) -> Iterator[tuple[Buffer, int, list[Hit]]]:
    """Blocks with enough around them for whole lines; each hit comes with exactly one block.

    A block is only good until the next one is asked for.
    """
    find = finder(literals)
    buffer = bytearray(min(BLOCK_BYTES, source.size) + 2 * LINE_BYTES)
    at = 0
    while at < source.size:
        base = max(0, at - LINE_BYTES)
        size = source.read_into(buffer, base)
        if size <= 0:
            return
        block: Buffer = buffer if size == len(buffer) else bytes(buffer[:size])
        low, high = at - base, at - base + BLOCK_BYTES
        hits = [hit for hit in find(block) if low <= hit[1] < high]
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


def _match(source: Source, raw: bytes, offset: int, candidates: list[Rule]) -> Event | None:
    """The weightiest rule that matches the line."""
    line = clean(raw)
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
    if SURVIVED.search(text):
        return HINT
    if rule.strength == FATAL:
        return FATAL
    if MILD.match(text):
        return HINT
    return min(rule.strength, SAID)
