"""Whether a supervisor lives, for people."""

import errno
import os

from overnight.artifacts.holder import lives, of_this_boot, read_holder, stopped, visible
from overnight.model.reports import SupervisorReport


def supervisor_report(state_dir: str | os.PathLike[str]) -> SupervisorReport:
    """Whether the process that last held the lock lives. Not alive, with words, where that cannot be seen from
    here (another host, another container), or nobody is to: a person stopped it, another host leads the root."""
    try:
        holder = read_holder(state_dir)
    except FileNotFoundError:
        return SupervisorReport(alive=False, words=stopped(state_dir))
    except (OSError, ValueError) as problem:
        return SupervisorReport(alive=False, words=f"its lock file cannot be read: {problem}")
    if not of_this_boot(holder):
        if holder.hostname and holder.hostname != os.uname().nodename:
            return SupervisorReport(alive=False, words=f"it was last on host {holder.hostname}: ask there")
        return SupervisorReport(alive=False, words=stopped(state_dir))  # this host has booted since
    if not visible(holder):
        return SupervisorReport(alive=False, words="it was last in another container of this host: ask there")
    if not lives(holder):
        return SupervisorReport(alive=False, words=stopped(state_dir))
    return SupervisorReport(True, holder.pid, holder.watch_only, problem=holder.problem or _read_only(state_dir))


def _read_only(state_dir: str | os.PathLike[str]) -> str:
    """A supervisor whose disk has gone read-only cannot say so in its lock file."""
    try:
        os.utime(os.path.join(state_dir, "lock"))
    except OSError as problem:
        if problem.errno == errno.EROFS:
            return f"{os.fspath(state_dir)} is on a file system that has become read-only"
    return ""
