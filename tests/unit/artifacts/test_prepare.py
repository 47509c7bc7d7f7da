"""An attempt's directory as its shim and a person find it."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from overnight.artifacts import layout
from overnight.artifacts.files import CampaignFiles
from overnight.model.codec import replace
from overnight.model.run import Slot
from overnight.ports import RunRef, StartOrder

SAYS = "import json, os, sys; print(json.dumps([sys.argv[1:], os.getcwd(), os.umask(0), dict(os.environ)]))"


def order_for(root: Path, n: int = 1) -> StartOrder:
    run_dir = layout.run_dir(str(root), "c-1", "r 1")
    return StartOrder(
        ref=RunRef("c-1", "r 1"),
        n=n,
        attempt_id=f"c-1/r 1/{n}",
        run_dir=run_dir,
        out_dir=f"{run_dir}/out",
        attempt_dir=layout.attempt_in(run_dir, n),
        argv=(sys.executable, "-c", SAYS, "a b", "$HOME", "it's", "new\nline", ""),
        cwd=str(root),
        env_set={"PLAIN": "1", "ODD": "a 'b' $c\n\udcff", "odd.name": "x=y z"},
        env_unset=("TO_GO",),
        env_default={"PET_LOG_DIR": "/logs"},
        launch_env="/state/launch/c-1.env",
        umask=0o027,
        rlimits={"NOFILE": (1024, -1)},
        slot=Slot("cpu:0", ("cpu-0",)),
        bound_seconds=3600.0,
        grace=30.0,
        run_json=b'{"campaign":"c-1"}\n',
    )


@pytest.fixture
def files(tmp_path: Path) -> CampaignFiles:
    return CampaignFiles(tmp_path, tmp_path / ".state")


def test_what_the_shim_reads(files: CampaignFiles, tmp_path: Path) -> None:
    """The shim knows nothing but these files: a field that is missing is a run that does not start."""
    order = order_for(tmp_path)
    assert files.prepare(order)
    attempt = Path(order.attempt_dir)
    env = json.loads((attempt / "env.json").read_bytes())
    assert env == {
        "attempt_id": "c-1/r 1/1",
        "argv": list(order.argv),
        "cwd": str(tmp_path),
        "umask": 0o027,
        "rlimits": {"NOFILE": [1024, -1]},
        "launch_env": "/state/launch/c-1.env",
        "set": order.env_set,
        "unset": ["TO_GO"],
        "default": {"PET_LOG_DIR": "/logs"},
    }
    assert json.loads((attempt / "bound").read_bytes()) == {"seconds": 3600.0, "grace": 30.0}
    assert (Path(order.run_dir) / "run.json").read_bytes() == order.run_json
    assert os.listdir(order.out_dir) == []
    assert sorted(os.listdir(attempt)) == ["bound", "command.sh", "env.json"]


def test_an_attempts_number_is_given_once(files: CampaignFiles, tmp_path: Path) -> None:
    """Two supervisors prepared the same attempt, and one run was started twice."""
    assert files.prepare(order_for(tmp_path))
    assert not files.prepare(replace(order_for(tmp_path), argv=("other",)))
    assert b"other" not in (Path(order_for(tmp_path).attempt_dir) / "env.json").read_bytes()
    assert files.prepare(order_for(tmp_path, 2))


def test_command_sh_runs_the_very_same(files: CampaignFiles, tmp_path: Path) -> None:
    """A person repeats a failure by hand: quoting, folder, umask and settings must be those of the run."""
    order = order_for(tmp_path)
    files.prepare(order)
    script = Path(order.attempt_dir) / "command.sh"
    assert b"launch" not in script.read_bytes().split(b"\n", 2)[2]  # the shell's own variables are not in it
    result = subprocess.run([script], env={"PATH": os.environ["PATH"], "TO_GO": "1"}, capture_output=True, check=True)
    argv, cwd, umask, env = json.loads(result.stdout)
    assert argv == list(order.argv[3:])
    assert (cwd, umask) == (str(tmp_path), 0o027)
    assert {name: env[name] for name in order.env_set} == order.env_set
    assert "TO_GO" not in env


def test_a_full_disk_gives_the_number_back(
    files: CampaignFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an attempt's directory looked like an attempt, and its run waited for it for ever."""
    order = order_for(tmp_path)
    files.prepare(order)
    real = os.write
    written = 0

    def full(fd: int, data: bytes) -> int:
        nonlocal written
        written += 1
        if written > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data)

    second = order_for(tmp_path, 2)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(os, "write", full)
        files.prepare(second)
    assert not os.path.exists(second.attempt_dir)
    assert files.prepare(second)


def test_a_torn_run_json_is_mended(files: CampaignFiles, tmp_path: Path) -> None:
    """A kill while the first attempt was prepared left a run without its link to the campaign."""
    order = order_for(tmp_path)
    os.makedirs(order.run_dir)
    (Path(order.run_dir) / "run.json").write_bytes(b"")
    assert files.prepare(order)
    assert (Path(order.run_dir) / "run.json").read_bytes() == order.run_json
