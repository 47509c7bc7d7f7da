"""`overnight launch`: start a campaign, or go on with one."""

from typing import TYPE_CHECKING, Any

import click

from overnight.cli import speak, words
from overnight.cli.options import common
from overnight.queries.words import duration

if TYPE_CHECKING:
    from overnight.api.campaign import Campaign
    from overnight.api.launching import Prepared
    from overnight.model.policy import Policy

_DRY_ROWS = 5


class _WithCommand(click.Command):
    """What stands behind `--` is the runs' command, whatever it looks like."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta["command"] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


@click.command("launch", cls=_WithCommand)
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--runs", metavar="FILE", help="Rows: CSV or JSONL, one run a row.")
@click.option("--name", help="The campaign's name (default: the file's, the rows' or the command's).")
@click.option("--gpus", metavar="N", help="GPUs an attempt: a number, a fraction, `all`, 0.")
@click.option("--slots", type=click.IntRange(min=1), metavar="N", help="At most N attempts side by side.")
@click.option("--timeout", metavar="D", help="Bound of a run's running time, such as 8h (default 24h).")
@click.option("--set", "settings", multiple=True, metavar="K=V", help="Any key of the campaign file.")
@click.option("--only", metavar="GLOB", help="Only the runs whose names match.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N runs.")
@click.option("--executor", metavar="E", help="Where attempts run: local, fake.")
@click.option(
    "--wait",
    is_flag=True,
    help="Return when nothing can move without you; exit 1 if not all succeeded. While a probe may still let held runs "
    "go (a path that is missing, a host, a full disk: up to 24 hours) it waits.",
)
@click.option("--watch", "watching", is_flag=True, help="Then look on, live.")
@click.option("--dry-run", is_flag=True, help="Show what would run; write nothing.")
@click.option("--fresh", is_flag=True, help="Even though an unfinished campaign has this name.")
@common
@click.pass_context
def command(
    ctx: click.Context,
    /,
    wait: bool,
    watching: bool,
    dry_run: bool,
    fresh: bool,
    root: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Start a campaign, or go on with the one that these rows and this command already are.

    \b
    overnight launch sweep.toml
    overnight launch --runs sweep.csv -- python train.py seed={seed} out_dir={out_dir}
    overnight launch -- python train.py
    """
    from overnight.api.launching import prepare, start

    prepared = prepare(command=ctx.meta.get("command"), root=root, **options)
    if dry_run:
        _show(prepared, as_json)
        return 0
    campaign = start(prepared, fresh=fresh)
    if not as_json:
        for warning in campaign.warnings:
            speak.warn(warning)
        if campaign.known:
            speak.tell(campaign.words)
    if wait or watching:
        if not as_json:
            speak.tell(_headline(prepared, campaign.id))
        from overnight.cli.watch import look_on, wait_for

        return look_on(campaign) if watching and not as_json else wait_for(campaign, as_json)
    if as_json:
        speak.say_json(_document(prepared, campaign.id))
    elif campaign.known:
        from overnight.cli.status import show

        show(campaign)
    else:
        _close(prepared, campaign)
    return 0


def _document(prepared: "Prepared", name: str) -> dict[str, object]:
    frozen = prepared.frozen
    return {
        "campaign": name,
        "manifest_sha256": frozen.sha256,
        "runs": len(frozen.runs),
        "root": str(prepared.place.root),
    }


def _headline(prepared: "Prepared", name: str) -> str:
    policy = prepared.frozen.policy
    runs = words.plural(len(prepared.frozen.runs), "run")
    return f"{name}: {runs}, {_side_by_side(policy, prepared.slots, len(prepared.devices))}"


def _side_by_side(policy: "Policy", slots: int, devices: int) -> str:
    gpus = policy.resources.gpus
    if policy.executor == "fake":
        return f"{slots} at a time, pretended (executor fake)"
    if gpus <= 0:
        return f"{slots} at a time without GPUs"
    each = words.plural(int(gpus), "GPU") if gpus >= 1 else f"{gpus:g} of a GPU"
    return f"{slots} at a time × {each}, of {words.plural(devices, 'GPU')} here"


def limits_in_force(policy: "Policy") -> str:
    """One line: every bound that holds."""
    limits = policy.limits
    parts = [f"timeout {duration(limits.timeout)} a run"]
    if limits.attempt_timeout != limits.timeout:
        parts.append(f"{duration(limits.attempt_timeout)} an attempt")
    parts += [f"{name} {_limit(getattr(limits, name))}" for name in ("startup", "heartbeat", "progress", "grace")]
    if limits.deadline is not None:
        parts.append(f"deadline {limits.deadline}")
    return ", ".join(parts)


def _limit(value: float | str | None) -> str:
    return value if isinstance(value, str) else duration(value)


def _close(prepared: "Prepared", campaign: "Campaign") -> None:
    name = campaign.id
    speak.say(_headline(prepared, speak.bold(name)))
    speak.say(f"limits: {limits_in_force(prepared.frozen.policy)}")
    speak.say(f"files:  {campaign.path}")
    first = prepared.frozen.runs[0].run_id
    speak.say("next:")
    speak.table(
        [
            (f"overnight watch {name}", "look on, live"),
            (f"overnight status {name}", "what needs you, what runs"),
            (f"overnight logs {name} {first} -f", "follow a run's output"),
        ]
    )


def _show(prepared: "Prepared", as_json: bool) -> None:
    """`--dry-run`: what would run, with the first rows' commands as they would be typed."""
    from overnight.api.rehearsal import first_commands

    commands = first_commands(prepared, _DRY_ROWS)
    if as_json:
        shown = [{"run_id": run_id, "command": text} for run_id, text in commands]
        document = _document(prepared, prepared.frozen.campaign)
        speak.say_json({**document, "dry_run": True, "commands": shown, "warnings": list(prepared.warnings)})
        return
    for warning in prepared.warnings:
        speak.warn(warning)
    speak.say(_headline(prepared, speak.bold(prepared.frozen.campaign)))
    speak.say(f"limits: {limits_in_force(prepared.frozen.policy)}")
    speak.say(f"in:     {prepared.folder}")
    speak.say(f"files:  {prepared.place.root / 'campaigns' / prepared.frozen.campaign} (nothing written yet)")
    speak.table(commands)
    more = len(prepared.frozen.runs) - len(commands)
    if more > 0:
        speak.say(f"  … and {words.plural(more, 'more run')}")
