"""The lease of a root: which host leads it. For volumes that several hosts mount.

`<root>/.lease.<term>` is made once and for all by whoever takes that term: the highest one leads. `<root>/lease` is the
leader's word that it still does, written anew every few seconds. Nobody compares clocks of two hosts: who wants to
take over watches the counter in it by its own clock.
"""

import os
import secrets
from pathlib import Path

from overnight.artifacts.whole import write_first, write_whole
from overnight.model.codec import Struct, from_json, replace, to_json

WORD = "lease"
CLAIM = ".lease."
GROUND = "ground"  # in the state directory: a name for it that no other has
PADDED = 1024  # bytes: the word is replaced by one write


class Lease(Struct, frozen=True):
    """Who leads a root. `ground` names its state directory: without it, or elsewhere, nobody knows what lives."""

    term: int
    host: str
    ground: str
    state: str = ""  # the path of that directory, for people
    pid: int = 0
    beat: int = 0  # moves while the leader lives
    at: float = 0.0  # Unix time by the leader's clock, for people
    stopped: bool = False  # a person stopped the supervisor
    live: int = 0  # attempts that were alive then

    def same_ground(self, other: "Lease") -> bool:
        """Whether both are of one host and its one state directory."""
        return (self.host, self.ground) == (other.host, other.ground)


def read_lease(root: str) -> Lease | None:
    """The leader of `root`, with its last word; None if nobody has led it yet. Raises OSError."""
    term = _highest(root)
    if term == 0:
        return None
    claim = _read(f"{root}/{CLAIM}{term}")
    word = _read(f"{root}/{WORD}")
    if word is not None and word.term == term and (claim is None or word.same_ground(claim)):
        return word
    # A claim that is still being written, on a file system without links: somebody's, but nobody's name yet.
    return claim or Lease(term, "another host", "")


def take_lease(root: str, lease: Lease) -> bool:
    """Make the term ours; False if somebody has it already. Raises OSError."""
    if not write_first(f"{root}/{CLAIM}{lease.term}", to_json(lease) + b"\n"):
        return False
    renew_lease(root, lease)
    return True


def renew_lease(root: str, lease: Lease) -> None:
    """Say that we lead: in place, so that a full disk ends no term. Raises OSError."""
    path, data = f"{root}/{WORD}", to_json(lease).ljust(PADDED - 1) + b"\n"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        write_whole(path, data, mode=0o644)
        return
    try:
        os.pwrite(fd, data, 0)
        os.ftruncate(fd, len(data))
    finally:
        os.close(fd)


def my_lease(state: str, term: int = 0) -> Lease:
    """A lease of this host's, by its state directory, which is given its name if it has none. Raises OSError."""
    path = Path(state, GROUND)
    if not path.exists():
        write_first(str(path), f"{secrets.token_hex(16)}\n".encode())
    ground = path.read_text("ascii").strip()
    return Lease(term, os.uname().nodename, ground, state, os.getpid())


def told(lease: Lease, beat: int, at: float, live: int = 0, *, stopped: bool = False) -> Lease:
    """The next word of its holder."""
    return replace(lease, beat=beat, at=at, live=live, stopped=stopped, pid=os.getpid())


def _highest(root: str) -> int:
    try:
        names = os.listdir(root)
    except FileNotFoundError:
        return 0
    terms = [name.removeprefix(CLAIM) for name in names if name.startswith(CLAIM)]
    return max((int(term) for term in terms if term.isdecimal()), default=0)


def _read(path: str) -> Lease | None:
    try:
        return from_json(Path(path).read_bytes(), Lease)
    except (FileNotFoundError, ValueError):
        return None
