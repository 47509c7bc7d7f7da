"""`overnight logs`: the output of a run."""

import gc
import shutil
import sys
from typing import TYPE_CHECKING

import click

from overnight.cli import speak
from overnight.cli.options import campaign_argument, common, opened

if TYPE_CHECKING:
    from overnight.api.campaign import Campaign


@click.command("logs")
@campaign_argument
@click.argument("run", metavar="[RUN]", required=False)
@click.option("-f", "--follow", "following", is_flag=True, help="Go on across attempts until the run ends.")
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="That attempt's (default: the newest).")
@common
def command(
    campaign: str, run: str | None, following: bool, attempt: int | None, root: str | None, as_json: bool
) -> int:
    """The output of a run: of its newest attempt, or of the one named.

    RUN may be left out where the campaign has just one. With --json: where the file is, instead of what is in it.
    """
    from overnight.api.errors import Refused
    from overnight.api.logs import newest_log

    if following and (as_json or attempt is not None):
        raise Refused("-f goes with neither --json nor --attempt", "follow the run, or read one attempt")
    found = opened(campaign, root)
    run = run or _only_run(found)
    try:
        if following:
            _follow(found, run)
            return 0
        log = newest_log(found, run, attempt)
        if as_json:
            size = log.path.stat().st_size
            speak.say_json(
                {"run_id": run, "attempt": log.attempt, "path": str(log.path), "bytes": size, "final": log.final}
            )
            return 0
        with log.path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        speak.stop_talking(sys.stdout)
    return 0


def _only_run(campaign: "Campaign") -> str:
    report = campaign.status(limit=1)
    if report.runs_total == 1:
        return report.runs[0].run_id
    from overnight.api.errors import Refused

    raise Refused(
        f"{campaign.id} has {report.runs_total:,} runs: name one",
        f"for example overnight logs {campaign.id} {report.runs[0].run_id}; overnight status {campaign.id} --all",
    )


def _follow(campaign: "Campaign", run: str) -> None:
    from overnight.api.logs import Log, follow

    gc.enable()
    try:
        for piece in follow(campaign, run):
            if isinstance(piece, Log):
                speak.tell(f"--- {run}, attempt {piece.attempt}")
            else:
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
    except KeyboardInterrupt:
        speak.tell("the run goes on")
        raise
