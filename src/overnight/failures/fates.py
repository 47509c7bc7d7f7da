"""What became of each matched line, and why the verdict is what it is: in words, for people who write rules."""

from collections.abc import Sequence

from overnight.failures.judge import Match
from overnight.failures.outcome import Outcome
from overnight.failures.rules import FATAL, HINT
from overnight.model.classes import Classification


def winner(matches: Sequence[Match], verdict: Classification) -> Match | None:
    """The line that decided; None when something beside the log did, or nothing."""
    line = verdict.evidence.line if verdict.evidence is not None else None
    return next((match for match in matches if match.rule == verdict.rule and match.line == line), None)


def fate(match: Match, decided: Match | None) -> str:
    """Why this line did or did not decide, beside the one that did."""
    if decided is match:
        return "decides"
    if match.survived:
        return "survived: progress follows it"
    if match.role == "consequence":
        return "a consequence: yields to any root" if decided is not None else "a consequence"
    if match.strength == HINT:
        return "a hint: never decides alone"
    if decided is None:
        return "not asked: the end is known otherwise"
    if decided.role == "root" and match.role == "fallback":
        return "a fallback: yields to any root"
    if match.line > decided.line:
        return f"later than line {decided.line:,}"
    if match.strength < decided.strength:
        return f"no proof that it ended the program, as line {decided.line:,} is"
    return f"line {decided.line:,} explains more"


def reason(verdict: Classification, decided: Match | None, outcome: Outcome) -> str:
    """Why the verdict is what it is, as a sentence."""
    if decided is not None:
        return f"line {decided.line:,} by rule {decided.rule}: {_standing(decided)}"
    if verdict.name == "none" and outcome.succeeded:
        return "it ended well: whatever the log says, nothing failed"
    if verdict.name == "none":
        return "no exit status was given, and no line proves that it failed: --exit-code N gives one"
    if verdict.rule is not None and verdict.evidence is None:
        return f"no line of the log decides; rule {verdict.rule}: {verdict.message}"
    if verdict.rule is not None:
        return f"rule {verdict.rule}: {verdict.message}"
    return "no rule matched a line that can decide"


def _standing(match: Match) -> str:
    if match.role == "consequence":
        return "a consequence, and no root is visible"
    if match.role == "fallback":
        return "a fallback, and nothing that says more is visible"
    if match.survived:
        return "it seemed survived, but nothing else explains the end"
    if match.strength == FATAL:
        return "the earliest root that was not survived, and it proves an end"
    return "the earliest root that was not survived"
