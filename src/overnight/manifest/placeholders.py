r"""Placeholders in commands, environments and paths, and how each is replaced.

`{word}` is a column or a reserved name; `{word...}` splits the value like a shell, one argument a word. `{{` and
the `}}` that answers it are single braces. `${x}`, and braces around anything but one word, pass untouched, so
that shell variables and JSON survive: `{"a": {"lr": {lr}}}` needs no doubling. Inside a column's value the
reserved names are replaced once and everything else stays, so a value can never name another column.

A command that is one string is run by `bash -c`. A value put into it is quoted for the place where it stands
(bare, within '…', or within "…"), so it is always one argument, and never code; `{word...}` inserts its words
each quoted.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

RESERVED = frozenset(
    {
        "run_id", "campaign", "attempt", "attempt_id", "out_dir", "run_dir", "gpus", "gpu_ids", "slot", "port",
        "checkpoint",
    }
)  # fmt: skip

QUOTING = "'\"\\"  # without any of these a value splits at its blanks, and cannot fail to

_WORD = r"[^\W\d][\w-]*(?:\.[\w-]+)*"
_TOKEN = re.compile(r"\$\{[^{}]*\}|\{\{|\}\}|\{(" + _WORD + r")(\.\.\.)?\}")
_NESTED = re.compile(r"(?<![{$])\{(" + "|".join(sorted(RESERVED)) + r")\}")
_BLANKS = re.compile(r"[ \t\r\n]+")
_PLAIN_WORD = re.compile(_WORD)


class Piece(NamedTuple):
    """A stretch of a template: literal text, or a placeholder (then `word` is set)."""

    text: str
    word: str | None = None
    split: bool = False


class UnknownPlaceholder(ValueError):
    """A template names something that is neither a column of this row nor reserved."""

    def __init__(self, word: str) -> None:
        super().__init__(f"{{{word}}} is neither a column nor a reserved placeholder")
        self.word = word


@lru_cache(maxsize=1024)
def pieces(template: str) -> tuple[Piece, ...]:
    """The template taken apart; doubled braces are single in the literals."""
    found: list[Piece] = []
    literal: list[str] = []
    at = opened = 0
    for match in _TOKEN.finditer(template):
        literal.append(template[at : match.start()])
        at = match.end()
        token = match.group(0)
        if match.group(1) is not None:
            if text := "".join(literal):
                found.append(Piece(text))
            literal = []
            found.append(Piece(token, match.group(1), match.group(2) is not None))
        elif token == "{{":
            opened += 1
            literal.append("{")
        elif token == "}}" and opened:
            opened -= 1
            literal.append("}")
        else:
            literal.append(token)
    literal.append(template[at:])
    if text := "".join(literal):
        found.append(Piece(text))
    return tuple(found)


def words(templates: Iterable[str]) -> set[str]:
    """Every word that the templates name, reserved ones too."""
    return {piece.word for template in templates for piece in pieces(template) if piece.word is not None}


def split_words(templates: Iterable[str]) -> set[str]:
    """The words that appear as `{word...}`."""
    return {
        piece.word for template in templates for piece in pieces(template) if piece.word is not None and piece.split
    }


def is_word(column: str) -> bool:
    """Whether a column of this name can be used as a placeholder."""
    return _PLAIN_WORD.fullmatch(column) is not None


def templates_of(command: Sequence[str] | str, env: Mapping[str, str]) -> list[str]:
    """All templates of a manifest."""
    return [*([command] if isinstance(command, str) else command), *env.values()]


def uses(command: Sequence[str] | str, env: Mapping[str, str]) -> set[str]:
    """The columns that command or `[env]` name."""
    return words(templates_of(command, env)) - RESERVED


def names_out_dir(command: Sequence[str] | str, env: Mapping[str, str]) -> bool:
    """Whether a run is told where to write: `{out_dir}` (or `{run_dir}`), or the variable of that meaning."""
    templates = templates_of(command, env)
    return bool(words(templates) & {"out_dir", "run_dir"}) or any("OVERNIGHT_OUT_DIR" in text for text in templates)


def split_value(value: str) -> list[str]:
    """A value split like a shell does. Raises ValueError for a quotation that does not end."""
    if not any(mark in value for mark in QUOTING):
        return [word for word in _BLANKS.split(value) if word]
    return shlex.split(value)


def expand_text(template: str, params: Mapping[str, str], reserved: Mapping[str, str]) -> str:
    """One text with its placeholders replaced. `{word...}` does not split here."""
    return "".join(
        piece.text if piece.word is None else _value(piece.word, params, reserved) for piece in pieces(template)
    )


def expand_words(templates: Sequence[str], params: Mapping[str, str], reserved: Mapping[str, str]) -> list[str]:
    """A list of arguments with its placeholders replaced; `{word...}` may give none or several."""
    found: list[str] = []
    for template in templates:
        parts = pieces(template)
        if any(piece.split for piece in parts):
            found.extend(_split_argument(parts, params, reserved))
        else:
            found.append(expand_text(template, params, reserved))
    return found


def expand_command(
    command: Sequence[str] | str,
    params: Mapping[str, str],
    reserved: Mapping[str, str],
    extra: Sequence[str] = (),
) -> list[str]:
    """The argument list to run. `extra` are templates of arguments to append (those that make a run resume).

    A string becomes `bash -c`, `extra` quoted at its end. Raises `UnknownPlaceholder`; ValueError for a
    `{word...}` whose value has a quotation that does not end.
    """
    appended = expand_words(extra, params, reserved)
    if not isinstance(command, str):
        return expand_words(command, params, reserved) + appended
    script = _shell(command, params, reserved)
    if appended:
        script = f"{script.rstrip()} {shlex.join(appended)}"
    return ["bash", "-c", script]


def expand_env(
    env: Mapping[str, str], row_env: Mapping[str, str], params: Mapping[str, str], reserved: Mapping[str, str]
) -> dict[str, str]:
    """The variables of `[env]`, then those of the row's `@env.NAME` columns (values, so only reserved names
    are replaced in them)."""
    found = {name: expand_text(template, params, reserved) for name, template in env.items()}
    found.update((name, _nested(value, reserved)) for name, value in row_env.items())
    return found


def _value(word: str, params: Mapping[str, str], reserved: Mapping[str, str]) -> str:
    if word in RESERVED:
        if word not in reserved:
            raise UnknownPlaceholder(word)
        return reserved[word]
    if word not in params:
        raise UnknownPlaceholder(word)
    return _nested(params[word], reserved)


def _nested(value: str, reserved: Mapping[str, str]) -> str:
    if "{" not in value:
        return value
    return _NESTED.sub(lambda match: reserved.get(match.group(1), match.group(0)), value)


def _value_words(word: str, params: Mapping[str, str], reserved: Mapping[str, str]) -> list[str]:
    """Split first, replace after: a path with a blank in it stays one word."""
    if word in RESERVED:
        return split_value(_value(word, params, reserved))
    if word not in params:
        raise UnknownPlaceholder(word)
    return [_nested(part, reserved) for part in split_value(params[word])]


def _split_argument(parts: Sequence[Piece], params: Mapping[str, str], reserved: Mapping[str, str]) -> list[str]:
    """What a shell makes of `a{x...}b`: the outer words join their neighbours; nothing at all is no word."""
    found: list[str] = []
    current: str | None = None
    for piece in parts:
        if piece.word is None:
            current = (current or "") + piece.text
        elif not piece.split:
            current = (current or "") + _value(piece.word, params, reserved)
        else:
            for position, word in enumerate(_value_words(piece.word, params, reserved)):
                if position and current is not None:
                    found.append(current)
                    current = None
                current = (current or "") + word
    if current is not None:
        found.append(current)
    return found


def _shell(template: str, params: Mapping[str, str], reserved: Mapping[str, str]) -> str:
    quoting = _Quoting()
    script: list[str] = []
    for piece in pieces(template):
        if piece.word is None:
            quoting.feed(piece.text)
            script.append(piece.text)
        elif piece.split:
            script.append(quoting.quoted(_value_words(piece.word, params, reserved)))
        else:
            script.append(quoting.quoted([_value(piece.word, params, reserved)]))
    return "".join(script)


class _Quoting:
    """Follows a bash script just far enough to know how a value must be quoted at this place."""

    def __init__(self) -> None:
        self._open: list[str] = []  # of ' " ( `
        self._escaped = False
        self._comment = False
        self._last = "\n"

    def feed(self, text: str) -> None:
        """Read on."""
        for char in text:
            if self._comment:
                self._comment = char != "\n"
            elif self._escaped:
                self._escaped = False
            else:
                self._read(char, self._open[-1] if self._open else "")
            self._last = char

    def _read(self, char: str, top: str) -> None:
        if top == "'":
            if char == "'":
                self._open.pop()
        elif char == "\\":
            self._escaped = True
        elif char in '"`':
            if top == char:
                self._open.pop()
            else:
                self._open.append(char)
        elif top == '"':
            if char == "(" and self._last == "$":
                self._open.append(char)
        elif char in "'(":
            self._open.append(char)
        elif char == ")" and top == "(":
            self._open.pop()
        elif char == "#" and self._last in " \t\n;&|(":
            self._comment = True

    def quoted(self, values: Sequence[str]) -> str:
        """The values as they must be written here."""
        top = self._open[-1] if self._open else ""
        self._last = "x"
        self._escaped = False
        if self._comment:
            return " ".join(values).replace("\n", " ")
        if top == "'":
            return " ".join(values).replace("'", "'\\''")
        if top == '"':
            return re.sub(r'([\\$`"])', r"\\\1", " ".join(values))
        return " ".join(shlex.quote(value) for value in values)
