"""A person's own rules: a file like ours, tried before ours.

Whoever launches reads and checks the file (`faults_in`), for everything at once; the supervisor, who has its text in
the campaign's policy, only reads it (`with_own`).
"""

import difflib
import functools
import json
import re
import string
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from overnight.failures.judge import classify, explain
from overnight.failures.outcome import Outcome
from overnight.failures.rules import (
    EXAMPLES_MARK,
    OWN_WEIGHT,
    ROLES,
    SAID,
    STRENGTHS,
    Rule,
    RuleFault,
    RuleSet,
    Written,
    either,
    examples_of,
    load_rules,
)
from overnight.model.classes import CLASSES
from overnight.model.codec import ValidationError, convert
from overnight.model.manifest import Fault

PREFIX = "own:"  # before the names of own rules, so that no rule of ours, of whatever version, has the same
RULES_MOST = 200
_TRIAL = Path(__file__).with_name("trial.py")
_TRIAL_SECONDS = 60.0

# What only the supervisor can know. A rule that said `none` would turn a failure into a success.
NOT_FROM_LOGS = frozenset(
    {
        "none", "cancelled", "internal", "teardown.hung", "artifact.missing", "gate.failed", "timeout.wall",
        "timeout.attempt", "stall.startup", "stall.output", "stall.progress",
    }
)  # fmt: skip
ALLOWED = tuple(name for name in CLASSES if name not in NOT_FROM_LOGS)

