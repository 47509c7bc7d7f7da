"""Patterns tried on hostile lines, in a process of its own: Python's `re` holds the interpreter while it backtracks.

Run by path, standard library only. Reads a JSON list of [pattern, literals] from stdin; prints the JSON list of the
indexes whose pattern took more than `CPU_SECONDS` on some line.
"""

import json
import re
import signal
import sys
from collections.abc import Iterator, Sequence

CPU_SECONDS = 1.0  # of this process, so that a busy machine makes no pattern slow; usual patterns take some µs
HALF_LINE = 2000  # characters on either side of the literal: a line is judged up to 4 kB
_SEEDS = ("a", "0", " ", "-", "=", "/", "[", "x ", "a:", "a.b", "error ", "x=1, ")
_DERIVED = 12


class _TooLongError(Exception):
    """The time for one line is used up."""


def slow(pattern: str, literals: Sequence[str]) -> bool:
    """Whether the pattern takes too long on a line made to hurt it: much of what it looks for, and a bad end."""
    compiled = re.compile(pattern)
    try:
        for line in hostile_lines(pattern, literals):
            signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
            compiled.search(line)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except _TooLongError:
        return True
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return False


def hostile_lines(pattern: str, literals: Sequence[str]) -> Iterator[str]:
    """Lines made of what the pattern itself looks for, again and again, with a literal of its rule in the middle."""
    own = [*literals[:3], *re.findall(r"[A-Za-z]{2,}|\d{2,}", pattern), *re.findall(r"[A-Za-z0-9:;,_#]", pattern)]
    for seed in dict.fromkeys((*_SEEDS, *list(dict.fromkeys(own))[:_DERIVED])):
        filling = (seed * HALF_LINE)[:HALF_LINE]
        yield f"{filling}{literals[0] if literals else ''}{filling}\x01"


def _over(signum: int, frame: object) -> None:
    raise _TooLongError


def main() -> None:
    """Read, try, print."""
    signal.signal(signal.SIGVTALRM, _over)
    asked = json.load(sys.stdin)
    json.dump([index for index, (pattern, literals) in enumerate(asked) if slow(pattern, literals)], sys.stdout)


if __name__ == "__main__":
    main()
