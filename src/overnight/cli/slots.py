"""`overnight slots`: the GPUs of this host, whoever uses them."""

from typing import TYPE_CHECKING

import click

from overnight.cli import speak
from overnight.cli.options import common

if TYPE_CHECKING:
    from overnight.model.reports import SlotLine, SlotsReport

_MIB = 2**20
gpus_argument = click.argument("gpus", metavar="GPU...", nargs=-1, required=True)


@click.group("slots", invoke_without_command=True)
@common
@click.pass_context
def command(context: click.Context, root: str | None, as_json: bool) -> int:
    """The GPUs of this host and the CPU slots in use: who holds them, since when, what is set aside and why.

    Slots are the host's: all roots and users share them, and no supervisor is needed.
    """
    if context.invoked_subcommand is None:
        from overnight.api.slots import slots

        _show(slots(), as_json)
    return 0


@command.command("drain")
@gpus_argument
@click.option("--until", metavar="TIME", help="When it ends by itself: 08:00 (the next one), or 2h.")
@click.option("--why", default="", metavar="TEXT", help="For whoever waits for it.")
@common
def drain(gpus: tuple[str, ...], until: str | None, why: str, root: str | None, as_json: bool) -> int:
    """Let what runs on these GPUs finish, and start nothing new on them. GPU: a number, or a UUID."""
    from overnight.api.slots import drain

    _show(drain(gpus, until, why), as_json)
    return 0


@command.command("release")
@gpus_argument
@common
def release(gpus: tuple[str, ...], root: str | None, as_json: bool) -> int:
    """End the drain or quarantine of these GPUs. What waits for one is started within a second."""
    from overnight.api.slots import release

    _show(release(gpus), as_json)
    return 0


def _show(report: "SlotsReport", as_json: bool) -> None:
    if as_json:
        speak.say_json(report)
        return
    if not report.slots:
        speak.say(f"no GPU is known on {report.host}, and no CPU slot is in use")
        return
    head = ("SLOT", "STATE", "HOLDER", "SINCE", "MEMORY")
    speak.table([head, *(_row(line) for line in report.slots)], indent="", painted=1)
    for line in report.slots:
        said = [line.reason, f"until {line.until}" if line.until else ""]
        if words := "; ".join(each for each in said if each):
            speak.say_wrapped(f"{line.slot}: {words}")
        if line.command:
            speak.say(f"      {line.command}")


def _row(line: "SlotLine") -> tuple[str, ...]:
    holder = "/".join(each for each in (line.campaign, line.run_id) if each)
    if line.attempt:
        holder += f" attempt {line.attempt}"
    if line.user:
        holder = f"{holder} ({line.user})" if holder else line.user
    memory = "" if line.memory_used is None else f"{line.memory_used / _MIB:.0f} MiB"
    if line.memory_used is not None and line.memory_total:
        memory = f"{memory} of {line.memory_total / _MIB:.0f}"
    return line.slot, line.state, holder, line.since or "", memory
