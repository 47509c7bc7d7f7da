"""The rules' own examples: a wrong class costs a night (never) or minutes (retry)."""

import re

import pytest

from overnight.failures import Outcome, classify, explain, load_rules
from overnight.failures.rules import RULES_DIR, SAID, Examples, read_examples

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
