"""What goes wrong, in the words a person gets: one sentence of what happened, one of what to do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from overnight.model.manifest import Fault, Refusal
from overnight.model.reports import NoSuchThing
from overnight.ports import StoreError


class OvernightError(Exception):
    """Base of all that this package raises on purpose. `exit_code` is the command line's."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.faults = faults

    def __str__(self) -> str:
        faults = self.faults if len(self.faults) > 1 else [f for f in self.faults if self.message not in words_of(f)]
        lines = [self.message, *(f"  {words_of(fault)}" for fault in faults)]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class Refused(OvernightError):
    """The request is wrong as written; nothing was changed. Exit code 2."""

    exit_code = 2


class NotFound(OvernightError):
    """No such campaign, run, attempt or file. Exit code 3."""

    exit_code = 3


class Unreachable(OvernightError):
    """The supervisor, its store or the host cannot be reached. Exit code 4."""

    exit_code = 4


def words_of(fault: Fault) -> str:
    """A fault on one line: `sweep.toml:12: …`."""
    place = ":".join(str(part) for part in (fault.file, fault.line) if part is not None)
    text = f"{place}: {fault.message}" if place else fault.message
    return f"{text} ({fault.hint})" if fault.hint else text


@contextmanager
def in_words() -> Iterator[None]:
    """Turn the inner rooms' refusals into the public ones."""
    try:
        yield
    except Refusal as refusal:
        raise Refused(refusal.message, refusal.hint, refusal.faults) from refusal
    except NoSuchThing as missing:
        raise NotFound(missing.message, missing.hint) from missing
    except StoreError as problem:
        raise Unreachable(str(problem), _hint(problem)) from problem


def _hint(problem: StoreError) -> str | None:
    """What the store says is to be typed, for that very root."""
    hint, path = getattr(problem, "hint", None), getattr(problem, "path", "")
    typed = "overnight rebuild"
    if not path or not hint or not hint.startswith(typed):
        return hint
    from overnight.artifacts.finding import root_of_state
    from overnight.artifacts.layout import of_root

    root = root_of_state(os.path.dirname(path))
    return f"{typed} {of_root(root)}{hint.removeprefix(typed)}" if root else hint
