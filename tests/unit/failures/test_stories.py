"""Whole logs, told as programs tell them: the last lines often blame the innocent.

A file under stories/ holds many: `@story CLASS {what is known of the end} the incident`, then the log.
`@include NAME` stands for the lines of NAME.include.
"""

import json
import re
from pathlib import Path

import pytest

from overnight.failures import Outcome, classify
from overnight.model.classes import CLASSES
from overnight.model.codec import convert

HERE = Path(__file__).parent / "stories"
_HEAD = re.compile(r"^@story (?P<cls>\S+) (?P<known>{.*?}) (?P<title>.*)\n", re.MULTILINE)


def _included(match: re.Match[str]) -> str:
    return (HERE / f"{match[1]}.include").read_text("utf-8")


def _stories() -> dict[str, tuple[str, Outcome, bytes]]:
    stories = {}
    for path in sorted(HERE.glob("*.txt")):
        text = path.read_bytes().decode("utf-8")
        heads = list(_HEAD.finditer(text))
        for head, following in zip(heads, [*heads[1:], None], strict=True):
            body = text[head.end() : following.start() if following else len(text)]
            log = re.sub(r"@include (\w+)\n", _included, body)
            outcome = convert(json.loads(head["known"]), Outcome)
            stories[f"{path.stem}: {head['title']}"] = (head["cls"], outcome, log.encode())
    return stories


STORIES = _stories()


@pytest.mark.parametrize("title", STORIES)
def test_story(title: str) -> None:
    """The title is the incident."""
    name, outcome, log = STORIES[title]
    assert name in CLASSES
    found = classify(log, outcome)
    assert found.name == name, found


def test_consequences_are_listed_apart() -> None:
    """Promise 7: what was mere consequence is named, and is not the class."""
    title = "first: oom on rank 3, watchdogs on the others, torchelastic blames rank 0"
    _, outcome, log = STORIES[title]
    found = classify(log, outcome)
    assert found.consequences == ("nccl.timeout",)
    assert found.evidence is not None
    assert found.evidence.line == 53
