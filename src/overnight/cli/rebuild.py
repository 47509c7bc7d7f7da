"""`overnight rebuild`: make the database anew from the files of a root."""

import click

from overnight.cli import speak, words
from overnight.cli.options import common


@click.command("rebuild")
@common
def command(root: str | None, as_json: bool) -> int:
    """Make the database anew from the files of a root.

    For a database that is lost or damaged. The old one is kept beside it. Every campaign comes back paused:
    nothing starts until `overnight resume`.
    """
    from overnight.api.rebuilding import rebuild

    done = rebuild(root)
    if as_json:
        speak.say_json(done)
        return 0
    if done.set_aside is not None:
        speak.say(f"the old database is kept: {done.set_aside}")
    for campaign, runs in done.campaigns:
        speak.say(f"{campaign}: {words.plural(runs, 'run')}; starts nothing until: overnight resume {campaign}")
    for problem in done.problems:
        speak.tell(f"warning: not read: {problem}")
    return 0
