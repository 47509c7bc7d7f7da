"""Generated reference pages are what their generators print."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import overnight
from overnight.api.beginning import Begun
from overnight.api.rebuilding import Rebuilt
from overnight.api.ruling import Near
from overnight.cli.app import VERBS
from overnight.model import reports

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = {
    "states.md": "overnight.core.document",
    "failure-classes.md": "overnight.failures.document",
    "cli.md": "overnight.cli.document",
}
GENERATORS = {
    page: module for page, module in PAGES.items() if (ROOT / "src" / f"{module.replace('.', '/')}.py").exists()
}


@pytest.mark.parametrize("page", GENERATORS)
def test_a_generated_page_is_current(page: str) -> None:
    """The reference described a state table of two months ago; `make docs` writes it anew."""
    printed = subprocess.run(
        [sys.executable, "-m", GENERATORS[page]], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert printed.endswith("\n") and len(printed.splitlines()) > 20
    assert (REFERENCE / page).read_text(encoding="utf-8") == printed, f"{page} is old: make docs"


def test_no_generated_page_is_without_its_generator() -> None:
    """A page whose generator was removed is edited by hand from then on, and wrong."""
    orphans = [
        page.name
        for page in REFERENCE.glob("*.md")
        if "Generated" in page.read_text(encoding="utf-8")[:400] and page.name not in GENERATORS
    ]
    assert orphans == []
    assert "states.md" in GENERATORS


def test_the_python_page_names_what_there_is() -> None:
    """Notebooks had three lines in the README: what `launch` takes could only be read in the source."""
    page = (REFERENCE / "python.md").read_text(encoding="utf-8")
    launch = re.search(r"`overnight\.launch\((.*?)\)`", page)
    assert launch is not None
    named = [word.split("=")[0] for word in launch[1].replace("*, ", "").split(", ")]
    assert named == list(inspect.signature(overnight.launch).parameters)
    rows = dict(re.findall(r"`(\w+)\(([^`]*)\)`", page))
    for name, method in inspect.getmembers(overnight.Campaign, inspect.isfunction):
        if name.startswith("_") or name == "reading":
            continue
        takes = [f"*{each}" if one.kind is one.VAR_POSITIONAL else each
                 for each, one in inspect.signature(method).parameters.items() if each != "self"]  # fmt: skip
        assert re.findall(r"\*?\b[a-z_]+(?==|,|$)", rows[name]) == takes, name


DOCUMENTS = [
    *(each for each in vars(reports).values() if isinstance(each, type) and issubclass(each, msgspec.Struct)),
    Begun, Rebuilt, Near,
]  # fmt: skip


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda each: each.__name__)
def test_every_key_of_a_document_is_described(document: type[msgspec.Struct]) -> None:
    """A key that stood in no page: whoever read it guessed what it counted. Half of the commands had no page at all."""
    page = (REFERENCE / "json.md").read_text(encoding="utf-8")
    described = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", page))))
    assert {field.encode_name for field in msgspec.structs.fields(document)} - described == set()


def test_every_command_has_its_document() -> None:
    """Every command takes `--json`; of nine nobody could read what that prints."""
    page = (REFERENCE / "json.md").read_text(encoding="utf-8")
    headings = " ".join(line for line in page.splitlines() if line.startswith("## "))
    assert [verb for verb in VERBS if f"`{verb}" not in headings] == []
