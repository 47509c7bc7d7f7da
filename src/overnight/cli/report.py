"""`overnight report`: what ended badly over all campaigns, and what it cost."""

from typing import TYPE_CHECKING, Literal

import click

from overnight.cli import speak, words
from overnight.cli.options import common

if TYPE_CHECKING:
    from overnight.model.reports import LossLine, LossReport

_BY = ("class", "host", "slot", "rule")


@click.command("report")
@click.option("--by", type=click.Choice(_BY), default="class", help="What they have in common (default: class).")
@click.option("--since", metavar="D", help="Only what ended in the last 7d, 12h, ….")
@common
def command(by: Literal["class", "host", "slot", "rule"], since: str | None, root: str | None, as_json: bool) -> int:
    """Attempts that ended badly over all campaigns, costliest first, each kind with an example to look at.

    Attempts that a person ended are left out.
    """
    from overnight.api.reporting import report

    found = report(by, since=since, root=root)
    if as_json:
        speak.say_json(found)
    else:
        _show(found, since)
    return 0


def _show(found: "LossReport", since: str | None) -> None:
    for root in found.unread:
        speak.warn(f"{root.root} is left out: {root.why}")
    when = f" in the last {since}" if since else ""
    where = words.plural(found.campaigns, "campaign")
    if not found.campaigns:
        speak.say("no campaigns yet; overnight launch starts one")
        return
    if not found.lines:
        speak.say(f"nothing ended badly{when} ({where})")
        return
    runs = words.plural(found.runs, "run")
    speak.say(
        f"{speak.bold(words.plural(found.attempts, 'attempt'))} of {runs} in {where} ended badly{when}; "
        f"{words.hours(found.gpu_hours_lost)} GPU-hours lost"
    )
    heads = (found.by, "attempts", "runs", "GPU-hours lost", "last", "example")
    rows = [heads, *(_line(line) for line in found.lines)]
    room = speak.columns()
    if room is None or sum(max(map(len, column)) + 2 for column in zip(*rows, strict=True)) <= room:
        speak.table(rows)
        return
    # The command is what a person copies: below its line where it would be broken.
    for place, cells in enumerate(speak.laid_out((row[:-1] for row in rows), room - 2, ((0, 12),))):
        speak.say("  " + "  ".join(cells).rstrip())
        if place:
            speak.say(f"      {rows[place][-1]}")


def _line(line: "LossLine") -> tuple[str, ...]:
    return (
        f"{line.name} on {line.host}" if line.host else line.name,
        f"{line.attempts:,}",
        f"{line.runs:,}",
        words.hours(line.gpu_hours_lost),
        line.last_at or "",
        line.example.command,
    )
