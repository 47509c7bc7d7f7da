"""Faults of what a person wrote: collected while reading goes on, raised all at once."""

import difflib
from collections.abc import Iterable, Mapping

from overnight.model.manifest import Fault, Refusal

NAMED = 60  # words that a hint lists: a sheet may have thousands of columns
SHOWN = 100  # a broken generator can spoil every row of a large file; a person reads the first few

Path = tuple[str, ...]


class Faults:
    """A sink for faults. Keeps the first `SHOWN` and counts the rest."""

    def __init__(self) -> None:
        self.found: list[Fault] = []
        self.more = 0

    def add(self, message: str, *, file: str | None = None, line: int | None = None, hint: str | None = None) -> None:
        """Note one fault."""
        if len(self.found) < SHOWN:
            self.found.append(Fault(message=message, file=file, line=line, hint=hint))
        else:
            self.more += 1

    def __bool__(self) -> bool:
        return bool(self.found)

    def refuse(self, what: str) -> None:
        """Raise `Refusal` with everything found; return when there is nothing."""
        if not self.found:
            return
        faults = tuple(sorted(self.found, key=lambda fault: (fault.file or "", fault.line or 0)))
        if self.more:
            faults += (Fault(message=f"and {self.more:,} more faults"),)
        if len(self.found) == 1:
            only = self.found[0]
            place = "" if only.file is None else f"{only.file}{f':{only.line}' if only.line else ''}: "
            raise Refusal(place + only.message, only.hint or "nothing was written", faults)
        count = len(self.found) + self.more
        files = {fault.file for fault in self.found}
        what = files.pop() or what if len(files) == 1 else what
        raise Refusal(f"{what} has {count:,} faults", "correct them and try again; nothing was written", faults)


class Source:
    """Where tables were written, so that a fault can name file and line.

    `lines` maps the path of a key to its line; `options` maps the path of a key that came from the command line
    to the option as typed.
    """

    def __init__(
        self,
        faults: Faults,
        file: str | None = None,
        lines: Mapping[Path, int] | None = None,
        options: Mapping[Path, str] | None = None,
    ) -> None:
        self.faults = faults
        self.file = file
        self._lines = lines or {}
        self._options = options or {}

    def with_options(self, options: Mapping[Path, str]) -> "Source":
        """The same, with keys that came from the command line."""
        return Source(self.faults, self.file, self._lines, options)

    def line(self, path: Path) -> int | None:
        """The line of the key, or of the nearest table around it that was found."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return None

    def fault(self, path: Path, message: str, hint: str | None = None) -> None:
        """Note a fault of the key at `path`."""
        option = self._options.get(path)
        if option is None and path not in self._lines:  # a whole table that only options speak of
            size = len(path)
            option = next((typed for key, typed in self._options.items() if key[:size] == path), None)
        if option is not None:
            self.faults.add(f"{option}: {message}", hint=hint)
        else:
            self.faults.add(message, file=self.file, line=self.line(path), hint=hint)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, if one is near."""
    candidates = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), candidates, n=1, cutoff=0.6)
    return candidates[found[0]] if found else None


def guess(word: str, known: Iterable[str]) -> str | None:
    """A hint that names the nearest known word, else all of them."""
    names = sorted(known)
    near = nearest(word, names)
    if near is not None:
        return f"did you mean {near}?"
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"allowed: {', '.join(names[:NAMED])}{more}" if names else None
