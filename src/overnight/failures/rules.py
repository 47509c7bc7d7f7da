"""Rules: data in TOML, read at first use. The files' own words are in docs/reference/failure-classes.md."""

import functools
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from overnight.model.classes import CLASSES
from overnight.model.codec import Struct, ValidationError, convert, field

RULES_DIR = Path(__file__).parent / "rules"

# Below this line of a rules file stand its examples; classifying never parses them.
EXAMPLES_MARK = "# ---- examples ----"

FATAL, SAID, HINT = 3, 2, 1
STRENGTHS = {"fatal": FATAL, "said": SAID, "hint": HINT}
ROLES = ("root", "consequence", "fallback")
OWN_WEIGHT = 1000  # added to a person's own rules: on one line they are tried before ours


class RuleFault(ValueError):
    """A rules file says something that cannot be: the message names file, rule and fault."""


class Written(Struct, frozen=True, forbid_unknown_fields=True, rename={"cls": "class"}):
    """A rule as it stands in its file."""

    cls: str
    find: list[str]
    role: str = "root"
    pattern: list[str] = field(default_factory=list)
    unless: list[str] = field(default_factory=list)
    near: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)
    strength: str = "said"
    weight: int = 50
    message: str = ""
    authority: bool = False
    hardy: bool = False
    launcher: bool = False


class Rule:
    """One thing that software prints, and what it means.

    A line is a candidate when it holds one of the literals `find`; it matches when one of `pattern` is found in
    it (no pattern: the literal is enough), none of `unless` is, and the text around it shows one of `near` (if
    any) and none of `away`. Of several rules on one line the greatest `weight` wins.

    `role`: root, consequence, or fallback (a root that yields to any informative consequence). `strength`:
    fatal (proves an end by itself), said, or hint (never decides alone). `authority`: a scheduler's or kernel's
    stated reason. `hardy`: words like "retrying" in the line do not weaken it. `launcher`: what a launcher says of a
    worker's end: where the workers' own logs are there, it comes after all that they say. `own`: a person brought it.
    """

    __slots__ = (
        "_away", "_near", "_pattern", "_unless", "authority", "cls", "find", "hardy", "launcher", "message", "name",
        "own", "role", "source", "strength", "weight", "written",
    )  # fmt: skip

    def __init__(self, name: str, source: str, written: Written, own: bool = False) -> None:
        self.name, self.source, self.written, self.own = name, source, written, own
        self.cls, self.role = written.cls, written.role
        self.weight = written.weight + (OWN_WEIGHT if own else 0)
        self.find = tuple(literal.encode() for literal in written.find)
        self.strength = STRENGTHS.get(written.strength, SAID)
        self.message, self.authority = written.message, written.authority
        self.hardy, self.launcher = written.hardy, written.launcher
        self._pattern: re.Pattern[str] | None = None
        self._unless: re.Pattern[str] | None = None
        self._near: re.Pattern[str] | None = None
        self._away: re.Pattern[str] | None = None

    def matches(self, text: str) -> re.Match[str] | bool:
        """Whether the cleaned line matches, its surroundings apart. Patterns are compiled when first needed."""
        found: re.Match[str] | bool | None = True
        if self.written.pattern:
            if self._pattern is None:
                self._pattern = either(self.written.pattern)
            found = self._pattern.search(text)
        if not found:
            return False
        if self.written.unless:
            if self._unless is None:
                self._unless = either(self.written.unless)
            if self._unless.search(text):
                return False
        return found

    @property
    def needs_surroundings(self) -> bool:
        """Whether `fits` has anything to look at."""
        return bool(self.written.near or self.written.away)

    def fits(self, surroundings: str) -> bool:
        """Whether the text around the line is what the rule asks for."""
        if self.written.near:
            if self._near is None:
                self._near = either(self.written.near)
            if not self._near.search(surroundings):
                return False
        return not self.spoken_against(surroundings)

    def spoken_against(self, surroundings: str) -> bool:
        """Whether the text shows what the rule asks to be away."""
        if not self.written.away:
            return False
        if self._away is None:
            self._away = either(self.written.away)
        return self._away.search(surroundings) is not None

    def describe(self, found: re.Match[str] | bool, text: str) -> str:
        """The message for a person: the template filled, or the line itself."""
        line = " ".join(text.split())[:300]
        if not self.message:
            return line
        groups = found.groupdict() if isinstance(found, re.Match) else {}
        values = {key: (value or "?").strip() for key, value in groups.items()}
        try:
            return self.message.format(**values, line=line)
        except (KeyError, IndexError, ValueError):
            return line


