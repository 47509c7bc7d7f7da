"""The command and `[env]` of a campaign, and the defaults that follow from the command."""

import re
import shlex
from collections.abc import Sequence
from pathlib import PurePath

from overnight.manifest.placeholders import words
from overnight.manifest.rows import toml_text, unfit
from overnight.manifest.specs import ENV_NAME, safe_name
from overnight.manifest.tables import Table, shown

Command = tuple[str, ...] | str

_LAUNCHERS = frozenset({"torchrun", "accelerate", "deepspeed", "mpirun", "mpiexec", "horovodrun"})
_LAUNCHER_MODULES = frozenset(
    {"torch.distributed.run", "torch.distributed.launch", "accelerate.commands.launch", "deepspeed.launcher.runner"}
)
_SCRIPT = re.compile(r"[^\s{}]*\.(?:py|sh|bash|R|jl|pl)")
_INTERPRETER = re.compile(
    r"(?:python|pypy)[\d.]*|bash|sh|zsh|env|uv|poetry|conda|nohup|time|srun|stdbuf|perl|julia|Rscript"
)
_SEPARATORS = re.compile(r"[\s;|&()]+")


def command_of(top: Table, *, typed: bool) -> Command | None:
    """The command as written: a list of arguments, or a string for `bash -c`. None after a fault."""
    if "command" not in top:
        hint = "overnight launch … -- COMMAND" if top.source.file is None else 'command = ["python", "train.py", …]'
        top.source.faults.add("there is no command", file=top.source.file, hint=hint)
        return None
    value = top.data["command"]
    if isinstance(value, str):
        command: Command = value
        texts: Sequence[str] = [value]
    elif isinstance(value, list):
        found = [toml_text(entry) for entry in value]
        if None in found:
            top.fault("command", "an argument is a list or a table", "a list of strings, or one string for bash")
            return None
        texts = [text for text in found if text is not None]
        command = tuple(texts)
    else:
        top.fault("command", f"{shown(value)} is no command", "a list of strings, or one string for bash")
        return None
    if not texts or not texts[0].strip():
        hint = "overnight launch … -- COMMAND" if typed else 'command = ["python", "train.py", …]'
        top.fault("command", "it is empty", hint)
        return None
    for text in texts:
        if problem := unfit(text):
            top.fault("command", f"it holds {problem}")
            return None
    return command


def env_of(top: Table) -> dict[str, str]:
    """`[env]`, values as strings. Variables that are set for each run cannot be set here."""
    table = top.table("env")
    found: dict[str, str] = {}
    for name, value in table.data.items():
        text = toml_text(value)
        if not ENV_NAME.fullmatch(name):
            table.fault(name, "this names no environment variable", "letters, digits and underscore")
        elif name.startswith("OVERNIGHT_"):
            table.fault(name, "variables that begin with OVERNIGHT_ are set for each run", "choose another name")
        elif text is None:
            table.fault(name, f"{shown(value)} is no text", "a string is allowed")
        elif problem := unfit(text):
            table.fault(name, f"it holds {problem}")
        else:
            found[name] = text
    return found


def starts_launcher(command: Command) -> bool:
    """Whether the command starts one process per GPU by itself. Only what stands before the script counts."""
    return any(PurePath(token).name in _LAUNCHERS or token in _LAUNCHER_MODULES for token in _head(command))


def default_gpus(command: Command, devices: int) -> float:
    """GPUs of an attempt when the file names none: all for what can use all, else one; none where none are."""
    if devices == 0:
        return 0.0
    named = "gpus" in words([command] if isinstance(command, str) else command)
    return float(devices) if named or starts_launcher(command) else 1.0


def default_name(command: Command) -> str:
    """The script's base name without its suffix, where an interpreter or a launcher runs one; else the
    command's base name."""
    tokens = _tokens(command)
    first = PurePath(tokens[0]).name if tokens else ""
    if _INTERPRETER.fullmatch(first) or starts_launcher(command):
        script = next((token for token in tokens if _SCRIPT.fullmatch(token)), None)
        if script is not None:
            return safe_name(PurePath(script).stem, 64) or "campaign"
    return safe_name(first, 64) or "campaign"


def _head(command: Command) -> list[str]:
    tokens = _tokens(command)
    for at, token in enumerate(tokens):
        if _SCRIPT.fullmatch(token):
            return tokens[:at]
    return tokens


def _tokens(command: Command) -> list[str]:
    if not isinstance(command, str):
        return list(command)
    try:
        return [part for word in shlex.split(command, comments=True) for part in _SEPARATORS.split(word) if part]
    except ValueError:
        return [part for part in _SEPARATORS.split(command) if part]
