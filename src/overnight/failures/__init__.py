"""Why an attempt ended: from its log, its exit and what else is known, to one class with the line that proves it."""

from overnight.failures.about import QUOTA, likeness
from overnight.failures.judge import Match, classify, explain
from overnight.failures.outcome import ElasticError, Outcome
from overnight.failures.own import faults_in, with_own
from overnight.failures.rules import Rule, RuleFault, RuleSet, load_rules
from overnight.failures.teardown import Leaving, proof

__all__ = [
    "QUOTA", "ElasticError", "Leaving", "Match", "Outcome", "Rule", "RuleFault", "RuleSet", "classify", "explain",
    "faults_in", "likeness", "load_rules", "proof", "with_own",
]  # fmt: skip
