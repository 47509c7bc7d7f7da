"""What Python callers pass where the command line has words, taken as it is meant, or refused in words."""

import os
from collections.abc import Iterable, Mapping, Sequence

from overnight.api.errors import Refused

Settings = Mapping[str, object] | Sequence[str] | str
"""`KEY=VALUE`, one or several, or a dictionary of them."""


def settings_of(given: Settings) -> tuple[str, ...]:
    """As `--set` takes them."""
    if isinstance(given, str):
        return (given,)
    if isinstance(given, Mapping):
        return tuple(
            f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in given.items()
        )
    return tuple(given)


def command_of(given: object) -> list[str] | str | None:
    """Arguments, or one string for bash. Raises `Refused` for anything that is no text: 0.0001 would reach the program
    as Python spells it, and None as the word None."""
    if given is None or isinstance(given, str):
        return given
    if not isinstance(given, Iterable):
        raise Refused(f"{given!r} is no command", "a list of arguments, or one string for bash")
    found: list[str] = []
    for argument in given:
        if not isinstance(argument, str | os.PathLike):
            raise Refused(
                f"the command has {argument!r} among its arguments, which is no text",
                'write each as the program is to get it, such as "1e-4"',
            )
        found.append(str(os.fspath(argument)))
    return found


def path_of(given: object, what: str) -> None:
    """Raises `Refused` where a file was meant and something else was passed."""
    if given is not None and not isinstance(given, str | os.PathLike):
        raise Refused(f"{what} is the path of a file, and this is a {type(given).__name__}", _HINTS[what])


_HINTS = {
    "file": 'a campaign file, such as "overnight.toml"',
    "runs": "rows are read from a CSV or JSON-lines file: write them to one",
}
