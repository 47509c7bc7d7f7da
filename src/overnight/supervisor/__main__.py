"""The supervisor's process: `python -m overnight.supervisor --state DIR --root DIR --keeper-fd N [--watch-only]`.

Exit codes, which the keeper reads: 0 a person asked it to stop, another supervisor holds the root, the state is not
there any more, or its database was taken away and only a person can `rebuild` it;
3 its keeper is gone and a new one has been brought up; anything else is its own fault.
"""

import argparse
import logging
import logging.handlers
import os
import signal
import socket
import sys
from pathlib import Path

from overnight.store import SqliteStore
from overnight.supervisor.inbox import StateGone
from overnight.supervisor.keep import database_lost, keeper_command, lost_words, spawn
from overnight.supervisor.lock import Lock, Taken
from overnight.supervisor.waiting import Waiting
from overnight.supervisor.wiring import build

log = logging.getLogger("overnight.supervisor")

KEEPER_GONE = 3
LOG_BYTES = 4 * 2**20


def main() -> int:
    """Run until told to go."""
    parser = argparse.ArgumentParser(prog="overnight.supervisor")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--keeper-fd", type=int, default=-1)
    parser.add_argument("--watch-only", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not options.state.is_dir():
        return 0
    _log_to(options.state / "supervisor.log")
    try:
        lock = Lock(options.state, watch_only=options.watch_only)
    except Taken:
        log.warning("another supervisor holds %s; this one goes", options.state)
        return 0
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
    supervisor, local, inbox, workers = build(root, state, keeper, store, watch_only=watch_only)
    supervisor.recover()
    log.info("term %s, pid %d%s", lock.term, os.getpid(), ", watch-only" if watch_only else "")
    waiting = Waiting(local, inbox.fileno(), workers.fileno())

    def loop() -> int:
        while True:
            sleep = supervisor.turn()
            lock.beat()
            if supervisor.stop_wanted:
                log.info("stopped by request")
                return 0
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


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)  # threads that hang in a dead file system keep nobody waiting
