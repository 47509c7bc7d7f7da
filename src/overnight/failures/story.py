"""A log's events in order: lines that rules matched, with tracebacks put together."""

import re

from overnight.failures.advance import was_advancing
from overnight.failures.margins import own_words
from overnight.failures.rules import FATAL, HINT, SAID, RuleSet
from overnight.failures.scan import Event, match_line, scan
from overnight.failures.source import Source
from overnight.failures.tracebacks import Traceback, chains, parse

# In a chain of exceptions the earliest of these is why the others came.
_FIRST_OF_CHAIN = frozenset(
    {"oom.gpu", "oom.host", "shm", "network", "auth", "disk.full", "disk.io", "gpu.hardware", "gpu.driver",
     "cuda.error", "tracker"}
)  # fmt: skip
_SPECIFIC_WEIGHT = 30
_OF_PEERS = ("nccl.error", "nccl.timeout", "node.lost")  # what a lost peer leaves with the others

# Exceptions that say only that something else was raised: those they were raised from are what happened.
_CARRIER = re.compile(
    r"(?:\w+\.)*(?:DatasetGenerationError|CheckpointException|TuneError|TrainingFailedError|ChildFailedError|FailedJobError"
    r"|CalledProcessError|ProcessRaisedException|InstantiationException: Error in call to)\b"
)

# A port is taken by somebody at any time, and after a restart ranks wait for each other once more.
_AT_ANY_TIME = re.compile(r"(?i)address already in use|EADDRINUSE|RendezvousTimeoutError|initializing process group")

_BARRIER = re.compile(r"[Bb]arrier timed out")

_CLOSING_BYTES, _CLOSING_LINES = 8192, 12
_EXCEPTION_LINE = re.compile(r"^(?:[a-z_]\w*\.)*[A-Z]\w*(?:Error|Exception)(?:: .|$)")

# What nobody but the program itself is to blame for.
OWN_MISTAKE = re.compile(
    r"(?:\w+\.)*(?:Key|Index|Type|Attribute|Name|UnboundLocal|ZeroDivision|Recursion|NotImplemented)Error\b"
)

LAUNCHER = "child-failed"  # the rule of a launcher's word for a worker that failed
SHUT_DOWN = "horovod-peer-died"  # the rule of a rank that was told that another one raised
SHELL = "command-missing"  # the rule of what a shell or an interpreter does not find
LATE_STORE = "store-lost-late"  # what a rendezvous' failure is once steps were made
LATE_BARRIER = "barrier-in-vain"  # … and a barrier's
REGISTERING = "jax-never-met"  # happens at the start alone, whatever was printed before
UNNAMED = "python-exception"  # the rule of an exception that no other rule knows


def gather(source: Source, rules: RuleSet) -> list[Event]:
    """All events of the log by offset; of one failure told in several blocks only what matters."""
    found = scan(source, rules)
    blocks = [parse(source, offset) for offset in found.tracebacks]
    events = _outside_frames(found.events, blocks)
    rest = _hand_out(events, blocks)
    for block in blocks:
        if block.inline:
            block.events = _inline(source, block, rules)
    for group in chains(blocks):
        rest.extend(_of_failure(source, group, rules))
    closing = _closing(source, rest, blocks, rules)
    if closing is not None:
        rest.append(closing)
    rest.sort(key=lambda event: event.offset)
    _hush_shell(rest)
    return [_in_its_time(source, event, rules) for event in rest]


def _hush_shell(events: list[Event]) -> None:
    """A script that goes on after its program failed: what its shell then misses explains nothing that came before."""
    ends = (event for event in events if event.rule.name == LAUNCHER or event.rule.cls.startswith("nccl."))
    failed = next((event.offset for event in ends), None)
    for event in events:
        if failed is not None and event.rule.name == SHELL and event.offset > failed:
            event.strength = HINT


def _in_its_time(source: Source, event: Event, rules: RuleSet) -> Event:
    """Workers that made steps together have met: a store that is lost later was lost with somebody."""
    if event.rule.own or event.rule.cls != "rendezvous" or event.rule.role != "root":
        return event
    if event.rule.name == REGISTERING or _AT_ANY_TIME.search(event.text):
        return event
    if was_advancing(source, event.offset):
        event.rule = rules.by_name[LATE_BARRIER if _BARRIER.search(event.text) else LATE_STORE]
    return event


def _closing(source: Source, events: list[Event], blocks: list[Traceback], rules: RuleSet) -> Event | None:
    """An exception's line at the very end of a log, or of what came before the launcher's own words, whose traceback
    is not there and that no rule knows."""
    launcher = [event.offset for event in events if event.rule.name == LAUNCHER]
    for end in (source.size, min(launcher, default=source.size)):
        found = _exception_before(source, end, events, blocks, rules)
        if found is not None:
            return found
    return None


def _exception_before(
    source: Source, end: int, events: list[Event], blocks: list[Traceback], rules: RuleSet
) -> Event | None:
    low = max(0, end - _CLOSING_BYTES)
    tail = source.read_at(low, end - low)
    for raw in tail.split(b"\n")[-_CLOSING_LINES:]:
        line = own_words(source, raw)
        if not _EXCEPTION_LINE.match(line.text) or _CARRIER.match(line.text):
            continue
        at = low + tail.rfind(raw)
        if any(block.exception_at == at for block in blocks):
            continue
        if not any(event.offset <= at <= event.end or _named_from(event, at) for event in events):
            rule = rules.by_name[UNNAMED]
            return Event(at, at + len(raw), line.text, line.rank, rule, line.text[:300], SAID, raised=True)
    return None


