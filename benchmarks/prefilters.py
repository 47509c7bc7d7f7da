"""Ways to find all literals of the rules in a log, side by side: MB/s of one pass over the same blocks.

What is not installed is left out: `pip install --group bench` brings all of them.
"""

import importlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from overnight.failures.rules import load_rules
from table import Series

BLOCK_BYTES = 512 << 10
SLOW_BYTES = 4 * BLOCK_BYTES  # for ways that would take minutes
SLOW = ("plain bytes.find, each literal", "re, one alternation")

Way = Callable[[bytes], object]


def measure(series: Series, path: Path, rounds: int) -> None:
    """Notes the speed of each way, round by round."""
    literals = load_rules().literals
    data = path.read_bytes()
    ways = dict(_ways(literals))
    for _ in range(rounds):
        for name, way in ways.items():
            part = data[:SLOW_BYTES] if name in SLOW else data
            begun = time.process_time()
            for at in range(0, len(part), BLOCK_BYTES):
                way(part[at : at + BLOCK_BYTES])
            series.note(
                f"{len(literals)} literals by {name}", [len(part) / 1e6 / (time.process_time() - begun)], "MB/s"
            )


def _ways(literals: tuple[bytes, ...]) -> Iterator[tuple[str, Way]]:
    yield SLOW[0], lambda block: [literal for literal in literals if block.find(literal) >= 0]
    alternation = b"|".join(map(re.escape, literals))
    yield SLOW[1], lambda block, find=re.compile(alternation).finditer: [match.start() for match in find(block)]
    for name, module, make in (
        ("ahocorasick_rs, DFA", "ahocorasick_rs", _dfa),
        ("ahocorasick_rs, NFA", "ahocorasick_rs", _nfa),
        ("pyahocorasick", "ahocorasick", _pyahocorasick),
        ("google-re2, a set", "re2", _re2_set),
        ("google-re2, one alternation", "re2", _re2),
        ("hyperscan", "hyperscan", _hyperscan),
    ):
        try:
            library = importlib.import_module(module)
        except ImportError:
            continue
        yield name, make(library, literals)


def _dfa(library: Any, literals: tuple[bytes, ...]) -> Way:
    return _rust(library, literals, library.Implementation.DFA)


def _nfa(library: Any, literals: tuple[bytes, ...]) -> Way:
    return _rust(library, literals, library.Implementation.ContiguousNFA)


def _rust(library: Any, literals: tuple[bytes, ...], kind: Any) -> Way:
    automaton = library.BytesAhoCorasick(list(literals), implementation=kind)
    return lambda block: automaton.find_matches_as_indexes(block, overlapping=True)


def _pyahocorasick(library: Any, literals: tuple[bytes, ...]) -> Way:
    automaton = library.Automaton()
    for index, literal in enumerate(literals):
        automaton.add_word(literal.decode("utf-8"), index)
    automaton.make_automaton()
    return lambda block: list(automaton.iter(block.decode("utf-8", "replace")))


def _re2_set(library: Any, literals: tuple[bytes, ...]) -> Way:
    """Which literals are in a block, not where: each line of a block with any has to be looked at again."""
    options = library.Options()
    options.max_mem = 256 << 20
    options.encoding = library.Options.Encoding.LATIN1
    found = library.Set.SearchSet(options)
    for literal in literals:
        found.Add(library.escape(literal.decode("latin-1")))
    found.Compile()
    return lambda block: found.Match(block.decode("latin-1"))


def _re2(library: Any, literals: tuple[bytes, ...]) -> Way:
    """Where any literal is, not which, and no overlapping ones."""
    options = library.Options()
    options.max_mem = 256 << 20
    pattern = library.compile(b"|".join(library.escape(literal) for literal in literals), options=options)
    return lambda block: [match.start() for match in pattern.finditer(block)]


def _hyperscan(library: Any, literals: tuple[bytes, ...]) -> Way:
    database = library.Database()
    database.compile(
        expressions=[re.escape(literal) for literal in literals],
        ids=list(range(len(literals))),
        elements=len(literals),
        flags=[library.HS_FLAG_SOM_LEFTMOST] * len(literals),
    )

    def way(block: bytes) -> object:
        hits: list[tuple[int, int]] = []
        database.scan(block, match_event_handler=lambda index, start, end, flags, context: hits.append((index, start)))
        return hits

    return way
