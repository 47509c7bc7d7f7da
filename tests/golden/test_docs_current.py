"""Generated reference pages are what their generators print."""

import subprocess
import sys
from pathlib import Path

import pytest

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
