"""Write docs/reference/failure-classes.md: `python -m overnight.failures.document` prints it."""

import sys

from overnight.failures.rules import Rule, load_rules
from overnight.model.classes import CLASSES, FailureClass

_HEAD = """\
# Failure classes

Generated from the taxonomy and the rules by `python -m overnight.failures.document`; do not edit by hand.
How a class is found is told in [classification](../explanation/classification.md).

`retry` is the class's default, replaced by `[retry.class]` in the campaign file: *never* is final; *once* is one
more try; *again* is with backoff up to `max_attempts`; *elsewhere* the same, away from the suspect slot or node;
*outage* until failing for `[retry] outage` without an advance, not counted; *free* is not counted, up to 10.
*Shareable* is what [several runs may have in common](../explanation/in-common.md).

| class | it means | retry | shareable | what to do |
|---|---|---|---|---|
"""

_RULES_HEAD = """
## Rules

A rule is data: a file under `overnight/failures/rules/` holds it together with logs that it must match and
look-alikes that it must spare. Roles: a *root* can decide; a *consequence* never does while a root is visible; a
*fallback* yields to any consequence that says more.

| class | rule | role | from |
|---|---|---|---|
"""


def document() -> str:
    """The page as Markdown."""
    lines = [_HEAD, *map(_class_row, CLASSES.values()), _RULES_HEAD]
    order = list(CLASSES)
    lines += [
        _rule_row(rule) for rule in sorted(load_rules().rules, key=lambda rule: (order.index(rule.cls), rule.name))
    ]
    return "".join(lines)


def _class_row(row: FailureClass) -> str:
    share = "yes" if row.shareable else ""
    return f"| `{row.name}` | {row.meaning} | {row.retry} | {share} | {row.remedy} |\n"


def _rule_row(rule: Rule) -> str:
    return f"| `{rule.cls}` | `{rule.name}` | {rule.role} | `{rule.source}.toml` |\n"


if __name__ == "__main__":
    sys.stdout.write(document())
