"""Wiring: the only file that knows every adapter. Imports all that the supervisor will ever need, at its start:
the installation may be replaced under it."""

import os
import random
import socket
import time
from collections.abc import Callable
from pathlib import Path

from overnight.artifacts import CampaignFiles
from overnight.executors.fake import FakeExecutor
from overnight.executors.local import LocalExecutor
from overnight.manifest import code_identity, code_patch
from overnight.model.policy import CodeIdentity
from overnight.model.time import Moment
from overnight.ports import Executor, Store
from overnight.probes import FileProbe, whole
from overnight.supervisor.examine import FileExaminer
from overnight.supervisor.inbox import FileInbox
from overnight.supervisor.loop import Supervisor
from overnight.supervisor.orders import Orders
from overnight.supervisor.workers import ThreadWorkers


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


def slots_dir() -> Path:
    """The host's slot locks, for all roots and users."""
    return Path(os.environ.get("OVERNIGHT_SLOTS_DIR") or "/var/tmp/overnight-slots")


def build(
    root: Path, state: Path, keeper: socket.socket | None, store: Store, *, watch_only: bool = False,
    roll: Callable[[], float] = random.random,
) -> tuple[Supervisor, LocalExecutor, FileInbox, ThreadWorkers]:  # fmt: skip
    """A supervisor on this machine's real ground, and what its driver must wait for."""
    clock = SystemClock()
    local = LocalExecutor(clock, keeper, slots_dir())
    executors: dict[str, Executor] = {"local": local, "fake": FakeExecutor.on_files(clock)}
    files = CampaignFiles(root, state)
    probe = FileProbe()
    workers = ThreadWorkers()
    inbox = FileInbox(state)
    supervisor = Supervisor(
        store=store, clock=clock, inbox=inbox, executors=executors, probe=probe,
        examiner=FileExaminer(probe, whole), files=files, launch_files=files, code=LocalCode(root, state),
        workers=workers, orders=Orders(root, state), roll=roll, watch_only=watch_only,
    )  # fmt: skip
    return supervisor, local, inbox, workers
