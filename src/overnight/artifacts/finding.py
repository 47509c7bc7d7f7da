"""Where roots and their states are. Looks only, and without what only makers of them need: every `status` asks."""

import contextlib
import json
import os
from collections.abc import Mapping

from overnight.model.codec import Struct

POINTER = ".overnight-state.json"  # in the root: {host: path of the state directory}
DATABASE = "overnight.db"
OWNER = "root"  # in the state directory: the root it belongs to


class KnownRoot(Struct, frozen=True):
    """A campaign that this user launched, and the root it is under. `host`: where."""

    root: str
    campaign: str
    host: str


def state_of(root: str) -> str | None:
    """The state directory that holds the root's database on this host, or None."""
    pointed = pointers(root).get(os.uname().nodename)
    for path in ([pointed] if pointed else []) + [os.path.join(root, ".state")]:
        if os.path.exists(os.path.join(path, DATABASE)) or closed(path):
            return path
    # A supervisor that has not made its database yet was promised this place all the same.
    return pointed if pointed and os.path.isdir(pointed) else None


def closed(state: str | os.PathLike[str]) -> bool:
    """Whether it is another user's state, which does not let us look inside. What is there nobody can say from here: it
    must not be taken for nothing."""
    return os.path.isdir(state) and not os.access(state, os.X_OK, effective_ids=True)


def owner_of(path: str | os.PathLike[str]) -> str:
    """The user that a path belongs to, by name where there is one. Raises OSError."""
    from pwd import getpwuid

    number = os.stat(path).st_uid
    try:
        return getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def root_of_state(state: str) -> str:
    """The root that a state directory belongs to: by its place where it is below it, else by what it says; empty: it
    says nothing."""
    if os.path.basename(state) == ".state":
        return os.path.dirname(state)
    try:
        with open(os.path.join(state, OWNER), encoding="utf-8", errors="surrogateescape") as file:
            return file.read().strip()
    except OSError:
        return ""


def pointers(root: str) -> dict[str, str]:
    """Host to state directory, where the root says so; torn or foreign words are nothing."""
    try:
        with open(os.path.join(root, POINTER), "rb") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return {str(host): str(path) for host, path in found.items()} if isinstance(found, dict) else {}


def memory(env: Mapping[str, str] | None = None) -> str:
    """The file in which this user's roots are remembered, which may not exist."""
    return os.path.join(user_state(env), "roots.jsonl")


def user_state(env: Mapping[str, str] | None = None) -> str:
    """Where this user's programs keep state: $XDG_STATE_HOME, else the platform's place. Not made here."""
    env = os.environ if env is None else env
    if base := env.get("XDG_STATE_HOME"):
        return os.path.join(base, "overnight")
    if "HOME" in env and os.uname().sysname == "Linux":
        return os.path.join(env["HOME"], ".local", "state", "overnight")
    from platformdirs import user_state_dir as platform_place

    try:
        found = platform_place("overnight", appauthor=False)
    except RuntimeError:
        found = ""
    # A container's bare number for a user has no home at all.
    return found if os.path.isabs(found) else f"/var/tmp/overnight-{os.getuid()}"


def known_roots(env: Mapping[str, str] | None = None) -> list[KnownRoot]:
    """What `roots.remember_root` noted, newest first, each once. Torn or foreign lines are passed over."""
    try:
        with open(memory(env), "rb") as file:
            data = file.read()
    except OSError:
        return []
    found: dict[KnownRoot, None] = {}
    for line in reversed(data.splitlines()):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            found.setdefault(KnownRoot(str(entry["root"]), str(entry["campaign"]), str(entry["host"])))
    return list(found)
