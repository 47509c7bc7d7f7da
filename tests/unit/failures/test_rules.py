"""The rules' own examples: a wrong class costs a night (never) or minutes (retry)."""

import re
import time

import pytest

from overnight.failures import Outcome, classify, explain, lines, load_rules, story, tracebacks
from overnight.failures.rules import RULES_DIR, SAID, Examples, either, read_examples
from overnight.failures.trial import hostile_lines

FILES = sorted(RULES_DIR.glob("*.toml"))
EXAMPLES: dict[str, Examples] = {name: examples for path in FILES for name, examples in read_examples(path).items()}
FAILED = Outcome(exit_code=1)


def _cases(kind: str) -> list[tuple[str, str]]:
    return [(name, text) for name, examples in EXAMPLES.items() for text in getattr(examples, kind)]


def test_every_rule_has_examples_and_every_example_a_rule() -> None:
    """A rule without an example was once changed into one that matched nothing."""
    assert set(EXAMPLES) == set(load_rules().by_name)
    for name, examples in EXAMPLES.items():
        rule = load_rules().by_name[name]
        wanted = 0 if rule.written.strength == "hint" else 2
        assert len(examples.match) >= wanted, name
        assert len(examples.spare) >= 1, name


@pytest.mark.parametrize(("name", "text"), _cases("match"))
def test_examples_get_the_class_of_their_rule(name: str, text: str) -> None:
    """One rule must not take another's logs: all rules run over every example."""
    rule = load_rules().by_name[name]
    found = classify(text.encode(), FAILED)
    assert found.name == rule.cls, found
    assert found.evidence is not None and found.evidence.text


@pytest.mark.parametrize(("name", "text"), _cases("spare"))
def test_look_alikes_are_spared(name: str, text: str) -> None:
    """A look-alike that decides is a false alarm."""
    deciding = [match.rule for match in explain(text.encode(), FAILED) if match.strength >= SAID]
    assert name not in deciding


def test_patterns_compile_and_groups_fill_their_messages() -> None:
    """Patterns are compiled when first needed: a typing error must not wait for the night."""
    for rule in load_rules().rules:
        for pattern in (*rule.written.pattern, *rule.written.unless, *rule.written.near, *rule.written.away):
            re.compile(pattern)
        for group in re.findall(r"{(\w+)}", rule.message):
            assert group == "line" or any(f"(?P<{group}>" in pattern for pattern in rule.written.pattern)


def test_no_pattern_is_slow_on_lines_made_of_its_own_words() -> None:
    """`ibv\\w*` before a bounded gap was quick on every line but one full of `ibv`, which took two seconds."""
    ours = [
        (f"{module.__name__}.{name}", pattern, ())
        for module in (lines, story, tracebacks)
        for name, pattern in vars(module).items()
        if isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str)
    ]
    rules = [
        (f"{rule.name}.{key}", either([pattern]), tuple(rule.written.find))
        for rule in load_rules().rules
        for key in ("pattern", "unless", "near", "away")
        for pattern in getattr(rule.written, key)
    ]
    assert len(rules) > 500
    for name, pattern, literals in (*ours, *rules):
        ask = pattern.match if name.endswith("tracebacks._EXCEPTION") else pattern.search  # as they are asked
        for line in hostile_lines(pattern.pattern, literals):
            began = time.thread_time()
            ask(line)
            assert time.thread_time() - began < 0.25, f"{name}: {line[:20]!r}"
