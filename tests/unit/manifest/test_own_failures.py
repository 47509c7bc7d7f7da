"""`[failures]` of a campaign file: the text of a person's rules, and globs of further logs."""

from pathlib import Path

import pytest

from overnight.manifest import amend_policy, read_campaign
from overnight.manifest.amend import policy_changes
from overnight.manifest.own_failures import RULES_BYTES
from overnight.model.manifest import Refusal
from overnight.model.policy import Policy

HEAD = 'command = ["train", "{seed}"]\n[matrix]\nseed = [0, 1]\n[failures]\n'
RULES = '[a]\nclass = "code"\nfind = ["foo"]\n'


def read(tmp_path: Path, failures: str) -> Policy:
    (tmp_path / "sub").mkdir(exist_ok=True)
    (tmp_path / "sub" / "mine.toml").write_text(RULES)
    (tmp_path / "sub" / "c.toml").write_text(HEAD + failures)
    return read_campaign(Path("sub/c.toml"), cwd=tmp_path).policy


def test_the_text_of_the_rules_is_policy(tmp_path: Path) -> None:
    """The file was edited at midnight, and half the campaign was judged by other rules than the revision said."""
    policy = read(tmp_path, 'rules = "mine.toml"')
    (tmp_path / "sub" / "mine.toml").unlink()
    rules = policy.failures.rules
    assert rules is not None
    assert (rules.text, rules.file, len(rules.sha256)) == (RULES, "sub/mine.toml", 64)
    assert amend_policy(policy, ["limits.timeout=48h"]).failures == policy.failures
    assert amend_policy(policy, ["failures.rules=none"]).failures.rules is None


def test_a_change_of_rules_is_told_by_digest_not_by_its_pages(tmp_path: Path) -> None:
    """An amendment answered with the whole file, twice."""
    old = read(tmp_path, 'rules = "mine.toml"')
    (tmp_path / "new.toml").write_text(RULES.replace("foo", "bar"))
    new = amend_policy(old, ["failures.rules=new.toml"], cwd=tmp_path)
    changes = policy_changes(old, new)
    assert [change.split(":")[0] for change in changes] == ["failures.rules.file", "failures.rules.sha256"]
    assert "find" not in "".join(changes)


def test_logs_are_looked_for_inside_the_run(tmp_path: Path) -> None:
    """Guards against a class that comes from another run's log."""
    policy = read(tmp_path, 'logs = ["ranks/**/*.log", "{out_dir}/s{seed}.log", "{run_dir}/x-*.log"]')
    assert policy.failures.logs == ("{out_dir}/ranks/**/*.log", "{out_dir}/s{seed}.log", "{run_dir}/x-*.log")


@pytest.mark.parametrize(
    ("failures", "words"),
    [
        ('rules = "none.toml"', 'c.toml:5: failures.rules: "none.toml" cannot be read: No such file'),
        ('rules = "."', "cannot be read: Is a directory"),
        ('logs = ["/var/log/x.log"]', "failures.logs: \"/var/log/x.log\" is no file of the run"),
        ('logs = ["../other/*.log"]', "is no file of the run"),
        ('logs = ["{out_dir}"]', "is no file of the run"),
        ('logs = ["~/x.log"]', "is no file of the run"),
        ('logs = ["{sead}.log"]', "{sead} is neither a column nor a reserved placeholder"),
        ('logs = "x.log"', "is no list"),
        ('log = ["x.log"]', "failures.log is not known"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_line(tmp_path: Path, failures: str, words: str) -> None:
    """A glob that named nothing was found out when the evidence was missed."""
    with pytest.raises(Refusal) as refused:
        read(tmp_path, failures)
    assert words in refused.value.message


def test_rules_that_are_no_text_or_too_long_are_refused(tmp_path: Path) -> None:
    """A policy is kept with every revision: a core dump named by mistake would be too."""
    for content, words in ((b"x" * (RULES_BYTES + 1), "too large"), (b"# ok\n# \xe9\n", "line 2 of")):
        (tmp_path / "r.toml").write_bytes(content)
        with pytest.raises(Refusal, match=words):
            amend_policy(Policy(), ["failures.rules=r.toml"], cwd=tmp_path)


def test_a_row_without_the_column_that_a_log_names_is_refused(tmp_path: Path) -> None:
    """The glob of that one row had nothing to expand to, at three in the morning."""
    (tmp_path / "r.jsonl").write_text('{"seed": 1, "tag": "a"}\n{"seed": 2}\n')
    (tmp_path / "c.toml").write_text(
        'command = ["train", "{seed}"]\nruns = "r.jsonl"\n[failures]\nlogs = ["{tag}.log"]\n'
    )
    with pytest.raises(Refusal, match=r"this row has no tag, which checkpoint, cwd, failures\.logs or stop names"):
        read_campaign(Path("c.toml"), cwd=tmp_path)
