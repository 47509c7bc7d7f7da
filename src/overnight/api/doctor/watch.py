"""Who watches, who brings them back, and who is told."""

import os
import stat
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from overnight.api.places import Place
from overnight.artifacts.layout import of_root
from overnight.model.health import Check, Health
from overnight.model.states import UNENDED

if TYPE_CHECKING:
    from overnight.model.notices import Notice


_SET_ASIDE = {"quarantine": "quarantined", "drain": "drained"}


def supervisor(where: Place) -> Check:
    """Is somebody watching what has not ended?"""
    from overnight import queries
    from overnight.supervisor import keep

    report, root = queries.supervisor_report(where.state_name), of_root(where.root_name)
    if report.alive and report.watch_only:
        return Check("supervisor", Health.BAD, f"pid {report.pid} only watches: it died too often of its own fault",
                     f"read {where.state / keep.SUPERVISOR_LOG}, then overnight supervisor restart {root}")  # fmt: skip
    if report.alive:
        return Check("supervisor", Health.OK, f"pid {report.pid} watches {where.root}")
    left = _unfinished(where)
    words = f"nobody watches {where.root}" + (f"; {report.words}" if report.words else "")
    if not left:
        return Check("supervisor", Health.OK, f"{words}, and nothing there needs it")
    words = f"{words}, and {left} campaign{'s have' if left != 1 else ' has'} not ended"
    start = f"overnight supervisor start {root}"
    if keep.is_stopped(where.state):
        return Check("supervisor", Health.WARN, words, start)
    return Check("supervisor", Health.BAD, words, start)


def _unfinished(where: Place) -> int:
    from overnight.ports import StoreError
    from overnight.store import ReadStore

    if not where.begun:
        return 0
    try:
        store = ReadStore(where.database)
    except StoreError:
        return 0  # the database has a line of its own
    try:
        return sum(campaign.state in UNENDED for campaign in store.campaigns())
    except StoreError:
        return 0
    finally:
        store.close()


def installed(where: Place) -> Check:
    """Does anything bring a supervisor back after a reboot?"""
    from overnight.api import installing

    method = installing.installed(where)
    if method is None:
        return Check("install", Health.NOTE, "after a reboot nobody watches until you type something",
                     f"overnight supervisor install {of_root(where.root_name)}")  # fmt: skip
    warnings = installing.linger_warnings() if method == installing.SYSTEMD else installing.cron_warnings()
    if warnings:
        words, _, hint = warnings[0].rpartition(": ")
        return Check("install", Health.WARN, f"{method} keeps this root watched, but {words}", hint)
    return Check("install", Health.OK, f"{method} keeps this root watched")


def slots() -> Check:
    """The host's directory of slots: everybody's, and nobody else's."""
    from overnight.executors.slot_files import MARKS, SlotFiles, slots_home

    home = slots_home(os.environ)
    typed = quote(str(home))
    try:
        found = os.lstat(home)
    except FileNotFoundError:
        return Check("slots", Health.OK, f"{home} is made by the first launch")
    except OSError as problem:
        return Check("slots", Health.BAD, f"{home}: {problem.strerror}", "OVERNIGHT_SLOTS_DIR names another")
    if not stat.S_ISDIR(found.st_mode):
        return Check("slots", Health.BAD, f"{home} is no directory", f"see what it is, and remove it: ls -l {typed}")
    if not os.access(home, os.W_OK | os.X_OK):
        return Check("slots", Health.BAD, f"{home} cannot be written by you", f"its owner types: chmod 1777 {typed}")
    shared = bool(found.st_mode & stat.S_IWOTH)
    if shared and not found.st_mode & stat.S_ISVTX:
        return Check("slots", Health.WARN, f"in {home} everybody may remove everybody's locks", f"chmod 1777 {typed}")
    files = SlotFiles(home)
    marks = [(kind, files.marked(kind, key)) for key in files.known() for kind in MARKS]
    aside = [f"{mark.slot} ({_SET_ASIDE[kind]})" for kind, mark in marks if mark is not None]
    if aside:
        return Check("slots", Health.WARN, f"taken out of use: {', '.join(aside[:8])}", "overnight slots says why")
    return Check("slots", Health.OK, str(home))


def gpus() -> Check:
    """Which GPUs there are, and whether their memory can be seen."""
    from overnight import nvidia
    from overnight.executors.gpus import visible_devices

    devices = visible_devices(os.environ)
    if not devices:
        nodes = [path.name for path in Path("/dev").glob("nvidia[0-9]*")]
        if nodes and os.environ.get("CUDA_VISIBLE_DEVICES") is None:
            return Check("gpus", Health.WARN, f"{', '.join(nodes)} are there, but neither NVML nor nvidia-smi answers",
                         'pip install "overnight[gpu]", or see whether nvidia-smi works')  # fmt: skip
        return Check("gpus", Health.OK, "none is visible to this shell")
    count = f"{len(devices)} visible"
    if not any(gpu.memory_used is not None for gpu in nvidia.look() or ()):
        return Check("gpus", Health.WARN, f"{count}, but their memory cannot be seen: no release check",
                     'pip install "overnight[gpu]", or see whether nvidia-smi works')  # fmt: skip
    return Check("gpus", Health.OK, count)


def notify(where: Place) -> Check:
    """Is somebody told when a person is needed?"""
    from overnight.manifest.own_config import own_config_path, read_own_config
    from overnight.model.manifest import Refusal

    path = own_config_path(os.environ)
    try:
        settings = read_own_config(path)
    except Refusal as refusal:
        return Check("notify", Health.BAD, refusal.message, refusal.hint or "")
    own = settings.notify
    ways = [name for name in ("command", "webhook", "apprise") if getattr(own, name)]
    ping = f"; {'a' if settings.ping.url else 'no'} ping"
    if not ways:
        return Check("notify", Health.NOTE, f"nobody is told of anything{ping}", f"write [notify] into {path}")
    if path.stat().st_mode & 0o077 and (own.webhook or own.apprise or settings.ping.url):
        return Check("notify", Health.WARN, f"others may read the addresses in {path}", f"chmod 600 {quote(str(path))}")
    if own.apprise and not _has_apprise():
        return Check("notify", Health.BAD, "Apprise is not installed", 'pip install "overnight[notify]"')
    late = [notice for notice in _owed(where) if notice.tries]
    if late:
        words = f"{len(late)} not delivered yet; the last try of {late[-1].key}: {late[-1].words}"
        return Check("notify", Health.WARN, words, "overnight doctor --notify tries every channel")
    return Check("notify", Health.OK, f"{', '.join(ways)}: {', '.join(own.tell)}{ping}")


def _owed(where: Place) -> "list[Notice]":
    from overnight.ports import StoreError
    from overnight.store import ReadStore

    if not where.begun:
        return []
    try:
        store = ReadStore(where.database)
    except StoreError:
        return []  # the database has a line of its own
    try:
        return store.owed_notices()
    finally:
        store.close()


def _has_apprise() -> bool:
    from importlib.util import find_spec

    return find_spec("apprise") is not None
