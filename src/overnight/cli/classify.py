"""`overnight classify`: name the failure that a log shows."""

import sys

import click

from overnight.cli import speak
from overnight.cli.options import common, ended


@click.command("classify")
@click.argument("log", metavar="LOG")
@ended
@click.option("--scheduler-state", metavar="S", help="What the batch system said, such as OUT_OF_MEMORY.")
@click.option("--rules", metavar="FILE", help="Rules of your own, tried before ours.")
@common
def command(
    log: str,
    exit_code: int | None,
    signal: str | None,
    scheduler_state: str | None,
    rules: str | None,
    root: str | None,
    as_json: bool,
) -> int:
    """Name the failure that a log shows, with the line that proves it. `-` reads stdin.

    Needs no campaign. The class is `none` when nothing failed.
    """
    from overnight.api.classifying import classify, document

    source = sys.stdin.buffer.read() if log == "-" else log
    found = classify(source, exit_code=exit_code, signal=signal, scheduler_state=scheduler_state, rules=rules)
    if as_json:
        speak.say_json(document(found))
        return 0
    kind = "may pass by itself" if found.transient else "will not pass by itself"
    speak.say(f"{speak.bold(found.name)}" + (f"  ({kind})" if found.name != "none" else "  (nothing failed)"))
    if found.message:
        speak.say(found.message)
    if found.evidence is not None and found.evidence.text:
        where = f"line {found.evidence.line:,}: " if found.evidence.line is not None else ""
        speak.say(f"{where}{found.evidence.text}")
    if found.consequences:
        speak.say(f"consequences: {', '.join(found.consequences)}")
    if found.rule:
        speak.say(f"rule: {found.rule}")
    return 0
