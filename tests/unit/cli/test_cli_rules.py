"""`overnight rules`, and a person's own rules wherever they are named."""

import json
from pathlib import Path

import pytest
from client_world import Overnight
from standin import StandIn

from overnight.model.requests import Amend, Launch

MINE = '[lease]\nclass = "network"\nfind = ["LeaseLost"]\npattern = [\'LeaseLost: (?P<what>\\w+)\']\n'
LOG = "step 1\nLeaseLost: a7\nValueError: x\n"


@pytest.fixture(autouse=True)
def files(own_world: None) -> None:
    """A log, rules, and a campaign that names them."""
    Path("x.log").write_text(LOG)
    Path("mine.toml").write_text(MINE)
    Path("c.toml").write_text(
        'name = "c"\ncommand = ["python", "t.py", "{seed}", "{out_dir}"]\n[matrix]\nseed = [0, 1]\n'
        '[failures]\nrules = "mine.toml"\nlogs = ["ranks/*.log"]\n'
    )


def test_rules_list_and_show(overnight: Overnight) -> None:
    """Guards against rules that only their authors can look up."""
    said = overnight("rules", "list", "--class", "disk.full")
    listed = [line.split() for line in said.out.splitlines()]
    assert ["disk.full", "disk-full", "root", "disk"] in listed
    assert {line[0] for line in listed} == {"disk.full"}
    everything = json.loads(overnight("--json", "rules", "list").out)["rules"]
    assert len(everything) > 50 and {"rule", "class", "find", "role", "remedy"} <= set(everything[0])
    assert overnight("rules", "list", "--rules", "mine.toml").out.startswith("network ")
    shown = overnight("rules", "show", "disk-full").out
    assert "what to do: free space" in shown and "matches: OSError: [Errno 28]" in shown
    assert json.loads(overnight("rules", "show", "lease", "--rules", "mine.toml", "--json").out)["rule"] == "own:lease"
    missing = overnight("rules", "show", "disk-fill")
    assert (missing.code, "did you mean disk-full?" in missing.err) == (3, True)
    assert overnight("rules", "list", "--class", "disk.fill").code == 2


def test_rules_test_says_which_lines_matched_and_why_one_decides(overnight: Overnight) -> None:
    """Guards against writing rules by trial and error over nights."""
    said = overnight("rules", "test", "x.log", "--rules", "mine.toml", "--exit-code", "1")
    assert said.code == 0, said
    assert said.out.startswith("network\nline 2 by rule own:lease: the earliest root")
    assert "its literals are at line 2; it matches 1 line, and decides" in said.out
    document = json.loads(overnight("rules", "test", "x.log", "--rules", "mine.toml", "--signal", "9", "--json").out)
    assert document["class"] == "network" and document["reason"].startswith("line 2 ")
    assert document["matches"][0]["fate"] == "decides"
    assert document["own"] == [{"rule": "own:lease", "candidates": 1, "lines": [2], "matches": 1, "decided": True}]
    assert overnight("rules", "test", "none.log").code == 3
    assert "own" not in overnight("rules", "test", "x.log").out


def test_classify_hears_them_too(overnight: Overnight) -> None:
    """Guards against a class that only a campaign can get."""
    words = ("classify", "x.log", "--exit-code", "1", "--json")
    assert json.loads(overnight(*words).out)["class"] == "code"
    assert json.loads(overnight(*words, "--rules", "mine.toml").out)["rule"] == "own:lease"
    assert overnight(*words, "--rules", "none.toml").code == 3


def test_a_launch_brings_the_text_and_refuses_all_faults_at_once(standin: StandIn, overnight: Overnight) -> None:
    """A rule with a fault was found when the first run had failed, at three in the morning."""
    Path("mine.toml").write_text(MINE.replace("network", "netwrok") + '[b]\nclass = "code"\n')
    refused = overnight("launch", "c.toml")
    assert refused.code == 2
    assert refused.err.startswith("error: mine.toml has 2 faults\n  mine.toml:2: rule lease: class: there is no class")
    assert "mine.toml:5: rule b: find: it is missing" in refused.err
    assert standin.requests == []
    Path("mine.toml").write_text(MINE)
    assert overnight("launch", "c.toml").code == 0
    request = standin.requests[0]
    assert isinstance(request, Launch)
    failures = request.frozen.policy.failures
    assert failures.rules is not None and failures.rules.text == MINE
    assert failures.logs == ("{out_dir}/ranks/*.log",)


def test_an_amendment_checks_only_rules_that_are_new(standin: StandIn, overnight: Overnight) -> None:
    """Guards against a longer timeout that is refused for rules which an earlier version had accepted."""
    assert overnight("launch", "c.toml").code == 0
    Path("mine.toml").write_text("[a]\n")
    assert overnight("amend", "c", "--set", "limits.timeout=48h").code == 0
    refused = overnight("amend", "c", "--set", "failures.rules=mine.toml")
    assert (refused.code, "mine.toml has" in refused.err or "mine.toml:1" in refused.err) == (2, True)
    Path("mine.toml").write_text(MINE.replace("Lost", "Gone"))
    said = overnight("amend", "c", "--set", "failures.rules=mine.toml")
    assert said.code == 0 and "failures.rules.sha256: " in said.out + said.err
    request = standin.requests[-1]
    assert isinstance(request, Amend) and request.policy is not None and request.policy.failures.rules is not None
    assert "LeaseGone" in request.policy.failures.rules.text
