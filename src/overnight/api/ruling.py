"""Rules of failures: ours, a person's own, and which of them decide over a log."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from overnight.api.classifying import document, outcome_of
from overnight.api.errors import NotFound, Refused
from overnight.model.classes import CLASSES
from overnight.model.codec import Struct

if TYPE_CHECKING:
    from overnight.failures import Match, Rule, RuleSet
    from overnight.model.classes import Classification
    from overnight.model.policy import Failures

_LINES_SHOWN = 5  # of those where a rule of a person's own was close
FORM = "docs/reference/rules-file.md tells what a file of rules looks like"


class Near(Struct, frozen=True):
    """How close one of a person's own rules came: lines that hold a literal of it, and lines that it matches."""

    rule: str
    candidates: int
    lines: tuple[int, ...]  # the first of the candidates
    matches: int
    decided: bool


class Test(Struct, frozen=True):
    """A log's verdict and how it came about. `fates` are in step with `matches`."""

    verdict: "Classification"
    reason: str
    matches: "tuple[Match, ...]"
    fates: tuple[str, ...]
    own: tuple[Near, ...]


def check_own(failures: "Failures", known: "Failures | None" = None) -> None:
    """Raises `Refused` with everything that is wrong in a policy's own rules, unless `known` has the same: those
    were checked when they were new."""
    rules = failures.rules
    if rules is None or (known is not None and known.rules is not None and known.rules.sha256 == rules.sha256):
        return
    _check(rules.text, rules.file)


def rules_from(file: str | Path | None) -> "RuleSet":
    """Our rules, with those of a file before them. Raises `NotFound`, or `Refused` with every fault of the file."""
    from overnight.failures import load_rules, with_own

    if file is None:
        return load_rules()
    try:
        text = Path(file).read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as problem:
        raise NotFound(f"{file} cannot be read: {problem.strerror}", "name a file of rules") from problem
    except UnicodeDecodeError as problem:
        raise Refused(f"{file} is not UTF-8", "a file of rules is TOML, saved as UTF-8") from problem
    _check(text, str(file))
    return with_own(text, str(file))


def _check(text: str, file: str) -> None:
    from overnight.failures import faults_in

    faults = faults_in(text, file)
    if len(faults) == 1:
        only = faults[0]
        place = f"{file}:{only.line}" if only.line is not None else file
        raise Refused(f"{place}: {only.message}", only.hint or FORM, faults)
    if faults:
        raise Refused(f"{file} has {len(faults)} faults", f"correct them and try again; {FORM}", faults)


def listing(failure_class: str | None = None, file: str | Path | None = None) -> "list[Rule]":
    """The rules by class, a person's own first. Raises `Refused` for a class that is none, and as `rules_from`."""
    if failure_class is not None and failure_class not in CLASSES:
        raise Refused(f"no failure class {failure_class!r}", _near(failure_class, CLASSES))
    order = list(CLASSES)
    rules = [rule for rule in rules_from(file).rules if failure_class in (None, rule.cls)]
    return sorted(rules, key=lambda rule: (not rule.own, order.index(rule.cls), rule.name))


def one(name: str, file: str | Path | None = None) -> "Rule":
    """The rule of that name, `own:` left out or not. Raises `NotFound`."""
    rules = rules_from(file).by_name
    found = rules.get(name) or rules.get(f"own:{name}")
    if found is None:
        raise NotFound(f"no rule {name!r}", _near(name, rules))
    return found


def examples(rule: "Rule") -> tuple[list[str], list[str]]:
    """Logs that must get one of our rule's class, and look-alikes that must not; none of a person's own."""
    from overnight.failures.rules import RULES_DIR, read_examples

    if rule.own:
        return [], []
    given = read_examples(RULES_DIR / f"{rule.source}.toml").get(rule.name)
    return ([], []) if given is None else (given.match, given.spare)


def tested(
    log: str | Path | bytes,
    *,
    exit_code: int | None = None,
    signal: str | int | None = None,
    file: str | Path | None = None,
) -> Test:
    """Which rules match a log, where, and why one of them decides.

    Raises `NotFound` for a log or a file of rules that cannot be read, `Refused` with the faults of the rules.
    """
    from overnight.failures import classify, explain
    from overnight.failures.fates import fate, reason, winner

    rules, outcome = rules_from(file), outcome_of(exit_code, signal, None)
    source = log if isinstance(log, bytes) else Path(log)
    try:
        verdict = classify(source, outcome, rules)
        matches = explain(source, outcome, rules)
        decided = winner(matches, verdict)
        own = tuple(_nearness(source, rule, decided) for rule in rules.rules if rule.own)
    except OSError as problem:
        raise NotFound(f"{log!s} cannot be read: {problem.strerror}", "name a file, or - for stdin") from problem
    fates = tuple(fate(match, decided) for match in matches)
    return Test(verdict, reason(verdict, decided, outcome), tuple(matches), fates, own)


def _nearness(log: Path | bytes, rule: "Rule", decided: "Match | None") -> Near:
    """What the rule alone would see: a typing error in a pattern looks like a log without the failure."""
    from overnight.failures.nearness import near

    lines, matches = near(log, rule)
    return Near(rule.name, len(lines), tuple(lines[:_LINES_SHOWN]), matches,
                decided is not None and decided.rule == rule.name)  # fmt: skip


def test_document(test: Test) -> dict[str, object]:
    """The JSON contract of `rules test`."""
    return {
        **document(test.verdict),
        "reason": test.reason,
        "matches": [
            {
                "line": match.line, "rule": match.rule, "class": match.name, "role": match.role,
                "strength": ("hint", "said", "fatal")[match.strength - 1], "survived": match.survived,
                "fate": fate, "text": match.text,
            }
            for match, fate in zip(test.matches, test.fates, strict=True)
        ],
        "own": list(test.own),
    }  # fmt: skip


def rule_document(rule: "Rule") -> dict[str, object]:
    """The JSON contract of one rule, in the words of its file."""
    from overnight.model.codec import builtins

    row = CLASSES[rule.cls]
    return {
        "rule": rule.name, "own": rule.own, "from": rule.source, **builtins(rule.written),
        "meaning": row.meaning, "retry": row.retry.value, "remedy": row.remedy,
    }  # fmt: skip


def _near(word: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    found = get_close_matches(word, list(known), 1)
    return f"did you mean {found[0]}?" if found else "overnight rules list shows them"
