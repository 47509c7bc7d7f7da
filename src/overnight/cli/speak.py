"""How the command line speaks: answers on stdout, talk on stderr, JSON alone when asked for.

Colour never carries a meaning that the words do not.
"""

import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import click

from overnight.model.visible import visible

COLOURS = {
    "succeeded": "green",
    "running": "cyan",
    "verifying": "cyan",
    "waiting": "yellow",
    "held": "magenta",
    "paused": "yellow",
    "lost": "magenta",
    "failed": "red",
    "cancelled": "bright_black",
    "pending": "bright_black",
    "active": "cyan",
    "free": "green",
    "busy": "cyan",
    "checking": "yellow",
    "drained": "yellow",
    "quarantined": "red",
}
_PAINT = re.compile(r"(\x1b\[(?:0|1|3[1-6]|90)m)")  # what `paint` and `bold` put into a text: nothing that hides it


def say(text: str = "") -> None:
    """A line of the answer."""
    _write(sys.stdout, _tame(text, sys.stdout))


def tell(text: str) -> None:
    """A line of talk: progress, warnings, errors."""
    _write(sys.stderr, _tame(text, sys.stderr))


def _tame(text: str, stream: TextIO) -> str:
    """What a run printed may not move the cursor, clear the screen or name the window."""
    if "\x1b" in text and coloured(stream):
        return "".join(part if at % 2 else visible(part) for at, part in enumerate(_PAINT.split(text)))
    return visible(text)


def warn(text: str) -> None:
    """Something a person should know now, that stops nothing."""
    tell(f"{paint('warning:', 'yellow', sys.stderr)} {text}")


def say_json(value: Any) -> None:
    """The one document of `--json`."""
    from overnight.model.codec import to_json

    say_data(to_json(value).decode())


def say_data(text: str) -> None:
    """An answer for programs, as it is."""
    _write(sys.stdout, text)


def refuse(message: str, hint: str | None, faults: Sequence[tuple[str, Any]], as_json: bool) -> None:
    """An error: for people on stderr, for programs as the document on stdout."""
    if as_json:
        try:
            say_json({"error": message, "hint": hint, "faults": [fault for _, fault in faults]})
            sys.stdout.flush()
            return
        except OSError:  # stdout is what is wrong, or is wrong too: somebody must hear it
            stop_talking(sys.stdout)
    tell(f"{paint('error:', 'red', sys.stderr)} {message}")
    for words, _ in faults:
        if len(faults) > 1 or message not in words:
            tell(f"  {words}")
    if hint:
        tell(f"hint: {hint}")


def interrupted(words: str = "") -> int:
    """Ctrl-C outside of a wait. `words`: what the person cannot know."""
    tell(f"interrupted; {words}" if words else "interrupted")
    flush()
    return 130


def coloured(stream: TextIO | None = None) -> bool:
    """Only for eyes: a terminal, and no NO_COLOR (https://no-color.org)."""
    stream = stream or sys.stdout
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


def paint(text: str, colour: str | None, stream: TextIO | None = None) -> str:
    """`text` in a colour where that is wanted."""
    return click.style(text, fg=colour) if colour and coloured(stream) else text


def state(word: str, width: int = 0) -> str:
    """A state's word in its colour, padded."""
    return paint(word.ljust(width), COLOURS.get(word))


def bold(text: str) -> str:
    """A heading."""
    return click.style(text, bold=True) if coloured() else text


def columns() -> int | None:
    """How wide the terminal on stdout is; None where there is none, and a line may be as long as it is."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None


def say_wrapped(text: str, indent: str = "  ") -> None:
    """A sentence, broken between words where the terminal would break it anywhere."""
    width = columns()
    if width is None or len(indent) + len(text) <= width:
        say(indent + text)
        return
    from textwrap import wrap

    for line in wrap(text, max(20, width - len(indent)), break_long_words=False, break_on_hyphens=False):
        say(indent + line)


def table(
    rows: Iterable[Sequence[str]],
    indent: str = "  ",
    painted: int | None = None,
    give: Sequence[tuple[int, int]] = (),
) -> None:
    """Aligned columns; numbers to the right would need a rule, so all stand left. `painted`: the column whose
    words are states. `give`: what becomes narrower in a narrow terminal (see `laid_out`)."""
    width = columns()
    for line in laid_out(rows, None if width is None else width - len(indent), give):
        cells = [state(cell.rstrip(), len(cell)) if i == painted else cell for i, cell in enumerate(line)]
        say((indent + "  ".join(cell for cell in cells if cell)).rstrip())


def laid_out(rows: Iterable[Sequence[str]], room: int | None, give: Sequence[tuple[int, int]]) -> list[list[str]]:
    """Cells padded to columns, two spaces apart, that fit into `room`. `give`: which columns become narrower, and
    down to what, in this order. A column with nothing in it has no width."""
    lines = [[visible(cell) for cell in row] for row in rows]
    if not lines:
        return []
    widths = [max(wide(line[i]) for line in lines) for i in range(len(lines[0]))]
    for i, least in give:
        if room is not None:
            over = sum(widths) + 2 * (sum(width > 0 for width in widths) - 1) - room
            widths[i] -= max(0, min(over, widths[i] - least))
    return [
        [
            _padded(_clipped(cell, width) if i else shortened(cell, width), width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]


def shortened(name: str, width: int) -> str:
    """A name loses its middle: sweeps tell their runs apart at the end."""
    if wide(name) <= width:
        return name
    tail = (width - 1) // 2
    return f"{name[: width - 1 - tail]}…{name[-tail:]}"


def wide(text: str) -> int:
    """How many columns of a terminal a text takes: some scripts take two a character, accents none."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - wide(cell))


def _clipped(cell: str, width: int) -> str:
    if wide(cell) <= width:
        return cell
    while cell and wide(cell) >= width:
        cell = cell[:-1]
    return cell + "…"


def flush(code: int = 0) -> int:
    """Get everything out before Python's own shutdown, which would complain about a closed pipe. Returns `code`, or 4
    when the answer could not be written: a full disk behind `>` must not look like an answer."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            stop_talking(stream)
        except OSError as problem:
            stop_talking(stream)
            if stream is sys.stdout:
                tell(f"{paint('error:', 'red', sys.stderr)} the answer cannot be written: {problem.strerror}")
                code = 4
    return code


def stop_talking(stream: TextIO) -> None:
    """The reader of a pipe has gone: what remains goes nowhere, and the work in hand goes on."""
    try:
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)
    except (OSError, ValueError):
        pass


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n")
        if stream is sys.stderr:
            stream.flush()
    except BrokenPipeError:
        stop_talking(stream)
    except OSError:
        if stream is not sys.stderr:
            raise
        stop_talking(stream)  # nobody could hear it
    except UnicodeEncodeError:  # a terminal that knows no UTF-8
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def can_redraw() -> bool:
    """Whether the terminal on stdout understands cursor movements."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
