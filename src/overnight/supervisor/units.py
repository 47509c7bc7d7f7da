"""What a machine is told so that somebody always watches a root: a systemd user unit, or a line of a crontab."""

import hashlib
import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from overnight.artifacts.holder import STOPPED
from overnight.supervisor.keep import importing_us, keeper_command

# What decides where we find files; the rest of the environment is each campaign's own.
_CARRIED = (
    "OVERNIGHT_CONFIG", "OVERNIGHT_SLOTS_DIR", "OVERNIGHT_STATE", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "PYTHONPATH",
)  # fmt: skip
_HEX = 10


class Unspeakable(ValueError):
    """A path that can stand in no unit and no crontab."""


def name_of(root: Path) -> str:
    """`overnight-1a2b3c4d5e`: the same for one root, another for any other."""
    return f"overnight-{hashlib.sha256(os.fsencode(root)).hexdigest()[:_HEX]}"


def carried(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that the watcher needs and a service manager or cron does not have."""
    found = {**{name: env[name] for name in _CARRIED if env.get(name)}}
    found.pop("PYTHONPATH", None)
    path = importing_us().get("PYTHONPATH")
    return found | ({"PYTHONPATH": path} if path else {})


def unit(root: Path, state: Path, env: Mapping[str, str], host: str) -> str:
    """The text of the user unit. Ending it ends the keeper alone: what runs goes on, and is adopted.

    `ConditionHost`: a home directory that several hosts share holds everybody's units.
    """
    words = [*keeper_command(root, state), "--stay", "yes"]
    lines = [
        "[Unit]",
        f"Description=Overnight watches {_plain(str(root)).replace('%', '%%')}",
        f"ConditionHost={host}",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=exec",
        f"ExecStart={' '.join(_unit_word(word) for word in words)}",
        *(f"Environment={_unit_word(f'{name}={value}', dollars=False)}" for name, value in carried(env).items()),
        "KillMode=process",
        "OOMPolicy=continue",
        "Restart=always",
        "RestartSec=1",
        "Delegate=yes",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return "\n".join(lines) + "\n"


def cron_line(root: Path, state: Path, env: Mapping[str, str]) -> str:
    """The line: each minute a keeper is brought up, which goes at once if there is one. Not while a person wants
    nobody to watch."""
    settings = [f"{name}={shlex.quote(_plain(value))}" for name, value in carried(env).items()]
    words = [shlex.quote(_plain(word)) for word in keeper_command(root, state)]
    command = " ".join([*(["env", *settings] if settings else []), *words])
    wish = shlex.quote(_plain(str(state / STOPPED)))
    text = f"[ -e {wish} ] || {command} >/dev/null 2>&1 & # {name_of(root)}"
    return "* * * * * " + text.replace("%", "\\%")  # cron's own: a bare one ends the command


def with_line(table: str, name: str, line: str | None) -> str:
    """A crontab with the line of that name replaced, added or (None) taken out. What others wrote stays as it is."""
    lines = table.splitlines(keepends=True)
    kept = [each for each in lines if not each.rstrip("\n").endswith(f"# {name}")]
    if line is None:
        return "".join(kept)
    if kept and not kept[-1].endswith("\n"):
        kept[-1] += "\n"
    at = next((i for i, each in enumerate(lines) if each.rstrip("\n").endswith(f"# {name}")), len(kept))
    kept.insert(min(at, len(kept)), line + "\n")
    return "".join(kept)


def _plain(text: str) -> str:
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise Unspeakable(f"{text!r} holds a control character")
    return text


def _unit_word(text: str, *, dollars: bool = True) -> str:
    """Quoted for systemd (systemd.syntax(7)); in commands a dollar would name a variable."""
    text = _plain(text).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return '"' + (text.replace("$", "$$") if dollars else text) + '"'
