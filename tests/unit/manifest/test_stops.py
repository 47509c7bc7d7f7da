"""`[stop]` of a campaign file: what ends work that lives elsewhere."""

import pytest
from manifest_reading import Faults, Launch

from overnight.manifest import amend_policy
from overnight.model.policy import Stop

HEAD = 'command = ["train", "{seed}", "{out_dir}"]\n[matrix]\nseed = [0, 1]\nbox = ["a", "b"]\n[stop]\n'


@pytest.mark.parametrize(
    ("text", "stop"),
    [
        ('command = ["docker", "stop", "{attempt_id}"]', Stop(("docker", "stop", "{attempt_id}"))),
        ('command = "ssh {box} pkill -f {run_id}"\ntimeout = "2m"', Stop("ssh {box} pkill -f {run_id}", 120.0)),
        ('command = "none"', Stop()),
    ],
)
def test_what_can_be_written(text: str, stop: Stop, launch: Launch) -> None:
    """A container that was stopped by its image's name, and with it all the others."""
    policy = launch(HEAD + text).policy
    assert policy.stop == stop
    assert amend_policy(policy, ["stop.command=none"]).stop.command == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('command = ["docker", "stop", "{atempt_id}"]', "{atempt_id} is neither a column nor a reserved placeholder"),
        ("command = []", "stop.command: it is empty"),
        ('command = ""', "stop.command: it is empty"),
        ("command = 3", "3 is no command"),
        ('command = ["a\\u0000"]', "stop.command: it holds"),
        ('timeout = "10s"', "there is no stop.command to go with it"),
        ('command = ["x"]\ntimeout = "none"', '"none" is no duration'),
        ('command = ["x"]\ngrace = "10s"', "grace belongs in [limits]"),
    ],
)
def test_what_is_refused_at_launch(text: str, words: str, faults_of: Faults) -> None:
    """A slip in the stop command that was found at three in the morning, when it was needed."""
    faults = faults_of(HEAD + text)
    assert any(words in f"{fault.message} {fault.hint}" for fault in faults), faults


def test_every_row_has_what_it_names(faults_of: Faults) -> None:
    """A row without its box: nothing would have been stopped."""
    csv = '{"seed": "1", "box": "a"}\n{"seed": "2"}\n'
    text = 'command = ["train", "{seed}", "{out_dir}"]\nruns = "rows.csv"\n[stop]\ncommand = ["ssh", "{box}"]\n'
    (fault, *_) = faults_of(text.replace("rows.csv", "rows.csv"), "seed\n1\n")
    assert "{box} is neither a column" in fault.message, csv
