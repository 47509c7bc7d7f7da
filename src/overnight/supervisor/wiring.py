"""Wiring: the only file that knows every adapter. Imports all that the supervisor will ever need, at its start:
the installation may be replaced under it."""

import os
import pkgutil
import random
import socket
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import overnight
from overnight import failures
from overnight.artifacts import CampaignFiles
from overnight.executors.fake import FakeExecutor
from overnight.executors.local import LocalExecutor
from overnight.executors.slot_files import slots_home
from overnight.manifest import code_identity, code_patch
from overnight.manifest.own_config import own_config_path, read_own_config
from overnight.model.policy import CodeIdentity
from overnight.model.settings import Settings
from overnight.model.time import Moment
from overnight.notify import OwnNotifier
from overnight.ports import Executor, Store, Tenure
from overnight.probes import FileProbe, whole
from overnight.probes.cures import GroundCures
from overnight.probes.kernel import KernelWitness
from overnight.supervisor.examine import FileExaminer
from overnight.supervisor.inbox import FileInbox
from overnight.supervisor.loop import Supervisor
from overnight.supervisor.orders import Orders
from overnight.supervisor.workers import LeaderWorkers


class SystemClock:
    """The real one. Boot identity is read once: a process does not outlive its boot."""

    def __init__(self) -> None:
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def now(self) -> Moment:
        return Moment(time.monotonic(), time.time(), self._boot)


class LocalCode:
    """Looks at code on this machine, leaving out the root and the state."""

    def __init__(self, root: Path, state: Path) -> None:
        self._exclude = (root, state)

    def identity(self, cwd: str) -> CodeIdentity:
        return code_identity(Path(cwd), self._exclude)

    def patch(self, cwd: str) -> str | None:
        return code_patch(Path(cwd), self._exclude)


_NOT_OURS_TO_NEED = ("api", "cli", "queries", "run", "testing")


def preload() -> None:
    """Import every module below us and read the failure rules: what is replaced on disk later does not matter."""
    for found in pkgutil.iter_modules(overnight.__path__):
        if found.name in _NOT_OURS_TO_NEED or found.name.startswith("_"):
            continue
        module = import_module(f"overnight.{found.name}")
        if not found.ispkg:
            continue
        for inner in pkgutil.walk_packages(module.__path__, f"overnight.{found.name}."):
            if not inner.name.endswith((".__main__", ".document")):
                import_module(inner.name)
    failures.load_rules()


def _own_settings() -> Settings:
    return read_own_config(own_config_path(os.environ))


def build(
    root: Path, state: Path, keeper: socket.socket | None, store: Store, tenure: Tenure, *, watch_only: bool = False,
    roll: Callable[[], float] = random.random,
) -> tuple[Supervisor, LocalExecutor, FileInbox, LeaderWorkers]:  # fmt: skip
    """A supervisor on this machine's real ground, and what its driver must wait for."""
    preload()
    clock = SystemClock()
    local = LocalExecutor(clock, keeper, slots_home(os.environ))
    executors: dict[str, Executor] = {"local": local, "fake": FakeExecutor.on_files(clock)}
    files = CampaignFiles(root, state)
    probe = FileProbe()
    workers = LeaderWorkers()
    inbox = FileInbox(state)
    supervisor = Supervisor(
        store=store, clock=clock, inbox=inbox, executors=executors, probe=probe,
        examiner=FileExaminer(probe, whole, KernelWitness().lines), files=files, launch_files=files,
        code=LocalCode(root, state), cures=GroundCures(),
        workers=workers, orders=Orders(root, state), roll=roll, watch_only=watch_only,
        notifier=OwnNotifier(_own_settings), tenure=tenure,
    )  # fmt: skip
    return supervisor, local, inbox, workers