KEYS = (
    "class", "find", "role", "pattern", "unless", "near", "away", "strength", "weight", "message", "authority", "hardy",
    "launcher",
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PATTERN_KEYS = ("pattern", "unless", "near", "away")
_LEAST_LITERAL = 3  # characters: a shorter one would make nearly every line a candidate


@functools.lru_cache(maxsize=8)
def with_own(text: str, source: str = "own") -> RuleSet:
    """Our rules with a person's before them. `source`: the file's name, for people.

    Raises `RuleFault` with the first fault: a text that was checked has none, but an older version may have
    checked it.
    """
    found: list[Fault] = []
    rules = _read(text, source, found)
    if found:
        raise RuleFault(f"{source}: {found[0].message}")
    return RuleSet([*rules, *load_rules().rules])


def faults_in(text: str, source: str = "own") -> tuple[Fault, ...]:
    """Everything wrong with a file of rules, by line: its form, patterns that take too long on some line, and
    examples that do not get what they should. Starts a process, for a minute at most."""
    found: list[Fault] = []
    rules = _read(text, source, found)
    if not found:
        found += _slow(text, source, rules)
    if not found:
        found += _examples(text, source, rules)
    return tuple(sorted(found, key=lambda fault: fault.line or 0))


# --- form --------------------------------------------------------------------------------------------------


def _read(text: str, source: str, found: list[Fault]) -> list[Rule]:
    head = text.partition(EXAMPLES_MARK)[0]
    tables = _tables(head, source, found)
    rules = []
    for name, table in tables.items():
        before = len(found)
        for key, words, hint in _wrong(name, table):
            message = f"rule {name}: {words}" if key is None else f"rule {name}: {key}: {words}"
            found.append(Fault(message, source, line_of(head, name, key), hint))
        if len(found) == before:
            rules.append(Rule(PREFIX + name, source, convert(table, Written), own=True))
    if not tables and not found:
        found.append(Fault("there are no rules in it", source, None, "a rule is a table: [name], class, find"))
    return rules


def _tables(text: str, source: str, found: list[Fault], below: int = 0) -> dict[str, object]:
    try:
        tables = tomllib.loads(text.replace("\r\n", "\n"))
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        place = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        words = str(error)[: place.start()] if place else str(error)
        line = below + (int(place[1]) if place else len(text.rstrip().split("\n")))
        found.append(Fault(f"this is no TOML: {words}", source, line, "patterns stand in single quotes: '\\d+'"))
        return {}
    if len(tables) > RULES_MOST:
        found.append(Fault(f"{len(tables)} rules are too many", source, None, f"at most {RULES_MOST}"))
    return tables


def _wrong(name: str, table: object) -> Iterator[tuple[str | None, str, str | None]]:
    """(key, what is wrong, hint) of one rule."""
    if not isinstance(table, dict):
        yield None, "this is no table", f"a rule begins with a line [{name}]"
        return
    if not _NAME.fullmatch(name):
        yield None, "this is no name", "letters, digits, dot, dash and underscore, at most 64"
    rest = dict(table)
    while True:
        try:
            written = convert(rest, Written)
            break
        except ValidationError as error:
            key, words, hint = _misfit(str(error))
            if key is None or key not in rest:
                if key not in table:  # else it is only missing because it was told and taken out
                    yield key, words, hint
                return
            yield key, words, hint
            del rest[key]
    if written.cls not in CLASSES:
        yield "class", f'there is no class "{written.cls}"', _guess(written.cls, ALLOWED)
    elif written.cls in NOT_FROM_LOGS:
        yield "class", f"{written.cls} is never read from a log", f"allowed: {', '.join(ALLOWED)}"
    if written.role not in ROLES:
        yield "role", f'"{written.role}" is not known', f"allowed: {', '.join(ROLES)}"
    if written.strength not in STRENGTHS:
        yield "strength", f'"{written.strength}" is not known', f"allowed: {', '.join(STRENGTHS)}"
    if not 0 <= written.weight < OWN_WEIGHT:
        yield "weight", f"{written.weight} is out of bounds", f"0 to {OWN_WEIGHT - 1}; 50 is usual"
    if not written.find or any(len(literal) < _LEAST_LITERAL or "\n" in literal for literal in written.find):
        yield "find", f"literals of at least {_LEAST_LITERAL} characters of one line are needed", None
    yield from _wrong_patterns(written)
    yield from _wrong_message(written)


def _misfit(words: str) -> tuple[str | None, str, str | None]:
    """What the codec found, in words of this file."""
    unknown = re.search(r"unknown field `(.+?)`", words)
    if unknown:
        if unknown[1] in ("match", "spare"):
            return (
                unknown[1],
                "examples stand below all rules",
                f"a line {EXAMPLES_MARK}, then [rule] with match, spare",
            )
        return unknown[1], "this is not known", _guess(unknown[1], KEYS)
    missing = re.search(r"missing required field `(\w+)`", words)
    if missing:
        return missing[1], "it is missing", "a rule has at least class and find"
    key = re.search(r" - at `\$\.(\w+).*`$", words)
    return key[1] if key else None, _plainly(words[: key.start()] if key else words), None


_KINDS = {
    "array": "a list", "str": "text", "bool": "true or false", "int": "a whole number", "float": "a number",
    "object": "a table",
}  # fmt: skip


def _plainly(words: str) -> str:
    """The codec's sentence without its names of types."""
    kinds = re.fullmatch(r"Expected `(\w+)`, got `(\w+)`", words)
    if kinds is None:
        return words[:1].lower() + words[1:]
    wanted, found = (_KINDS.get(kind, kind) for kind in kinds.groups())
    return f"this is {found}, and {wanted} is needed"


def _guess(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean {near[0]}?" if near else f"allowed: {', '.join(known)}"


def _wrong_patterns(written: Written) -> Iterator[tuple[str, str, str | None]]:
    for key in _PATTERN_KEYS:
        patterns: list[str] = getattr(written, key)
        wrong = [(pattern, words) for pattern in patterns if (words := _uncompilable([pattern]))]
        for pattern, words in wrong:
            yield key, f"'{pattern}' is no regular expression: {words}", "those of Python's re"
        if not wrong and patterns and (words := _uncompilable(patterns)):
            yield key, f"the patterns do not go together: {words}", "group names are given once a rule"


def _uncompilable(patterns: Sequence[str]) -> str | None:
    try:
        either(patterns)
    except (re.error, OverflowError, RecursionError) as error:
        return str(error) or type(error).__name__
    return None


def _wrong_message(written: Written) -> Iterator[tuple[str, str, str | None]]:
    if not written.message or _uncompilable(written.pattern or ["x"]):
        return
    groups = {"line", *(either(written.pattern).groupindex if written.pattern else ())}
    try:
        words = [name for _, name, _, _ in string.Formatter().parse(written.message) if name is not None]
    except ValueError as error:
        yield "message", f"{error}", "braces that are meant as such are doubled"
        return
    for word in words:
        if word not in groups:
            yield "message", f"{{{word}}} is no group of the pattern", f"known: {', '.join(sorted(groups))}"


def line_of(text: str, rule: str, key: str | None = None) -> int | None:
    """The line of a rule's header, or of a key below it if it is there."""
    header = re.compile(rf"""\s*\[\s*(["']?){re.escape(rule)}\1\s*\]""")
    place: int | None = None
    for number, line in enumerate(text.split("\n"), 1):
        if place is None:
            if header.match(line):
                place = number
        elif line.lstrip().startswith("["):
            break
        elif key is not None and re.match(rf"\s*{re.escape(key)}\s*=", line):
            return number
    return place


# --- patterns and examples ---------------------------------------------------------------------------------


def _slow(text: str, source: str, rules: Sequence[Rule]) -> Iterator[Fault]:
    """A pattern that backtracks without end would hold the supervisor, and every other run with it."""
    asked = [(rule, key, pattern) for rule in rules for key in _PATTERN_KEYS for pattern in getattr(rule.written, key)]
    if not asked:
        return
    words = json.dumps([(either([pattern]).pattern, rule.written.find) for rule, _, pattern in asked])
    command = [sys.executable, "-I", "-S", str(_TRIAL)]
    try:
        answer = subprocess.run(command, input=words, capture_output=True, text=True, timeout=_TRIAL_SECONDS)
        slow: list[int] = json.loads(answer.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        problem = f"after {_TRIAL_SECONDS:.0f} s" if isinstance(error, subprocess.TimeoutExpired) else str(error)
        yield Fault(f"its patterns could not be tried: {problem}", source, None, "fewer or simpler patterns")
        return
    for index in slow:
        rule, key, pattern = asked[index]
        name = rule.name.removeprefix(PREFIX)
        yield Fault(
            f"rule {name}: {key}: '{pattern}' takes seconds on some lines",
            source,
            line_of(text, name, key),
            "a leading .* is not needed, any other is better bounded: .{0,80}; no repetition of a repetition",
        )


def _examples(text: str, source: str, rules: Sequence[Rule]) -> Iterator[Fault]:
    head, mark, tail = text.partition(EXAMPLES_MARK)
    if not mark:
        return
    below = head.count("\n")
    broken: list[Fault] = []
    if not _tables(tail, source, broken, below):
        yield from broken
        return
    try:
        examples = examples_of(text.replace("\r\n", "\n"))
    except ValidationError as error:
        _, words, _ = _misfit(str(error))
        yield Fault(f"the examples: {words}", source, below + 1, "a table [rule] with two lists: match and spare")
        return
    whole = RuleSet([*rules, *load_rules().rules])
    for name, given in examples.items():
        line = (line_of(tail, name) or 1) + below
        rule = whole.by_name.get(PREFIX + name)
        if rule is None:
            yield Fault(f"there are examples of {name}, but no such rule", source, line)
            continue
        for log in given.match:
            verdict = classify(log.encode(), Outcome(exit_code=1), whole)
            if verdict.name != rule.cls:
                by = f" by {verdict.rule}" if verdict.rule else ""
                yield Fault(
                    f"rule {name}: an example is {verdict.name}{by}, not {rule.cls}: {log[:80]!r}", source, line
                )
        for log in given.spare:
            deciding = [match.rule for match in explain(log.encode(), Outcome(exit_code=1), whole)
                        if match.strength >= SAID]  # fmt: skip
            if rule.name in deciding:
                yield Fault(f"rule {name}: a look-alike that should be spared matches: {log[:80]!r}", source, line)
