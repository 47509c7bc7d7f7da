"""The rehearsal: a few attempts of nothing, run by the keeper itself before its first fork.

The interpreter writes to its code the first times that it runs it (counters, specialised instructions, caches of
types, symbols bound at their first call). What it has written before a fork is shared by every shim; what it writes
after, each shim has to copy for itself: about a sixth of all pages it copies, here 0.5 ms of CPU a run.
"""

import contextlib
import json
import os
import signal

from overnight.shim import shim

TIMES = 12  # the interpreter specialises what has run eight times
_FILES = ("env.json", "launch.env", "bound", "output.log", "started", "exit", "exit.tmp")


def rehearse(state: str) -> None:
    """Run `true` some times in a directory of its own below `state`, which is removed again (one that a keeper was
    killed in is used anew).

    Everything must be ready as for a shim: signals held, and no child of ours yet. A disk that is full or broken is
    no reason not to go on: then the shims are slower.
    """
    folder = os.path.join(state, "keeper.rehearsal")
    asked_to_end = False
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)
        try:
            for _ in range(TIMES):
                asked_to_end = _once(folder) or asked_to_end
        finally:
            _clear(folder)
            os.rmdir(folder)
    except (OSError, ValueError):
        pass
    if asked_to_end:  # the word was for the keeper, which reads it when it listens
        os.kill(os.getpid(), signal.SIGTERM)


def _once(folder: str) -> bool:
    """Whether somebody asked for an end meanwhile."""
    spec = {
        "attempt_id": "rehearsal", "argv": ["true"], "cwd": "/", "umask": 0o022, "rlimits": {},
        "launch_env": f"{folder}/launch.env", "set": {"OVERNIGHT_RUN": "rehearsal"}, "unset": [],
    }  # fmt: skip
    _clear(folder)
    bound = {"seconds": 60.0, "grace": 0.0}
    for name, document in (("env.json", spec), ("launch.env", dict(os.environ)), ("bound", bound)):
        with open(f"{folder}/{name}", "w") as file:
            file.write(json.dumps(document))
    shim.run_attempt(folder)
    with open(f"{folder}/exit") as file:
        return bool(json.loads(file.read())["stopped"])


def _clear(folder: str) -> None:
    for name in _FILES:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{folder}/{name}")
