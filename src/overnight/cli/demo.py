"""`overnight demo`: the main job, shown: faults go in, a morning screen comes out."""

import click

from overnight.cli import speak
from overnight.cli.options import common


@click.command("demo")
@common
def command(root: str | None, as_json: bool) -> int:
    """Twelve short training runs on this machine: a silent hang, a hang that prints, a network error that passes,
    a process killed by signal 9, a certain error, and the supervisor itself killed once. About a minute.
    """
    from overnight.api import demo
    from overnight.cli import watch

    campaign = demo.start(root)
    speak.tell(f"{campaign.id}: 12 runs, {demo.SLOTS} at a time; files in {campaign.root}")
    over = demo.kill_supervisor_once(campaign, speak.tell)
    try:
        code = watch.wait_for(campaign, True) if as_json else watch.look_on(campaign)
    finally:
        over.set()
        demo.leave(campaign.place)
    if code == 130:
        return code
    if demo.as_expected(campaign):
        speak.tell("as it must be: 11 succeeded, 1 failed for its true cause")
        return 0
    speak.tell("not as it must be: 11 succeeded and 1 failed with config were expected")
    return 1
