"""The supervisor's process: `python -m overnight.supervisor --state DIR --root DIR --keeper-fd N [--watch-only]`.

Exit codes, which the keeper reads: 0 a person asked it to stop, the state is not there any more, or its database was
taken away and only a person can `rebuild` it; 3 its keeper is gone and a new one has been brought up; 6 another
supervisor holds the root, whose keeper must be dead, for ours has its lock; anything else is its own fault.
"""

import argparse
import logging
import logging.handlers
import os
import select
import signal
import socket
import sys
from pathlib import Path

from overnight.artifacts.layout import of_root
from overnight.executors.local import LocalExecutor
from overnight.store import SqliteStore
from overnight.supervisor.inbox import StateGone
from overnight.supervisor.keep import (
    database_lost,
    is_stopped,
    keeper_command,
    keeper_lives,
    lost_words,
    spawn,
    wish_stopped,
)
from overnight.supervisor.lock import Lock, Taken
from overnight.supervisor.loop import Supervisor
from overnight.supervisor.tenure import META, LeaseTenure
from overnight.supervisor.waiting import Waiting
from overnight.supervisor.wiring import build

log = logging.getLogger("overnight.supervisor")

KEEPER_GONE = 3
TAKEN = 6  # keeper.respawn knows it
LOG_BYTES = 4 * 2**20


def main() -> int:
    """Run until told to go."""
    parser = argparse.ArgumentParser(prog="overnight.supervisor")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--keeper-fd", type=int, default=-1)
    parser.add_argument("--watch-only", action="store_true")
    parser.add_argument("--contended", action="store_true", help="the one before found another in its place")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not options.state.is_dir():
        return 0
    _log_to(options.state / "supervisor.log")
    try:
        lock = Lock(options.state, watch_only=options.watch_only)
    except Taken:
        log.warning("another supervisor holds %s; this one goes", options.state)
        return TAKEN
    if options.contended and is_stopped(options.state):
        return 0  # the other one was asked to go, and went
    keeper = None
    if options.keeper_fd >= 0:
        keeper = socket.socket(fileno=options.keeper_fd)
        keeper.setblocking(False)
        os.set_inheritable(options.keeper_fd, False)
    try:
        return _supervise(options.root, options.state, keeper, lock, options.watch_only)
    except StateGone:
        log.error("%s was removed or replaced; its supervisor goes", options.state)
        return 0
    except Exception:
        log.exception("the supervisor fails")
        if options.keeper_fd >= 0 and not keeper_lives(options.state):
            lock.close()  # whoever would start the next one has died before us
            spawn(keeper_command(options.root, options.state), options.state)
        return 1


def _log_to(path: Path) -> None:
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.raiseExceptions = False  # a full disk must not reach the loop through the log
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _supervise(root: Path, state: Path, keeper: socket.socket | None, lock: Lock, watch_only: bool) -> int:
    if database_lost(root, state):  # not made anew here, where nobody would know what lives
        log.error("%s; %s", *lost_words(root, state))
        return 0
    store = SqliteStore(state / "overnight.db")
    known = store.meta(META)
    tenure = LeaseTenure(root, state, int(known) if known is not None else None)
    supervisor, local, inbox, workers = build(root, state, keeper, store, tenure, watch_only=watch_only)
    if tenure.superseded:
        supervisor.ledger.load()
        return _step_down(supervisor, local, state, tenure.superseded, lock)
    if known is None:
        supervisor.ledger.batch.meta[META] = str(tenure.term)
    elif known != str(tenure.term):
        log.error("the takeover of %s was not finished; overnight resume %s", root, of_root(root))
        return 0
    supervisor.recover()
    log.info("term %s, pid %d%s", lock.term, os.getpid(), ", watch-only" if watch_only else "")
    waiting = Waiting(local, inbox.fileno(), workers.fileno())

    def loop() -> int:
        while True:
            sleep = supervisor.turn()
            lock.beat(supervisor.problem)
            if supervisor.stop_wanted:
                log.info("stopped by request")
                tenure.leave(sum(supervisor.ledger.live.values()))
                return 0
            if supervisor.superseded:
                return _step_down(supervisor, local, state, supervisor.superseded, lock)
            if local.keeper_lost:
                log.warning("the keeper is gone: a new one is brought up")
                return KEEPER_GONE
            if waiting.wait(sleep):
                inbox.drain()
            workers.heard()

    outcome = workers.lead(loop)
    store.close()
    if outcome == KEEPER_GONE:
        lock.close()
        spawn(keeper_command(root, state), state)
    return outcome


def _step_down(supervisor: Supervisor, local: LocalExecutor, state: Path, leader: str, lock: Lock) -> int:
    """The keeper brings nobody up after this, until a person takes the root back."""
    log.warning("%s: stepping down", leader)
    wish_stopped(state, leader)

    def wait(seconds: float) -> None:
        lock.beat(leader)  # a grace may be longer than the keeper's patience
        select.select([local.fileno()], [], [], seconds)

    left = supervisor.step_down(wait)
    for ref in left:
        log.error("%s/%s would not end; its slot stays taken", ref.campaign, ref.run_id)
    return 0


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)  # threads that hang in a dead file system keep nobody waiting
