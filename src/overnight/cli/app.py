"""The group of verbs, each loaded when it is typed, and the one place where errors become words."""

import errno
import os
import sys
from importlib import import_module
from typing import Any

import click

from overnight import __version__
from overnight.cli import speak

# verb: (section of the help, what it does). The module has the verb's name.
VERBS: dict[str, tuple[str, str]] = {
    "launch": ("tonight", "Start a campaign, or go on with one."),
    "watch": ("tonight", "Look on, live, until nothing can move without you."),
    "init": ("tonight", "Write a commented overnight.toml for this folder."),
    "demo": ("tonight", "Twelve short training runs, six faults, one morning screen."),
    "status": ("morning", "What needs you, what it did by itself, what runs now."),
    "results": ("morning", "A row for each run: parameters, metrics, hours."),
    "why": ("morning", "Why a campaign or a run is as it is."),
    "logs": ("morning", "The output of a run."),
    "report": ("morning", "What ended badly over all campaigns, and what it cost."),
    "retry": ("repair", "Try ended runs again."),
    "amend": ("repair", "Change limits, rows or environment of a campaign."),
    "pause": ("repair", "Start nothing new."),
    "resume": ("repair", "Let a paused campaign or held runs go on."),
    "cancel": ("repair", "End runs, or a whole campaign."),
    "slots": ("repair", "The GPUs of this host: look, drain, release."),
    "supervisor": ("machine", "The process that watches: start, stop, status, restart, install."),
    "doctor": ("machine", "Is this host, and this root, fit for a night?"),
    "rebuild": ("machine", "Make the database anew from the files of a root."),
    "classify": ("machine", "Name the failure that a log shows."),
    "rules": ("machine", "The rules that name failures: list, show, test."),
}
SECTIONS = ("tonight", "morning", "repair", "machine")
GROUPS = frozenset({"slots", "supervisor", "rules"})  # a second word belongs to the verb


class NoSuchVerb(click.UsageError):
    """A word that is no verb, with the nearest that is."""

    def __init__(self, name: str, ctx: click.Context) -> None:
        super().__init__(f"no such command: {name}", ctx)
        from difflib import get_close_matches

        near = get_close_matches(name, VERBS, 1)
        self.hint = f"did you mean `overnight {near[0]}`?" if near else "overnight --help lists the commands"


class Verbs(click.Group):
    """Loads a verb's module when it is needed, so that `status` does not pay for `launch`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command = getattr(import_module(f"overnight.cli.{name}"), "command", None)
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in VERBS:
            raise NoSuchVerb(name, ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section in SECTIONS:
            rows = [(name, words) for name, (where, words) in VERBS.items() if where == section]
            if rows:
                with formatter.section(section.capitalize()):
                    formatter.write_dl(rows)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="overnight", message="%(prog)s %(version)s")
def cli() -> None:
    """Run a campaign of ML experiments unattended, and find the truth about it in the morning."""


def run(arguments: list[str]) -> int:
    """Run one command line; returns its exit code. What a person sees of an error is never a traceback."""
    head = arguments[: arguments.index("--")] if "--" in arguments else arguments
    as_json = "--json" in head
    try:
        code = cli.main(args=behind_the_verb(arguments) or ["--help"], prog_name="overnight", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt) as problem:  # click's stands for Python's
        return speak.interrupted(str(problem.__cause__ or problem))
    except click.ClickException as problem:
        code = _usage(problem, as_json)
    except BrokenPipeError:
        code = 0  # whoever read us has seen enough
        speak.stop_talking(sys.stdout)
    except Exception as problem:
        code = _answer(problem, as_json)
    return speak.flush(code if isinstance(code, int) else 0)


def behind_the_verb(arguments: list[str]) -> list[str]:
    """`overnight --root DIR status` means `overnight status --root DIR`, and `slots --json drain 0` means `slots drain
    --json 0`: these two belong to every verb."""
    common, rest = _common(arguments)
    if not rest or rest[0] not in VERBS:
        return arguments
    verb, rest = rest[:1], rest[1:]
    if verb[0] in GROUPS:
        more, rest = _common(rest)
        common += more
        if rest and not rest[0].startswith("-"):
            verb, rest = [*verb, rest[0]], rest[1:]
    return [*verb, *common, *rest]


def _common(arguments: list[str]) -> tuple[list[str], list[str]]:
    """What stands first of the options that every verb has, and the rest."""
    at = 0
    while at < len(arguments):
        if arguments[at] == "--json" or arguments[at].startswith("--root="):
            at += 1
        elif arguments[at] == "--root" and at + 1 < len(arguments):
            at += 2
        else:
            break
    return arguments[:at], arguments[at:]


def _usage(problem: click.ClickException, as_json: bool) -> int:
    context = getattr(problem, "ctx", None)
    if isinstance(problem, click.exceptions.NoArgsIsHelpError) and isinstance(problem.ctx.command, click.Group):
        verb, needed = problem.ctx.command_path, ", ".join(problem.ctx.command.commands)
        speak.refuse(f"{verb} needs a word more", f"one of {needed}; {verb} --help", (), as_json)
        return 2
    hint = getattr(problem, "hint", None) or f"{context.command_path if context else 'overnight'} --help"
    message = problem.format_message().strip().rstrip(".")
    speak.refuse(message[:1].lower() + message[1:], hint, (), as_json)
    return 2


def _answer(problem: Exception, as_json: bool) -> int:
    from overnight.api.errors import OvernightError, words_of

    if isinstance(problem, OvernightError):
        faults: Any = problem.faults
        speak.refuse(problem.message, problem.hint, [(words_of(fault), fault) for fault in faults], as_json)
        return problem.exit_code
    if isinstance(problem, OSError) and problem.errno in {errno.ENOSPC, errno.EDQUOT}:
        speak.refuse(f"no space left on the device: {problem.filename or problem}", "free some space", (), as_json)
        return 4
    if isinstance(problem, OSError) and problem.errno == errno.ENAMETOOLONG:
        speak.refuse(f"a path of {len(str(problem.filename)):,} characters is too long", "shorten it", (), as_json)
        return 2
    if isinstance(problem, PermissionError):
        whose = "see whom it belongs to; a root of your own is named with --root or OVERNIGHT_ROOT"
        speak.refuse(f"{problem.filename or problem}: permission denied", whose, (), as_json)
        return 4
    if isinstance(problem, FileNotFoundError) and not _somewhere():
        speak.refuse("the directory that you are in is not there any more", "cd to one that is", (), as_json)
        return 2
    return _internal(problem, as_json)


def _somewhere() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _internal(problem: Exception, as_json: bool) -> int:
    """Our own fault: one line for the person, the trace into a file for whoever mends it."""
    import traceback

    trace = "".join(traceback.format_exception(problem))
    if os.environ.get("OVERNIGHT_DEBUG", "0") not in {"", "0"}:
        speak.tell(trace.rstrip())
        where = "the trace is above"
    else:
        import tempfile

        try:
            with tempfile.NamedTemporaryFile(
                "w", prefix="overnight-error-", suffix=".txt", delete=False, encoding="utf-8", errors="replace"
            ) as file:
                file.write(f"overnight {' '.join(sys.argv[1:])}\n\n{trace}")
            where = f"the trace is in {file.name}"
        except OSError:
            where = "the trace could not be written; OVERNIGHT_DEBUG=1 shows it"
    words = " ".join(str(problem).split())[:300]
    speak.refuse(f"internal: {type(problem).__name__}: {words}", f"please report it; {where}", (), as_json)
    return 4
