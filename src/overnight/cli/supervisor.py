"""`overnight supervisor`: the process that watches."""

from pathlib import Path
from typing import Any

import click

from overnight.cli import speak
from overnight.cli.options import common


@click.group("supervisor")
def command() -> None:
    """The process that watches all campaigns under a root. It starts by itself when it is needed."""


@command.command("start")
@common
def start(root: str | None, as_json: bool) -> int:
    """Bring it up, if it is not."""
    from overnight.api import watchers

    place = watchers.place(root)
    watchers.start(place)
    return _report(place, as_json)


@command.command("stop")
@common
def stop(root: str | None, as_json: bool) -> int:
    """Let it go, until somebody asks for work again. Ends no run: live ones are bounded by their shims."""
    from overnight.api import watchers

    place = watchers.place(root)
    was_alive = watchers.stop(place)
    if as_json:
        speak.say_json({"root": str(place.root), "alive": False, "pid": None, "was_alive": was_alive})
    else:
        speak.say("stopped; live runs go on, bounded by their shims" if was_alive else "none was running")
    return 0


@command.command("status")
@common
def status(root: str | None, as_json: bool) -> int:
    """Whether somebody is watching, and who."""
    from overnight.api import watchers

    return _report(watchers.place(root), as_json)


@command.command("restart")
@common
def restart(root: str | None, as_json: bool) -> int:
    """Stop it and bring it up again, for instance after an update. No run notices."""
    from overnight.api import watchers

    place = watchers.place(root)
    watchers.restart(place)
    return _report(place, as_json)


@command.command("install")
@click.option("--uninstall", is_flag=True, help="Take out what install wrote.")
@click.option("--dry-run", is_flag=True, help="Show what would be written; write nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def install(root: str | None, as_json: bool, uninstall: bool, dry_run: bool, yes: bool) -> int:
    """Keep somebody watching this root: after a reboot, a logout, a kill of everything.

    Writes a systemd user unit where those work, else a line into your crontab, and shows it first. `supervisor stop`
    still means what it says.
    """
    from overnight.api import installing, watchers

    place = watchers.place(root)
    if uninstall:
        return _uninstall(place, as_json, dry_run)
    planned = installing.plan(place)
    if not as_json:
        speak.say(f"{planned.path}{' has' if planned.current else ' gets'}:")
        for line in planned.text.splitlines():
            speak.say(f"    {line}" if line else "")
        for warning in planned.warnings:
            speak.warn(warning)
    if not (dry_run or planned.current):
        _agreed(yes, as_json)
    if not dry_run:
        installing.install(place, planned)
    if as_json:
        speak.say_json(
            {
                "root": str(place.root), "state": str(place.state), "method": planned.method, "name": planned.name,
                "path": planned.path, "text": planned.text, "installed": planned.current or not dry_run,
                "changed": not (dry_run or planned.current), "warnings": list(planned.warnings),
            }
        )  # fmt: skip
    elif dry_run:
        speak.say("installed" if planned.current else "nothing was written")
    else:
        speak.say(
            "it was there already" if planned.current else f"installed: {planned.method} keeps {place.root} watched"
        )
    return 0


def _agreed(yes: bool, as_json: bool) -> None:
    """Raises unless a person agrees."""
    if yes:
        return
    import sys

    from overnight.api.errors import Refused

    if as_json or not sys.stdin.isatty():
        raise Refused("nothing was written: nobody agreed to it", "add --yes, or --dry-run to see it")
    click.confirm("Write it?", abort=True, err=True)


def _uninstall(place: Any, as_json: bool, dry_run: bool) -> int:
    from overnight.api import installing

    if dry_run:
        method = installing.installed(place)
        if as_json:
            speak.say_json({"root": str(place.root), "removed": [], "installed": method is not None})
        else:
            speak.say(f"would be removed: {method}" if method else "nothing is installed for this root")
        return 0
    removed = installing.uninstall(place)
    if as_json:
        speak.say_json({"root": str(place.root), "removed": removed, "installed": False})
    else:
        speak.say(f"removed: {', '.join(removed)}" if removed else "nothing was installed for this root")
    return 0


def _report(place: Any, as_json: bool) -> int:
    from overnight.api import watchers
    from overnight.artifacts.layout import of_root

    report = watchers.report(place)
    if as_json:
        speak.say_json(
            {
                "root": str(place.root),
                "state": str(place.state),
                "alive": report.alive,
                "pid": report.pid,
                "watch_only": report.watch_only,
                "problem": report.problem,
                "words": report.words,
            }
        )
        return 0
    if report.alive:
        speak.say(f"pid {report.pid} watches {place.root}" + (", starting nothing" if report.watch_only else ""))
    else:
        why = f" ({report.words})" if report.words else ""
        speak.say(f"nobody watches {place.root}{why}; overnight supervisor start {of_root(place.root)}")
    speak.say(f"its log: {Path(place.state) / 'supervisor.log'}")
    return 0
