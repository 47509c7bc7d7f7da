"""Which line of a TOML text holds which key.

The standard parser keeps no positions, and a fault without a line sends a person searching. This scanner reads
only what it needs (headers, keys, and enough of values to skip them); a text that the parser accepts is all it
has to understand, and a key that it misses costs a line number, never an answer.
"""

import re
from collections.abc import Iterator

_HEADER = re.compile(r"\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*((?:[\w-]+|"(?:[^"\\]|\\.)*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"(?:[^"\\]|\\.)*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[\w-]+|"((?:[^"\\]|\\.)*)"|'([^']*)'""")
_SKIP = re.compile(r'''"""|\'\'\'|"(?:[^"\\]|\\.)*"|'[^']*'|#.*|[\[\]{}]''')
_OPENING = "[{"


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """Line numbers (from 1) by key path. The n-th `[[run]]` is `("run", "n")`, n from 0."""
    found: dict[tuple[str, ...], int] = {}
    prefix: tuple[str, ...] = ()
    counts: dict[tuple[str, ...], int] = {}
    for number, line in _statements(text):
        header = _HEADER.match(line)
        key = _KEY.match(line)
        if key is not None:
            path = prefix + _parts(key.group(1))
            for size in range(len(prefix) + 1, len(path) + 1):
                found.setdefault(path[:size], number)
        elif header is not None:
            prefix = _parts(header.group(2))
            if header.group(1) == "[[":
                index = counts.get(prefix, 0)
                counts[prefix] = index + 1
                found.setdefault(prefix, number)
                prefix = (*prefix, str(index))
            found.setdefault(prefix, number)
    return found


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(
        next((group for group in match.groups() if group is not None), match.group(0))
        for match in _PART.finditer(dotted)
    )


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Lines that begin a statement: not those inside a multi-line string or array."""
    depth = 0
    quotes: str | None = None
    for number, line in enumerate(text.split("\n"), 1):
        at = 0
        if quotes is None and depth == 0:
            yield number, line
            if _KEY.match(line) is None:
                continue  # a header's brackets open nothing
            at = line.index("=") + 1
        while at <= len(line):
            if quotes is not None:
                end = line.find(quotes, at)
                if end < 0:
                    break
                at, quotes = end + 3, None
                continue
            match = _SKIP.search(line, at)
            if match is None:
                break
            token, at = match.group(0), match.end()
            if token in ('"""', "'''"):
                quotes = token
            elif token in _OPENING:
                depth += 1
            elif token in "]}":
                depth -= 1
