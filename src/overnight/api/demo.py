"""The demonstration: the example's twelve runs with faults, and the supervisor killed once on the way."""

import importlib.util
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from overnight.api import launching, watchers
from overnight.api.errors import Refused
from overnight.api.places import Place
from overnight.supervisor import keep

if TYPE_CHECKING:
    from overnight.api.campaign import Campaign

SLOTS = 2
KILL_AFTER = 3  # runs that have ended
EXPECTED = {"succeeded": 11, "failed": 1}
EXPECTED_FAILURES = {"config": 1}
_LOOK_SECONDS = 0.2


def folder() -> Path:
    """Where the example is: beside us in an installed package, in `examples/` of a clone. Raises `Refused`."""
    here = Path(__file__).resolve()
    for candidate in (here.parents[1] / "cli" / "charlm", here.parents[3] / "examples" / "charlm"):
        if (candidate / "demo.toml").is_file():
            return candidate
    raise Refused("the example is not installed with this copy of Overnight", "run it in a clone: make demo")


def start(root: str | Path | None = None) -> "Campaign":
    """Launch the demonstration below `root` (default: a new folder for temporary files)."""
    if importlib.util.find_spec("numpy") is None:
        raise Refused("the example trains with numpy, which is not installed here",
                      f"{sys.executable} -m pip install numpy")  # fmt: skip
    where = Path(root) if root is not None else Path(tempfile.mkdtemp(prefix="overnight-demo-"))
    # The rows say `python3`: let that be the interpreter that has numpy.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return launching.launch(folder() / "demo.toml", slots=SLOTS, root=where, env={**os.environ, "PATH": path})


def kill_supervisor_once(campaign: "Campaign", tell: Callable[[str], None]) -> threading.Event:
    """Some runs in, the supervisor gets SIGKILL, from a thread of its own. Returns the event that ends the wait."""
    over = threading.Event()

    def strike() -> None:
        while not over.wait(_LOOK_SECONDS):
            report = campaign.status(limit=1)
            ended = sum(report.counts.get(state, 0) for state in ("succeeded", "failed"))
            if ended >= KILL_AFTER and report.supervisor.pid is not None:
                holder = keep.holder_of(campaign.place.state)
                if holder is not None and keep.kill_exactly(holder):
                    tell(f"(the demonstration kills the supervisor, pid {holder.pid}, with SIGKILL)")
                    return

    threading.Thread(target=strike, daemon=True).start()
    return over


def as_expected(campaign: "Campaign") -> bool:
    """Whether it ended as it must: eleven succeeded, one failed for its true cause."""
    report = campaign.status()
    return report.counts == EXPECTED and report.failures == EXPECTED_FAILURES


def leave(place: Place) -> None:
    """The demonstration's supervisor goes: nothing of it stays behind but its folder."""
    watchers.stop(place)
