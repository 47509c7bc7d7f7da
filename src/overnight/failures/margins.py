"""What stands before every line of one log: a runner's clock, a service's name. No list of known forms ever ends, so it
is found by looking: the longest beginning, digits apart, that nearly all lines share while what follows it differs."""

import re
from collections import Counter

from overnight.failures.lines import Line, clean, without_first_prefix
from overnight.failures.source import Source

_SAMPLE_BYTES = 10 << 10  # from either end
_FEWEST_LINES = 8
_SHARE = 0.95
_CHARS = 120
_KINDS = 4  # of what follows; lines of progress share a beginning too, and nothing but digits follows
_DIGITS = re.compile(r"\d+")
_BOUNDARY = re.compile(r"[]:|>] ?| ")
_LEVEL = re.compile(r"(?i)\b(?:debug|info|warn(?:ing)?|error|critical|fatal)\b")
_FRAME = re.compile(r'\s+File "')


def own_words(source: Source, raw: bytes) -> Line:
    """The line without what launchers and loggers put around it, also where only this log does."""
    line = clean(raw)
    margin = _margin(source)
    found = margin.match(line.text) if margin is not None else None
    if found is None:
        return line
    inner = clean(line.text[found.end() :].encode())
    return Line(inner.text, line.rank or inner.rank or (found[1] if found.re.groups else ""))


def without_outermost(source: Source, text: str) -> str:
    """What stands behind the outermost thing that `own_words` takes off."""
    rest = without_first_prefix(text)
    if rest == text:
        margin = _margin(source)
        found = margin.match(text) if margin is not None else None
        return text[found.end() :] if found else text
    return rest


def _margin(source: Source) -> re.Pattern[str] | None:
    if not source.looked_at:
        source.looked_at, source.margin = True, _found(source)
    return source.margin


def _found(source: Source) -> re.Pattern[str] | None:
    head = source.read_at(0, _SAMPLE_BYTES).split(b"\n")
    tail = source.read_at(max(source.size - _SAMPLE_BYTES, _SAMPLE_BYTES), _SAMPLE_BYTES).split(b"\n")[1:]
    lines = [clean(raw[:400]) for raw in (*head, *tail) if raw.strip()]
    unnamed = [line for line in lines if not line.rank]  # where a rank is, all before it was taken off
    texts = [line.text[:_CHARS] + " " for line in (unnamed if len(unnamed) >= _FEWEST_LINES else lines)]
    if len(texts) < _FEWEST_LINES:
        return None
    shapes = [_DIGITS.sub("0", text) for text in texts]
    enough = _SHARE * len(shapes)
    shared = Counter(shape[: found.end()] for shape in shapes for found in _BOUNDARY.finditer(shape))
    for start in sorted((start for start, count in shared.items() if count >= enough), key=len, reverse=True):
        rests = [shape[len(start) :] for shape in shapes if shape.startswith(start)]
        if not start.strip() or len({rest[:12] for rest in rests}) < _KINDS or _hides_a_rank(start):
            continue
        if _LEVEL.search(start) and not any(_FRAME.match(clean(rest.encode()).text) for rest in rests):
            continue  # a level tells something of each line; before a frame it is another program's
        number = r"(\d+)" if start.count("0") == 1 and _tells_apart(start, texts) else r"\d+"
        return re.compile(number.join(map(re.escape, start.rstrip().split("0"))) + "(?: |$)")
    return None


def _tells_apart(start: str, texts: list[str]) -> bool:
    """Whether the one number in the margin says whose a line is: there are few, and they come in no order."""
    margin = re.compile(re.escape(start).replace("0", r"(\d+)"))
    numbers = [int(found[1]) for found in map(margin.match, texts) if found is not None]
    return 1 < len(set(numbers)) <= len(numbers) // 3 and numbers != sorted(numbers)


def _hides_a_rank(start: str) -> bool:
    """Whether a known prefix stands within it: `clean` takes that off, and knows whose line it is."""
    return any(
        without_first_prefix(start[found.end() :]) != start[found.end() :] for found in _BOUNDARY.finditer(start)
    )
