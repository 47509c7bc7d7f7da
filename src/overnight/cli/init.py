"""`overnight init`: write a commented overnight.toml by looking at the folder."""

import shlex
from pathlib import Path

import click

from overnight.cli import speak
from overnight.cli.options import common


@click.command("init")
@click.argument("folder", required=False, default=".", metavar="[FOLDER]")
@common
def command(folder: str, root: str | None, as_json: bool) -> int:
    """Write a commented overnight.toml for this folder. Never overwrites one."""
    from overnight.api.beginning import begin

    begun = begin(Path(folder))
    if as_json:
        speak.say_json({"file": str(begun.file), "command": begun.command, "runs": begun.runs, "found": begun.found})
        return 0
    speak.say(f"wrote {begun.file}")
    for line in begun.found:
        speak.say(f"  {line}")
    speak.say("next:")
    name = shlex.quote(str(begun.file) if folder != "." else begun.file.name)
    speak.table(
        [
            (f"overnight launch {name} --dry-run", "what would run; writes nothing"),
            (f"overnight launch {name}", "start it"),
        ]
    )
    return 0
