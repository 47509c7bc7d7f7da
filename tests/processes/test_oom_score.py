"""Who the kernel takes first when memory runs out: the run, never those who watch it."""

import subprocess
import sys
from pathlib import Path

from campaign_world import Ground, ground
from keeper_world import SHIM, await_that, exit_record, prepare, read_when_there

from overnight.shim import shim

__all__ = ["ground"]

# The shim goes back to where it was once the command runs, which may be a moment earlier on a busy machine.
SAYS = """
cat /proc/self/oom_score_adj
sh -c 'cat /proc/self/oom_score_adj'
n=0
until [ $(cat /proc/$PPID/oom_score_adj) = {} ] || [ $n = 500 ]; do n=$((n + 1)); sleep 0.01; done
cat /proc/$PPID/oom_score_adj
"""
OWN = "/proc/self/oom_score_adj"
PR_CAPBSET_DROP, CAP_SYS_RESOURCE = 24, 24


def says(shim_score: int, more: str = "") -> list[str]:
    """A command that tells `scores`, once its shim has that one."""
    return ["sh", "-c", SAYS.format(shim_score) + more]


def scores(folder: Path) -> list[int]:
    """Of the command, its child and its shim, as they saw them."""
    return [int(line) for line in (folder / "output.log").read_text().split()]


def started_at(folder: Path, score: int | None = None, *, privileged: bool = True) -> None:
    """Run the shim from a process of that score; not privileged: without CAP_SYS_RESOURCE, even for root."""
    words = [f"open({OWN!r}, 'w').write('{score}')"] if score is not None else []
    words += [] if privileged else [f"ctypes.CDLL(None).prctl({PR_CAPBSET_DROP}, {CAP_SYS_RESOURCE}, 0, 0, 0)"]
    code = "; ".join(["import ctypes, os, sys", *words, "os.execv(sys.argv[1], sys.argv[1:])"])
    subprocess.run([sys.executable, "-c", code, sys.executable, str(SHIM), str(folder)], check=True)


def test_a_command_is_raised_above_its_shim(tmp_path: Path) -> None:
    """The kernel killed the shim of a trainer that ate the memory: the record was lost and the trainer went on."""
    here = int(Path(OWN).read_text())
    folder = prepare(tmp_path / "1", says(here))
    started_at(folder)
    assert exit_record(folder)["code"] == 0
    raised = min(here + shim.OOM_RAISE, shim.OOM_MOST)
    assert scores(folder) == [raised, raised, here]


def test_never_above_the_kernels_own_bound(tmp_path: Path) -> None:
    """1,500 is refused by the kernel, and the command would have stayed as precious as its shim."""
    own = max(700, int(Path(OWN).read_text()))
    folder = prepare(tmp_path / "1", says(own))
    started_at(folder, own)
    assert scores(folder) == [1000, 1000, own]


def test_it_needs_no_privilege(tmp_path: Path) -> None:
    """On a cluster nobody is root. The shim comes back to where it was, and not a step below."""
    own = max(200, int(Path(OWN).read_text()))  # nobody may go below where this machine has put us
    folder = prepare(tmp_path / "1", says(own, "grep CapEff /proc/self/status"))
    started_at(folder, own, privileged=False)
    *seen, _, capabilities = (folder / "output.log").read_text().split()
    assert not int(capabilities, 16) >> CAP_SYS_RESOURCE & 1
    assert list(map(int, seen)) == [min(own + shim.OOM_RAISE, shim.OOM_MOST)] * 2 + [own]


def test_keeper_and_supervisor_stay_where_they_were(ground: Ground) -> None:
    """Guards against a watcher that the kernel takes before the run which ate the memory."""
    here = int(Path(OWN).read_text())
    told = ground.base / "told"
    ground.launch("--", "sh", "-c", f"cat {OWN} > {told}; sleep 60")
    assert int(read_when_there(told)) == min(here + shim.OOM_RAISE, shim.OOM_MOST)
    watchers = [ground.keeper(), ground.supervisor()]
    await_that(lambda: [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in watchers] == [here, here])
