"""How close one rule comes to a log, all other rules aside: for whoever writes it."""

from pathlib import Path

from overnight.failures.rules import Rule, RuleSet
from overnight.failures.scan import scan
from overnight.failures.source import Source
from overnight.model.codec import replace


def near(log: Path | bytes, rule: Rule) -> tuple[list[int], int]:
    """The lines that hold a literal of the rule (the first and last few of many), and how many lines it matches.
    Raises OSError."""
    bare = Rule(rule.name, rule.source, replace(rule.written, pattern=[], unless=[], near=[], away=[], message=""))
    with Source(log) as source:
        held = [source.line_number(event.offset) for event in scan(source, RuleSet([bare])).events]
        matched = len(scan(source, RuleSet([rule])).events)
    return held, matched