class RuleSet:
    """All rules, and which of them each literal may mean."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules: tuple[Rule, ...] = tuple(rules)
        by_literal: dict[bytes, list[Rule]] = {}
        for rule in self.rules:
            for literal in rule.find:
                by_literal.setdefault(literal, []).append(rule)
        self.literals: tuple[bytes, ...] = tuple(by_literal)
        self.meant: tuple[tuple[Rule, ...], ...] = tuple(tuple(rules) for rules in by_literal.values())
        self.by_name: Mapping[str, Rule] = {rule.name: rule for rule in self.rules}

    def meant_by(self, raw: bytes) -> list[Rule]:
        """The rules that a single line may mean. Slow: for lines found otherwise than by the scan."""
        pairs = zip(self.literals, self.meant, strict=True)
        return [rule for literal, rules in pairs if literal in raw for rule in rules]


def either(patterns: Sequence[str]) -> re.Pattern[str]:
    """The patterns as one. Raises re.error."""
    return re.compile("|".join(map(_scoped, patterns)))


def _scoped(pattern: str) -> str:
    """A leading (?i) means its own alternative, not all of them."""
    return f"(?i:{pattern[4:]})" if pattern.startswith("(?i)") else f"(?:{pattern})"


def read_rules(path: Path) -> list[Rule]:
    """The rules of one file, its examples unread. Raises `RuleFault`."""
    text = path.read_text("utf-8").partition(EXAMPLES_MARK)[0]
    rules = []
    for name, table in tomllib.loads(text).items():
        try:
            written = convert(table, Written)
        except ValidationError as error:
            raise RuleFault(f"{path.name}: rule {name}: {error}") from None
        fault = _fault(written)
        if fault:
            raise RuleFault(f"{path.name}: rule {name}: {fault}")
        rules.append(Rule(name, path.stem, written))
    return rules


def _fault(rule: Written) -> str | None:
    if rule.cls not in CLASSES:
        return f"no such class: {rule.cls}"
    if rule.role not in ROLES:
        return f"no such role: {rule.role}"
    if rule.strength not in STRENGTHS:
        return f"no such strength: {rule.strength}"
    if not rule.find or any(len(literal) < 3 for literal in rule.find):
        return "`find` needs literals of at least three characters"
    return None


@functools.cache
def load_rules() -> RuleSet:
    """The rules that come with the product. Raises `RuleFault`."""
    rules = [rule for path in sorted(RULES_DIR.glob("*.toml")) for rule in read_rules(path)]
    names = [rule.name for rule in rules]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise RuleFault(f"two rules have one name: {', '.join(twice)}")
    return RuleSet(rules)


class Examples(Struct, frozen=True, forbid_unknown_fields=True):
    """A rule's own tests: logs that must get its class, and look-alikes that must not."""

    match: list[str] = field(default_factory=list)
    spare: list[str] = field(default_factory=list)


def read_examples(path: Path) -> dict[str, Examples]:
    """The examples of one rules file, by rule."""
    return examples_of(path.read_text("utf-8"))


def examples_of(text: str) -> dict[str, Examples]:
    """The examples in a rules file's text, by rule. Raises `ValidationError`, `tomllib.TOMLDecodeError`."""
    tables = tomllib.loads(text.partition(EXAMPLES_MARK)[2])
    return {name: convert(table, Examples) for name, table in tables.items()}
