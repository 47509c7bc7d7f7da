"""Finding many literals in one pass.

With `ahocorasick_rs` (Rust's aho-corasick as a DFA) some hundred literals cost one pass at about 540 MB/s on
two slow cores; the figures and the rejected ways are in docs/explanation/classification.md. Without it the
standard library makes one pass per literal: right, but some 3 MB/s.
"""

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any

Hit = tuple[int, int, int]  # index of the literal, start, end
Buffer = bytes | bytearray
Finder = Callable[[Buffer], Sequence[Hit]]


def _load() -> Any:
    try:
        return importlib.import_module("ahocorasick_rs")
    except ImportError:
        return None


_library = _load()  # at import: the supervisor's installation may be replaced under it


@functools.lru_cache(maxsize=4)
def finder(literals: tuple[bytes, ...]) -> Finder:
    """A function that finds all literals in a block, overlapping ones too, in order of their ends."""
    if _library is None:
        return functools.partial(_find_each, literals)
    automaton = _library.BytesAhoCorasick(list(literals), implementation=_library.Implementation.DFA)

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
