"""Faults on purpose, to show what Overnight does about them. Nothing here belongs in a real trainer.

`fault=NAME` strikes before iteration `fault_at` (default 120), on the first attempt only
($OVERNIGHT_ATTEMPT is 1 or unset), so that a retry succeeds; `fault_always=1` makes it strike every time.

    hang         goes silent for ever                             (as in a dead collective or mount)
    spin         prints for ever without advancing                (as in a data loader that waits)
    network      an endpoint that refuses the connection          (a real one: nobody listens on port 9)
    kill         is killed by SIGKILL                             (as by the kernel's out-of-memory killer)
    config       an argument nobody knows, at the start, exit 2   (what no retry can cure)
    nan          the parameters become NaN and training stops
    ignore_term  ignores SIGTERM and goes silent for ever         (as a process deep in a driver does)
"""

import os
import signal
import urllib.request
from collections.abc import Callable

from options import BadArguments, Options


def due(options: Options) -> bool:
    """Whether this attempt is one that the fault strikes."""
    first = os.environ.get("OVERNIGHT_ATTEMPT", "1") == "1"
    return options.fault != "none" and (first or options.fault_always == 1)


def strike_at_start(options: Options) -> None:
    """The fault that needs no training. Raises `BadArguments`."""
    if options.fault == "config" and due(options):
        raise BadArguments("unrecognized arguments: --weight-decy=0.1")


def strike(name: str, rest: Callable[[float], bool], spoil: Callable[[], None]) -> None:
    """Do what `name` says. `rest(seconds)` is False once the trainer was told to stop: a hang ends then, and
    the trainer saves its checkpoint. `spoil()` ruins the parameters.
    """
    if name == "hang":
        _hang(rest)
    elif name == "spin":
        while rest(0.5):
            print("still waiting for data", flush=True)
    elif name == "network":
        # No proxy: one that is configured for the machine would answer in place of the closed port.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open("http://127.0.0.1:9/datasets/charlm/shard-0001.txt", timeout=5)
    elif name == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif name == "nan":
        spoil()
    elif name == "ignore_term":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("SIGTERM is ignored from here on", flush=True)
        _hang(rest)


def _hang(rest: Callable[[float], bool]) -> None:
    while rest(0.5):
        pass
