"""A root with a stand-in supervisor, and a home and folder of the test's own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from standin import StandIn


@pytest.fixture(autouse=True)
def own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the person's own machine: no remembered roots, no GPUs, an empty folder to stand in."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OVERNIGHT_SLOTS_DIR", str(tmp_path / "slots of this host"))
    for name in ("ROOT", "STATE", "CONFIG", "DEBUG"):
        monkeypatch.delenv(f"OVERNIGHT_{name}", raising=False)
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where ./overnight-runs of the test's folder is."""
    return tmp_path / "here" / "overnight-runs"


@pytest.fixture
def standin(root: Path) -> Iterator[StandIn]:
    """A supervisor that answers."""
    with StandIn(root) as running:
        yield running


class Said(NamedTuple):
    """What a command line did."""

    code: int
    out: str
    err: str


Overnight = Callable[..., Said]


@pytest.fixture
def overnight(capfd: pytest.CaptureFixture[str]) -> Overnight:
    """Run one command line in this process."""
    from overnight.cli.app import run

    def typed(*arguments: str) -> Said:
        capfd.readouterr()
        code = run(list(arguments))
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return typed
