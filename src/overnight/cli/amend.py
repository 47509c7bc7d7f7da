"""`overnight amend`: change limits, rows or environment of a campaign."""

import click

from overnight.cli.answers import show
from overnight.cli.options import campaign_argument, common, opened


class _WithLists(click.Command):
    """`--drop a b c` is `--drop a --drop b --drop c`: everything up to the next option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        dropping = False
        for word in args:
            if word.startswith("-"):
                dropping = word == "--drop"
                if not dropping:
                    spread.append(word)
            else:
                spread += ["--drop", word] if dropping else [word]
        return super().parse_args(ctx, spread)


@click.command("amend", cls=_WithLists)
@campaign_argument
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--set", "settings", multiple=True, metavar="K=V", help="For example limits.heartbeat=45m.")
@click.option("--runs", metavar="FILE", help="Rows to add, or whose @ columns have changed: CSV or JSONL.")
@click.option("--drop", multiple=True, metavar="RUN", help="Runs that are not wanted any more: one or several.")
@click.option("--env", is_flag=True, help="This shell's environment, for attempts from now on.")
@click.option("--why", default="", metavar="TEXT", help="A note for the revision.")
@common
def command(
    campaign: str,
    file: str | None,
    settings: tuple[str, ...],
    runs: str | None,
    drop: tuple[str, ...],
    env: bool,
    why: str,
    root: str | None,
    as_json: bool,
) -> int:
    """Make a new revision of a campaign. Limits hold at once, also for live attempts."""
    found = opened(campaign, root)
    answer = found.amend(file, settings=settings, runs=runs, drop=drop, env=env, why=why)
    return show(found, answer, as_json)