def _named_from(event: Event, at: int) -> bool:
    """Whether the event is of the exception's own message, or later."""
    return event.offset >= at and event.rule.role == "root" and event.strength >= SAID


def _outside_frames(events: list[Event], blocks: list[Traceback]) -> list[Event]:
    """Without the lines of source code that a traceback quotes."""
    kept = []
    for event in events:
        quoted = event.text[:1] in (" ", "│", "|") and any(
            block.offset < event.offset < block.exception_at for block in blocks
        )
        if not quoted:
            kept.append(event)
    return kept


def _hand_out(events: list[Event], blocks: list[Traceback]) -> list[Event]:
    """Give each block the events of its exception and message; what belongs to none is returned."""
    rest = []
    whole = [block for block in blocks if block.exception_at >= 0]
    for event in events:
        owner = next((block for block in whole if _is_of(event, block)), None)
        if owner is None:
            rest.append(event)
        else:
            owner.events.append(event)
    return rest


def _is_of(event: Event, block: Traceback) -> bool:
    if block.rank and event.rank != block.rank and (event.rank or block.labelled):
        return False
    return block.exception_at <= event.offset < max(block.end, block.exception_end)


def _inline(source: Source, block: Traceback, rules: RuleSet) -> list[Event]:
    """What the exceptions of a traceback within one line mean, each by itself."""
    events = []
    for part in block.inline:
        raw = part.encode()
        event = match_line(source, raw, block.offset, rules.meant_by(raw))
        if event is not None:
            event.end = block.exception_end
            events.append(event)
    return events


def _of_failure(source: Source, group: list[Traceback], rules: RuleSet) -> list[Event]:
    """The event that stands for a chain of tracebacks, its strength set, and the chain's consequences."""
    whole = [block for block in group if block.exception_at >= 0]
    if not whole:
        return [event for block in group for event in block.events]
    telling = [block for block in whole if not _CARRIER.match(f"{block.kind}: {block.message}")]
    event = _choice(source, telling or whole, rules)
    strength = FATAL
    ignored = any(block.ignored for block in group)
    uncaught = whole[0].of_program or whole[-1].of_program  # the inside of an exception may be told below it
    mild = group[0].mild and not uncaught
    if ignored or (mild and event.rule.cls in _FIRST_OF_CHAIN) or group[-1].retried:
        strength = HINT
    elif mild or (group[0].logged and not uncaught) or group[0].of_thread:
        strength = SAID
    event.strength, event.raised, event.uncaught, event.began = strength, not ignored, uncaught, group[0].offset
    others = [
        other for block in whole for other in block.events if other.rule.role == "consequence" and other is not event
    ]
    return [event, *others]


def _choice(source: Source, whole: list[Traceback], rules: RuleSet) -> Event:
    events = [event for block in whole for event in block.events]
    roots = [event for event in events if event.rule.role == "root"]
    owned = [event for event in roots if event.rule.own]
    if owned:  # a person said what such an exception means here
        return max(owned, key=lambda event: (event.rule.weight, -event.offset))
    outside = [event for event in roots if event.rule.cls in _FIRST_OF_CHAIN and event.rule.weight >= _SPECIFIC_WEIGHT]
    if outside:
        first = outside[0]
        heavier = [event for event in outside if event.rule.cls in ("tracker", "gpu.hardware")]
        return heavier[0] if heavier else first
    last = whole[-1]
    own = [event for event in last.events if event.rule.role == "root"]
    if own:
        return max(own, key=lambda event: (event.rule.weight, -event.offset))
    specific = [event for event in roots if event.rule.weight >= _SPECIFIC_WEIGHT]
    if specific:
        return specific[0]
    own_mistake = OWN_MISTAKE.match(last.kind) is not None  # tells of no peers: what stands below it is another's
    others = [
        event
        for event in last.events
        if event.rule.role != "root" and (event.offset <= last.exception_end or (_of_a_peer(event) and not own_mistake))
    ]
    # A peer's end, told once more by whoever noticed it: words of his own for it make it no mistake of his.
    told = whole[:-1] if own_mistake else whole
    peers = [event for block in told for event in block.events if _of_a_peer(event)]
    if others or peers:
        return (others or peers)[0]
    if roots:
        return roots[0]
    return _unnamed(source, last, rules)


def _of_a_peer(event: Event) -> bool:
    return event.rule.cls in _OF_PEERS or event.rule.name == SHUT_DOWN


def _unnamed(source: Source, block: Traceback, rules: RuleSet) -> Event:
    """What the exception's own words mean, where a logger's margin or another's lines kept them from the rules."""
    text = f"{block.kind}: {block.message}" if block.message else block.kind
    raw = text.encode()
    event = match_line(source, raw, block.exception_at, rules.meant_by(raw))
    if event is not None:
        event.end, event.rank = block.exception_end, block.rank
        return event
    rule = rules.by_name[UNNAMED]
    return Event(block.exception_at, block.exception_end, text, block.rank, rule, " ".join(text.split())[:300], SAID)
