"""The floor of dispatch: starts our shim through our keeper's fork, two at a time, and records nothing.

The keeper starts this in the supervisor's place (`--supervisor-argv`). It prepares nothing either: the attempt
directories `1` … `n` lie ready. Writes the seconds it took into `<state>/seconds`.
"""

import argparse
import array
import fcntl
import os
import select
import socket
import time
from pathlib import Path


def main() -> None:
    """Run until all are done."""
    parser = argparse.ArgumentParser()
    for name in ("--state", "--root"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--keeper-fd", type=int, required=True)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--slots", type=int, required=True)
    options = parser.parse_args()
    keeper = socket.socket(fileno=options.keeper_fd)
    locks = [os.open(options.state / f"slot-{n}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC) for n in range(options.slots)]
    for lock in locks:
        fcntl.flock(lock, fcntl.LOCK_EX)
    begun = time.perf_counter()
    _loop(keeper, options.root, options.runs, locks)
    (options.state / "seconds").write_text(f"{time.perf_counter() - begun}")


def _loop(keeper: socket.socket, root: Path, runs: int, locks: list[int]) -> None:
    epoll = select.epoll()
    epoll.register(keeper, select.EPOLLIN)
    of: dict[str, int] = {}  # the lock by attempt directory
    watched: dict[int, str] = {}  # attempt directory by pidfd

    def start(n: int, lock: int) -> None:
        folder = f"{root}/{n}"
        of[folder] = lock
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [lock]))]
        keeper.sendmsg([b'{"op": "start", "dir": "%s"}' % folder.encode()], rights)

    begun = ended = 0
    for lock in locks:
        begun += 1
        start(begun, lock)
    while ended < runs:
        for fd, _ in epoll.poll():
            if fd != keeper.fileno():
                epoll.unregister(fd)
                os.close(fd)
                lock = of.pop(watched.pop(fd))
                ended += 1
                if begun < runs:
                    begun += 1
                    start(begun, lock)
                continue
            data, fds, _, _ = socket.recv_fds(keeper, 65_536, 4, socket.MSG_CMSG_CLOEXEC)
            if not data:
                raise SystemExit("the keeper is gone")
            if fds:  # of the two reports, the one with the pidfd names what to wait for
                folder = data.split(b'"dir": "')[1].split(b'"')[0].decode()
                watched[fds[0]] = folder
                epoll.register(fds[0], select.EPOLLIN)


if __name__ == "__main__":
    main()
