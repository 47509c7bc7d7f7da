"""What the command line prints, for people and for programs, against files that a reviewer can read.

`OVERNIGHT_BLESS=1` rewrites them; `docs/reference/cli.md` comes from `python -m overnight.cli.document`.
"""

import os
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "unit" / "api"))

from client_world import Overnight, overnight, own_world, root, standin
from standin import StandIn

__all__ = ["overnight", "own_world", "root", "standin"]

DATA = Path(__file__).parent / "data"
REFERENCE = Path(__file__).parent.parent.parent / "docs" / "reference" / "cli.md"
TYPED = ("launch", "--runs", "sweep.csv", "--name", "bat")
COMMAND = ("--", "python", "train.py", "--seed", "{seed}", "--out", "{out_dir}")


def settled(text: str, root: Path) -> str:
    """Without what differs from run to run."""
    text = text.replace(str(root.parent), "HERE")
    text = re.sub(r"by pid \d+", "by pid PID", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)
    return re.sub(r"life \S+ \S+ ago", "life AGE ago", text)


def same(name: str, text: str) -> None:
    path = DATA / name
    if os.environ.get("OVERNIGHT_BLESS"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_the_reference_is_that_of_this_code() -> None:
    """Guards against a page of options that are no longer there."""
    from overnight.cli.document import document

    if os.environ.get("OVERNIGHT_BLESS"):
        REFERENCE.write_text(document(), encoding="utf-8")
    assert document() == REFERENCE.read_text(encoding="utf-8")


def test_a_night_on_the_command_line(
    standin: StandIn, overnight: Overnight, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against answers that change their words, order or keys unnoticed."""
    monkeypatch.setenv("NO_COLOR", "1")
    Path("sweep.csv").write_text("run_id,seed\nbat-s0,0\nbat-s1,1\nbat-s2,2\n")
    lines = []

    def show(*arguments: str) -> None:
        said = overnight(*arguments)
        lines.append(f"$ overnight {' '.join(arguments)}\n{said.out}")
        if said.err:
            lines.append(f"(stderr)\n{said.err}")
        lines.append(f"(exit {said.code})\n\n")

    show(*TYPED, "--dry-run", *COMMAND)
    show(*TYPED, *COMMAND)
    show("status", "bat")
    show(*TYPED, "--json", *COMMAND)
    show(*TYPED, "--set", "limits.heartbeet=5m", *COMMAND)
    show("launch", "--runs", "sweep.csv", "--name", "bat", "--", "python", "other.py", "{seed}", "{out_dir}")
    standin.ends(failing={"bat-s1": "code"})
    show("status", "bat")
    show("why", "bat", "bat-s1")
    show("status", "nix")
    show("status", "nix", "--json")
    same("cli.txt", settled("".join(lines), root))
