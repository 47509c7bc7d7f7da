"""A person's own rules: before ours on a line, never a success, checked whole before the night."""

import pytest

from overnight.failures import Outcome, RuleFault, classify, explain, faults_in, load_rules, with_own
from overnight.failures.fates import fate, reason, winner
from overnight.failures.nearness import near
from overnight.failures.own import ALLOWED
from overnight.failures.rules import EXAMPLES_MARK
from overnight.model.classes import CLASSES

FAILED = Outcome(exit_code=1)
SHARD = """
[bad-shard]
class = "data.corrupt"
find = ["ShardLease"]
pattern = ['ShardLease\\w*: shard (?P<n>\\d+)']
message = "shard {n} is taken"
"""
TRACEBACK = 'Traceback (most recent call last):\n  File "t.py", line 3, in <module>\n    main()\n'


def test_an_own_rule_names_what_ours_calls_code() -> None:
    """A team's own exception was `code`, never tried again, although a second try always helped."""
    log = f"step 1\n{TRACEBACK}data.ShardLeaseError: shard 12 of 40\n".encode()
    assert classify(log, FAILED).name == "code"
    found = classify(log, FAILED, with_own(SHARD, "mine.toml"))
    assert (found.name, found.rule, found.message) == ("data.corrupt", "own:bad-shard", "shard 12 is taken")
    assert found.evidence is not None and found.evidence.line == 5


def test_on_one_line_an_own_rule_is_tried_before_the_weightiest_of_ours() -> None:
    """A person knew better what this allocator's message means here, and was not heard."""
    text = '[pool]\nclass = "config"\nfind = ["CUDA out of memory"]\nweight = 0\n'
    log = b"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n"
    assert classify(log, FAILED, with_own(text)).rule == "own:pool"
    assert classify(log, Outcome(exit_code=0), with_own(text)).name == "none"


def test_an_own_root_in_a_chain_of_exceptions_is_its_cause() -> None:
    """Of two exceptions in a chain ours took the network's, although the file said what the other one means."""
    log = (
        f"{TRACEBACK}ConnectionResetError: [Errno 104] Connection reset by peer\n\nDuring handling of the above "
        f"exception, another exception occurred:\n\n{TRACEBACK}data.ShardLeaseError: shard 3 of 40\n"
    ).encode()
    assert classify(log, FAILED).name == "network"
    assert classify(log, FAILED, with_own(SHARD)).name == "data.corrupt"


def test_an_own_consequence_takes_a_line_out_of_the_running() -> None:
    """Our rule fell for a line that this program prints at every end."""
    text = '[goodbye]\nclass = "code"\nrole = "consequence"\nfind = ["Connection reset by peer"]\n'
    log = f"{TRACEBACK}ConnectionResetError: [Errno 104] Connection reset by peer\nValueError: x\n".encode()
    assert classify(log, FAILED).name == "network"
    assert classify(log, FAILED, with_own(text)).name == "code"


def test_own_rules_that_were_there_before_ours_keep_their_names() -> None:
    """A later version of ours brought a rule of the same name, and the campaign's rules were refused at night."""
    text = SHARD.replace("bad-shard", "disk-full")
    rules = with_own(text)
    assert {"own:disk-full", "disk-full"} <= set(rules.by_name)
    assert len(rules.rules) == len(load_rules().rules) + 1


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('[a]\nclass = "oom.gpuu"\nfind = ["foo"]', 2, 'rule a: class: there is no class "oom.gpuu"'),
        ('[a]\nclass = "none"\nfind = ["foo"]', 2, "rule a: class: none is never read from a log"),
        ('[a]\nclass = "stall.output"\nfind = ["foo"]', 2, "never read from a log"),
        ('[a]\nclass = "code"\nfind = ["x"]', 3, "rule a: find: literals of at least 3"),
        ('[a]\nclass = "code"\nfind = "foo"', 3, "rule a: find: this is text, and a list is needed"),
        (
            '[a]\nclass = "code"\nfind = ["foo"]\nhardy = 1',
            4,
            "hardy: this is a whole number, and true or false is needed",
        ),
        ('[a]\nclass = "code"\nfind = ["foo"]\nmatch = ["foo"]', 4, "rule a: match: examples stand below all rules"),
        ('[a]\nclas = "code"\nfind = ["foo"]', 2, "rule a: clas: this is not known"),
        ('[b]\n\n[a]\nclass = "code"', 3, "rule a: find: it is missing"),
        ('[a]\nclass = "code"\nfind = ["foo"]\npattern = ["("]', 4, "rule a: pattern: '(' is no regular expression"),
        ('[a]\nclass = "code"\nfind = ["foo"]\npattern = ["(?P<n>1)", "(?P<n>2)"]', 4, "do not go together"),
        ('[a]\nclass = "code"\nfind = ["foo"]\nmessage = "{n}"', 4, "rule a: message: {n} is no group"),
        ('[a]\nclass = "code"\nfind = ["foo"]\nmessage = "{"', 4, "rule a: message: "),
        ('[a]\nclass = "code"\nfind = ["foo"]\nweight = 5000', 4, "rule a: weight: 5000 is out of bounds"),
        ('[a]\nclass = "code"\nfind = ["foo"]\nrole = "route"', 4, 'rule a: role: "route" is not known'),
        ('["a b"]\nclass = "code"\nfind = ["foo"]', 1, "this is no name"),
        ("a = 1", None, "rule a: this is no table"),
        ("", None, "there are no rules in it"),
        ('[a]\nclass = "code"\nfind = ["foo"', 3, "this is no TOML"),
        ('[a]\nclass = "code"\nfind = ["foo"]\npattern = ["ok", "(a+)+$"]', 4, "'(a+)+$' takes seconds on some lines"),
    ],
)
def test_a_fault_names_rule_and_line(text: str, line: int | None, words: str) -> None:
    """A typing error in a rule was found out in the morning: nothing had matched."""
    faults = [fault for fault in faults_in(text, "mine.toml") if words in fault.message]
    assert [(fault.file, fault.line) for fault in faults] == [("mine.toml", line)]


