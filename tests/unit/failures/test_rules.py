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


# What programs print without end while nothing is wrong.
USUAL_LINES = (
    "2026-11-03 04:12:12,123 INFO trainer: step 12345/900000 | loss 2.1234 | lr 3.00e-04 | grad norm 0.1234",
    "[rank3]: I1103 04:12:12.123456 812345 ProcessGroupNCCL.cpp:1234] [PG ID 0 Rank 3] heartbeat monitor: all alive",
    "I0614 04:02:11.112233 8812 solver.cpp:237] Iteration 1200 (12.1 iter/s, 3.2s/40 iters), loss = 2.31",
    " iteration     7400/  250000 | consumed samples:      3788800 | elapsed time per iteration (ms): 4821.0 | "
    "learning rate: 2.901E-04 | global batch size:   512 | lm loss: 2.410E+00 | loss scale: 1.0 | grad norm: 0.190 | "
    "number of skipped iterations:   0 | number of nan iterations:   0 |",
    "[2025-06-14 04:02:11,112] [INFO] [logging.py:96:log_dist] [Rank 0] step=120, skipped=0, lr=[1e-05]",
    "{'loss': 2.1, 'grad_norm': 1.3, 'learning_rate': 1.9e-05, 'epoch': 0.03, 'batch_size': 32}",
    " 16%|█▌        | 4083/25120 [3:02:19<16:33:47,  2.83s/it, loss=2.31]",
    "(TaskRunner pid=30188) step:36 - actor/kl_loss:0.02 - critic/score/mean:0.41 - perf/throughput:1821.3",
    "completed step: 901, seconds: 6.321, TFLOP/s/device: 182.11, Tokens/s/device: 3241.112, loss: 3.111",
    "Epoch 3/90 1200/5004 [=====>.....] - ETA: 12:11 - loss: 2.3100 - accuracy: 0.4100",
)


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


@pytest.mark.parametrize("line", USUAL_LINES)
def test_no_literal_stands_in_usual_lines(line: str) -> None:
    """A rule that looked for `.cpp:` made every line of a C++ logger a candidate: 1 GB took six times as long."""
    assert not [literal for literal in load_rules().literals if literal in line.encode()]
