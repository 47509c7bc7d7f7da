"""`overnight rules`: the rules that name failures."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from overnight.cli import speak, words
from overnight.cli.options import common, ended

if TYPE_CHECKING:
    from overnight.api.ruling import Near, Test

F = TypeVar("F", bound=Callable[..., Any])
_TEXT_SHOWN = 100


@click.group("rules")
def command() -> None:
    """The rules that name failures: ours, and a file of your own before them.

    `[failures] rules = "mine.toml"` in a campaign file makes them a campaign's.
    """


def own_rules(function: F) -> F:
    """`--rules`: a file of a person's own."""
    return click.option("--rules", "file", metavar="FILE", help="Rules of your own, tried before ours.")(function)


@command.command("list")
@click.option("--class", "failure_class", metavar="CLASS", help="Only those of one failure class.")
@own_rules
@common
def listed(failure_class: str | None, file: str | None, root: str | None, as_json: bool) -> int:
    """All rules, by the class that they name."""
    from overnight.api import ruling

    found = ruling.listing(failure_class, file)
    if as_json:
        speak.say_json({"rules": [ruling.rule_document(rule) for rule in found]})
        return 0
    speak.table([(rule.cls, rule.name, rule.role, rule.source) for rule in found], indent="")
    if not found:
        speak.say(f"no rule names {failure_class}: it is not read from logs")
    return 0


@command.command("show")
@click.argument("rule", metavar="RULE")
@own_rules
@common
def show(rule: str, file: str | None, root: str | None, as_json: bool) -> int:
    """One rule: what makes a line a candidate, what decides, what it means, what to do."""
    from overnight.api import ruling

    found = ruling.one(rule, file)
    document = ruling.rule_document(found)
    match, spare = ruling.examples(found)
    if as_json:
        speak.say_json({**document, "examples": {"match": match, "spare": spare}})
        return 0
    speak.say(f"{speak.bold(found.name)}  {found.cls}: {document['meaning']}")
    speak.say(f"role {found.role}, strength {found.written.strength}, weight {found.written.weight}, {found.source}")
    for key in ("find", "pattern", "unless", "near", "away"):
        for text in getattr(found.written, key):
            speak.say(f"  {key:<8}{text}")
    if found.message:
        speak.say(f"  {'message':<8}{found.message}")
    for kind, logs in (("matches", match), ("spares", spare)):
        for log in logs:
            speak.say(f"  {kind}: {' / '.join(log.split(chr(10)))[:_TEXT_SHOWN]}")
    speak.say(f"retry: {document['retry']}")
    if document["remedy"]:
        speak.say(f"what to do: {document['remedy']}")
    return 0


@command.command("test")
@click.argument("log", metavar="LOG")
@own_rules
@ended
@common
def test(log: str, file: str | None, exit_code: int | None, signal: str | None, root: str | None, as_json: bool) -> int:
    """Which rules match a log, at which lines, and why one of them decides. `-` reads stdin.

    With --rules it also says how close each rule of yours came.
    """
    from overnight.api import ruling

    source = sys.stdin.buffer.read() if log == "-" else log
    found = ruling.tested(source, exit_code=exit_code, signal=signal, file=file)
    if as_json:
        speak.say_json(ruling.test_document(found))
    else:
        _tell(found)
    return 0


def _tell(found: "Test") -> None:
    speak.say(speak.bold(found.verdict.name))
    speak.say(found.reason)
    if found.matches:
        speak.say()
        rows = [
            (f"{match.line:,}", match.name, match.rule, match.role, fate, " ".join(match.text.split())[:_TEXT_SHOWN])
            for match, fate in zip(found.matches, found.fates, strict=True)
        ]
        speak.table([("line", "class", "rule", "role", "fate", "text"), *rows])
    if found.own:
        speak.say()
        speak.say(speak.bold("your rules"))
        speak.table([(near.rule, _nearness(near)) for near in found.own])


def _nearness(near: "Near") -> str:
    if not near.candidates:
        return "no line holds one of its literals (find)"
    where = words.listed([f"{line:,}" for line in near.lines], len(near.lines))
    more = "" if near.candidates == len(near.lines) else f" and {near.candidates - len(near.lines)} more"
    held = f"its literals are at line {where}{more}"
    if not near.matches:
        return f"{held}, but no such line fits pattern, unless, near and away"
    return f"{held}; it matches {words.plural(near.matches, 'line')}{', and decides' if near.decided else ''}"
