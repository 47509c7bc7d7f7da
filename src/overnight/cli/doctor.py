"""`overnight doctor`: is this host fit for a night?"""

import click

from overnight.cli import speak
from overnight.cli.options import common

_COLOURS = {"ok": "green", "note": "cyan", "warn": "yellow", "bad": "red"}
UNFIT = 4


@click.command("doctor")
@click.option(
    "--notify",
    "telling",
    is_flag=True,
    help="Also send a test notice through every channel, and call the ping's address.",
)
@common
def command(root: str | None, as_json: bool, telling: bool) -> int:
    """Look at this host and this root: one line each, with what to do.

    \b
    ok    as it should be
    note  something more could be had
    warn  it will hurt some night
    bad   it hurts now: exit code 4
    """
    from overnight.api import doctor
    from overnight.model.health import Check, Health

    place, checks = doctor.examine(root)
    if telling:
        for tried in doctor.tell_test():
            health = Health.OK if tried.took else Health.BAD
            ping = tried.channel == "ping"
            took = "its address answers" if ping else "it took the test notice"
            hint = "" if tried.took else f"correct [{'ping' if ping else 'notify'}] in your own config.toml"
            checks.append(Check("test", health, f"{tried.channel}: {took if tried.took else tried.words}", hint))
    bad = sum(each.health == Health.BAD for each in checks)
    if as_json:
        speak.say_json(
            {
                "root": place.root_name, "state": place.state_name, "bad": bad,
                "checks": [
                    {"name": each.name, "health": each.health.value, "words": each.words, "hint": each.hint}
                    for each in checks
                ],
            }
        )  # fmt: skip
        return UNFIT if bad else 0
    wide = max(len(each.name) for each in checks)
    for each in checks:
        mark = speak.paint(each.health.value.ljust(4), _COLOURS[each.health.value])
        speak.say(f"{mark}  {each.name.ljust(wide)}  {each.words}")
        if each.hint:
            speak.say(f"{' ' * (wide + 8)}hint: {each.hint}")
    return UNFIT if bad else 0
