"""docs/reference/json.md says of every command which keys its document has."""

import json
import re
from pathlib import Path

import pytest
from client_world import Overnight
from standin import StandIn

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "json.md"


def documented(heading: str) -> set[str]:
    """The words in backticks below the heading that begins so."""
    sections = PAGE.read_text("utf-8").split("\n## ")
    (section,) = [section for section in sections if section.startswith(heading)]
    return set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", section))))


@pytest.fixture
def launched(standin: StandIn, overnight: Overnight) -> StandIn:
    """A campaign of three runs, of which one failed."""
    Path("s.csv").write_text("run_id,x\na,1\nb,2\nc,3\n")
    Path("x.log").write_text("Traceback (most recent call last):\nValueError: x\n")
    assert overnight("launch", "--name", "bat", "--runs", "s.csv", "--", "true", "{x}").code == 0
    standin.ends(failing={"b": "code"})
    return standin


@pytest.mark.parametrize(
    ("heading", "arguments"),
    [
        ("`launch`", "launch --name bat --runs s.csv --json -- true {x}"),
        ("`launch`", "launch --name bat --runs s.csv --dry-run --json -- true {x}"),
        ("`status CAMPAIGN`", "status bat"),
        ("`status CAMPAIGN`", "watch bat"),
        ("`why CAMPAIGN", "why bat"),
        ("`why CAMPAIGN", "why bat b"),
        ("`retry`, `amend`", "retry bat"),
        ("`retry`, `amend`", "amend bat --set limits.heartbeat=45m"),
        ("`retry`, `amend`", "amend bat --set limits.heartbeat=auto"),
        ("`retry`, `amend`", "pause bat"),
        ("`retry`, `amend`", "resume bat"),
        ("`retry`, `amend`", "cancel bat"),
        ("`results CAMPAIGN", "results bat --all"),
        ("`report`", "report"),
        ("`slots`", "slots"),
        ("`doctor`", "doctor"),
        ("`supervisor start`", "supervisor status"),
        ("`supervisor start`", "supervisor start"),
        ("`supervisor install`", "supervisor install --dry-run"),
        ("`supervisor install`", "supervisor install --uninstall --dry-run"),
        ("`init`", "init"),
        ("`classify LOG`", "classify x.log"),
        ("`rules list`", "rules list"),
        ("`rules list`", "rules test x.log"),
        ("Refusals", "status nix"),
        ("Refusals", "launch --timeout 0 --gpus -1 -- true"),
    ],
)
def test_every_key_is_on_the_page(launched: StandIn, overnight: Overnight, heading: str, arguments: str) -> None:
    """Documents of ten commands were nowhere described: a script could only guess which of their keys stay."""
    at = arguments.split()
    place = at.index("--") if "--" in at else len(at)
    said = overnight(*at[:place], *(() if "--json" in at else ("--json",)), *at[place:])
    (document,) = [json.loads(line) for line in said.out.splitlines()]
    known = documented(heading) | (documented("`classify LOG`") if arguments.startswith("rules test") else set())
    assert set(document) <= known, set(document) - known
