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
    watchers.stop(place)
    watchers.start(place)
    return _report(place, as_json)


def _report(place: Any, as_json: bool) -> int:
    from overnight.api import watchers

    report = watchers.report(place)
    if as_json:
        speak.say_json(
            {
                "root": str(place.root),
                "state": str(place.state),
                "alive": report.alive,
                "pid": report.pid,
                "watch_only": report.watch_only,
            }
        )
        return 0
    if report.alive:
        speak.say(f"pid {report.pid} watches {place.root}" + (", starting nothing" if report.watch_only else ""))
    else:
        speak.say(f"nobody watches {place.root}; overnight supervisor start")
    speak.say(f"its log: {Path(place.state) / 'supervisor.log'}")
    return 0
