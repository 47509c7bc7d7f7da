"""Finding many literals in one pass.

With `ahocorasick_rs` (Rust's aho-corasick as a DFA) two thousand literals cost one pass at about 660 MB/s on
two slow cores; the figures and the rejected ways are in docs/explanation/classification.md. Its table takes 15 ms,
that of the same automaton as an NFA 2 ms, at 410 MB/s: the better choice for a usual log. Without the library the
standard one makes one pass per literal: right, but some 3 MB/s.
"""

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any

LARGE_BYTES = 16 << 20  # from here on the faster table has earned the time that it takes to make

Hit = tuple[int, int, int]  # index of the literal, start, end
Buffer = bytes | bytearray
Finder = Callable[[Buffer], Sequence[Hit]]


def _load() -> Any:
    try:
        return importlib.import_module("ahocorasick_rs")
    except ImportError:
        return None


_library = _load()  # at import: the supervisor's installation may be replaced under it


def finder(literals: tuple[bytes, ...], size: int = LARGE_BYTES) -> Finder:
    """A function that finds all literals in a block, overlapping ones too, in order of their ends. `size`: how many
    bytes it will be asked to look at, all in all."""
    return _built(literals, size >= LARGE_BYTES)


@functools.lru_cache(maxsize=8)
def _built(literals: tuple[bytes, ...], large: bool) -> Finder:
    if _library is None:
        return functools.partial(_find_each, literals)
    kind = _library.Implementation.DFA if large else _library.Implementation.ContiguousNFA
    automaton = _library.BytesAhoCorasick(list(literals), implementation=kind)

    def find(block: Buffer) -> Sequence[Hit]:
        hits: Sequence[Hit] = automaton.find_matches_as_indexes(block, overlapping=True)
        return hits

    return find


def _find_each(literals: tuple[bytes, ...], block: Buffer) -> list[Hit]:
    hits = []
    for index, literal in enumerate(literals):
        start = block.find(literal)
        while start >= 0:
            hits.append((index, start, start + len(literal)))
            start = block.find(literal, start + 1)
    hits.sort(key=lambda hit: hit[2])
    return hits
