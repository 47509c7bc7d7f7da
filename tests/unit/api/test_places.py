"""Which roots are asked, and what is said of those that hang."""

import os
from pathlib import Path

import pytest

from overnight.api import places
from overnight.api.errors import NotFound, Unreachable
from overnight.artifacts import filesystems
from overnight.artifacts.roots import remember_root, state_dir
from overnight.cli.app import run
from overnight.store import SqliteStore

DEAD = "dead"


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """(one that answers, one that hangs), both remembered; whoever opens anything in the second is caught."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "user"))
    for name in ("OVERNIGHT_ROOT", "OVERNIGHT_STATE"):
        monkeypatch.delenv(name, raising=False)
    found = tmp_path / "well" / "runs", tmp_path / DEAD / "runs"
    for root in found:
        SqliteStore(state_dir(root) / "overnight.db").close()
        remember_root(root, "bat-0123456789")
    monkeypatch.setattr(filesystems, "served_from", lambda path: str(tmp_path / DEAD) if f"/{DEAD}" in path else "")
    monkeypatch.setattr(filesystems, "answers", lambda path, seconds=0.0: False)
    looked = places.state_of

    def state_of(root: str) -> str | None:
        assert f"/{DEAD}" not in root, "somebody sleeps here now"
        return looked(root)

    monkeypatch.setattr(places, "state_of", state_of)
    return found


def test_a_root_that_hangs_keeps_nobody_from_the_others(roots: tuple[Path, Path]) -> None:
    """The file server of last month's campaign was down, and `status` of this night's hung."""
    silent = places.Silent()
    assert [place.root for place in places.places_to_look(None, silent)] == [roots[0]]
    assert silent.points == [str(roots[1].parent)]


def test_what_hangs_is_said(roots: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """A campaign on a dead file server was "no longer there"."""
    with pytest.raises(Unreachable, match=f"{DEAD} hangs"):
        places.find("bat")
    with pytest.raises(Unreachable, match=f"the file system at {roots[1].parent} hangs"):
        places.place_of(str(roots[1]))
    with pytest.raises(Unreachable):
        list(places.places_to_look(roots[1]))
    assert run(["status"]) == 0
    assert f"{roots[1].parent} is left out: its file system hangs" in capsys.readouterr().err


def test_a_state_that_was_named_is_its_own_roots(roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """With `OVERNIGHT_STATE` exported, a campaign was shown under whatever folder one stood in, and could be changed
    there."""
    state = state_dir(roots[0])
    monkeypatch.setenv("OVERNIGHT_STATE", str(state))
    assert places.place_of(str(roots[0])).state == state
    other = os.path.abspath("overnight-runs")
    assert places.place_of(other).state_name == f"{other}/.state"
    with pytest.raises(NotFound):
        places.find("bat", other)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_is_typed_for_a_damaged_database_is_for_its_root(
    elsewhere: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`overnight rebuild`, typed as it was said, made a new database in another root."""
    if elsewhere:
        monkeypatch.setenv("OVERNIGHT_STATE", str(tmp_path / "state"))
    root = tmp_path / "my runs"
    (state_dir(root) / "overnight.db").write_bytes(b"no database" * 1000)
    with pytest.raises(Unreachable) as fault:
        places.all_campaigns(root)
    assert str(fault.value.hint).startswith(f"overnight rebuild --root '{root}' makes")