def test_all_faults_of_all_rules_are_told_at_once() -> None:
    """Whoever corrects one fault a launch gives up at the third."""
    text = '[a]\nclass = "x"\nfind = ["x"]\n[b]\nclass = "y"\nfind = ["foo"]\n'
    assert [fault.line for fault in faults_in(text)] == [2, 3, 5]
    text = '[a]\nclass = "x"\nfind = ["foo"]\npatern = "x"\nweigth = 3\nrole = 7\n'
    assert [fault.line for fault in faults_in(text)] == [2, 4, 5, 6]
    text = '[a]\nclas = "x"\nfind = "foo"\n'
    assert [fault.line for fault in faults_in(text)] == [1, 2, 3]
    assert faults_in(SHARD) == ()


def test_examples_in_the_file_are_tried_over_all_rules() -> None:
    """A rule that ours outranked elsewhere in its own example never decided anything."""
    mark = "# ---- examples ----\n"
    good = f'{SHARD}{mark}[bad-shard]\nmatch = ["ShardLeaseError: shard 1 of 2"]\nspare = ["ShardLease ok"]\n'
    assert faults_in(good) == ()
    bad = f'{SHARD}{mark}[bad-shard]\nmatch = ["shard 1"]\nspare = ["ShardLease: shard 1"]\n[other]\nmatch = []\n'
    lines = bad.split("\n")
    faults = faults_in(f"{bad}spare = []\n")
    assert [(fault.line, "other" in fault.message) for fault in faults] == [
        (lines.index("[bad-shard]", 5) + 1, False), (lines.index("[bad-shard]", 5) + 1, False),
        (lines.index("[other]") + 1, True),
    ]  # fmt: skip


def test_examples_may_be_of_one_kind_alone() -> None:
    """A file with an example and no look-alike was refused: "Object missing required field"."""
    text = f'{SHARD}\n{EXAMPLES_MARK}\n[bad-shard]\nmatch = ["ShardLease: shard 12"]\n'
    assert faults_in(text) == ()
    assert faults_in(text.replace("match", "spare"))
    (fault,) = faults_in(text.replace('match = ["ShardLease: shard 12"]', 'match = "x"'))
    assert fault.message == "the examples: this is text, and a list is needed"


def test_rules_that_this_version_does_not_understand_are_a_fault_not_a_success() -> None:
    """A text that another version had checked must raise what the supervisor expects, nothing else."""
    with pytest.raises(RuleFault, match="no class"):
        with_own('[a]\nclass = "gone.class"\nfind = ["foo"]\n')


def test_every_class_that_may_be_named_is_one() -> None:
    """A hint that lists a class which is refused sends a person in a circle."""
    assert set(ALLOWED) < set(CLASSES)
    assert not {"none", "cancelled", "internal"} & set(ALLOWED)
    assert {rule.cls for rule in load_rules().rules} - {"cancelled"} <= set(ALLOWED)


def test_each_matched_line_is_told_why_it_did_not_decide() -> None:
    """Guards against a list of matches out of which nobody can read why the winner won."""
    steps = "".join(f"step {n} loss 0.5\n" for n in range(8))
    log = (
        f"ConnectionResetError: [Errno 104] Connection reset by peer\n{steps}"
        f"{TRACEBACK}data.ShardLeaseError: shard 12 of 40\n"
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n"
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
    ).encode()
    rules = with_own(SHARD)
    verdict, matches = classify(log, FAILED, rules), explain(log, FAILED, rules)
    decided = winner(matches, verdict)
    assert decided is not None and decided.rule == "own:bad-shard"
    assert reason(verdict, decided, FAILED).startswith("line 13 by rule own:bad-shard: the earliest root")
    fates = {match.line: fate(match, decided) for match in matches}
    assert fates[1] == "survived: progress follows it"
    assert fates[13] == "decides"
    assert fates[14] == "later than line 13"
    assert fates[15] == "a consequence: yields to any root"


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome(exit_code=0), "it ended well"),
        (Outcome(), "no exit status was given"),
        (Outcome(ended_by="stall"), "rule supervisor-stall"),
        (Outcome(exit_code=3), "exit-code"),
    ],
)
def test_a_verdict_that_no_line_gave_has_its_reason_too(outcome: Outcome, words: str) -> None:
    """Guards against an empty answer where the exit status alone decided."""
    verdict = classify(b"fine\n", outcome)
    assert words in reason(verdict, winner([], verdict), outcome)


def test_how_close_a_rule_came_is_told() -> None:
    """A pattern with one blank too many looked like a log without the failure."""
    rule = with_own(SHARD.replace(": shard", ":  shard")).by_name["own:bad-shard"]
    assert near(b"x\nShardLeaseError: shard 12\n", rule) == ([2], 0)
    assert near(b"x\nShardLeaseError:  shard 12\n", rule) == ([2], 1)
    assert near(b"x\n", rule) == ([], 0)
