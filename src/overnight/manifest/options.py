"""Options of the command line, laid over what the campaign file says."""

import tomllib
from collections.abc import Sequence
from typing import Any

from overnight.manifest.faults import Path, Source
from overnight.manifest.rows import Written


def overlay(
    data: dict[str, Any],
    source: Source,
    *,
    name: str | None = None,
    gpus: str | None = None,
    slots: int | None = None,
    timeout: str | None = None,
    executor: str | None = None,
    command: Sequence[str] | str | None = None,
    settings: Sequence[str] = (),
) -> Source:
    """Change `data` in place. Returns a source that names options in faults of the keys that they set."""
    typed: dict[Path, str] = {}
    for setting in settings:
        _set_typed(data, setting, typed, source)
    given: list[tuple[Path, object, str]] = []
    if name is not None:
        given.append((("name",), name, "--name"))
    if gpus is not None:
        given.append((("resources", "gpus"), _toml_value(gpus), "--gpus"))
    if slots is not None:
        given.append((("resources", "slots"), slots, "--slots"))
    if timeout is not None:
        given.append((("limits", "timeout"), timeout, "--timeout"))
    if executor is not None:
        given.append((("executor",), executor, "--executor"))
    if command is not None:
        value: object = command if isinstance(command, str) else list(command)
        given.append((("command",), value, "the command after --"))
    for path, value, option in given:
        if path in typed:
            source.faults.add(f"{typed[path]} and {option} name the same thing", hint="keep one of them")
        _put(data, path, value, typed, option, source)
    return source.with_options(typed)


def _set_typed(data: dict[str, Any], setting: str, typed: dict[Path, str], source: Source) -> None:
    key, equals, text = setting.partition("=")
    path = setting_path(key.strip())
    if not equals or not all(path):
        source.faults.add(f"--set {setting}: this is no KEY=VALUE", hint="as in --set limits.heartbeat=45m")
        return
    value: object = text.strip()
    if path[0] not in ("env", "name", "cwd"):
        value = _toml_value(text.strip())
    elif len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        value = text[1:-1]
    _put(data, path, value, typed, f"--set {setting}", source)


def setting_path(key: str) -> Path:
    """The path of a dotted key. What follows `env.` and `retry.class.` is one name, dots and all."""
    for prefix in ("retry.class.", "env."):
        if key.startswith(prefix):
            return (*prefix.rstrip(".").split("."), key[len(prefix) :].strip("\"'"))
    return tuple(part.strip() for part in key.split("."))


def _toml_value(text: str) -> object:
    """A value as TOML reads it; what TOML cannot read is a string, so that `45m` needs no quotes."""
    try:
        found = tomllib.loads(f"value = {text}", parse_float=Written)
    except (tomllib.TOMLDecodeError, ValueError, RecursionError):
        return text
    return found["value"] if set(found) == {"value"} else text


def _put(data: dict[str, Any], path: Path, value: object, typed: dict[Path, str], option: str, source: Source) -> None:
    table = data
    for part in path[:-1]:
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            source.faults.add(f"{option}: {part} is no table", hint="as in --set limits.heartbeat=45m")
            return
        table = inner
    table[path[-1]] = value
    typed[path] = option
