"""What needs no log: the supervisor's own deeds, the scheduler's word, a start that failed, an exit status."""

import errno
import signal

from overnight.failures.outcome import Outcome
from overnight.model.classes import Classification

_SCHEDULER: dict[str, str] = {
    # Slurm, squeue(1) "job state codes"
    "TIMEOUT": "timeout.host", "DEADLINE": "timeout.host", "PREEMPTED": "preempted", "REQUEUED": "preempted",
    "REVOKED": "preempted", "SUSPENDED": "preempted", "NODE_FAIL": "node.lost", "BOOT_FAIL": "node.lost",
    "LAUNCH_FAILED": "node.lost", "OUT_OF_MEMORY": "oom.host", "CANCELLED": "cancelled", "OUT_OF_ME": "oom.host",
    "SPECIAL_EXIT": "unknown", "REQUEUE_HOLD": "preempted", "RECONFIG_FAIL": "node.lost",
    # Slurm's short codes
    "TO": "timeout.host", "DL": "timeout.host", "PR": "preempted", "RQ": "preempted", "NF": "node.lost",
    "BF": "node.lost", "OOM": "oom.host", "CA": "cancelled",
    # Kubernetes: reasons of pods, containers and jobs
    "OOMKILLED": "oom.host", "EVICTED": "preempted", "DEADLINEEXCEEDED": "timeout.host", "NODELOST": "node.lost",
    "NODEAFFINITY": "node.lost", "NODESHUTDOWN": "preempted", "SHUTDOWN": "preempted", "TERMINATED": "preempted",
    "PREEMPTIONBYSCHEDULER": "preempted", "PREEMPTIONBYKUBESCHEDULER": "preempted", "PREEMPTING": "preempted",
    "DELETIONBYTAINTMANAGER": "node.lost", "DELETIONBYPODGC": "node.lost", "TERMINATIONBYKUBELET": "preempted",
    "EVICTIONBYEVICTIONAPI": "preempted", "NODENOTREADY": "node.lost", "UNEXPECTEDADMISSIONERROR": "node.lost",
    "OUTOFCPU": "node.lost", "OUTOFMEMORY": "oom.host", "CONTAINERSTATUSUNKNOWN": "node.lost",
    "IMAGEPULLBACKOFF": "config", "ERRIMAGEPULL": "config", "INVALIDIMAGENAME": "config",
    "CREATECONTAINERCONFIGERROR": "config", "CREATECONTAINERERROR": "config", "CONTAINERCANNOTRUN": "config",
    # LSF's TERM_ reasons
    "TERM_MEMLIMIT": "oom.host", "TERM_SWAP": "oom.host", "TERM_RUNLIMIT": "timeout.host",
    "TERM_CPULIMIT": "timeout.host",
    "TERM_DEADLINE": "timeout.host", "TERM_PREEMPT": "preempted", "TERM_OWNER": "cancelled", "TERM_ADMIN": "cancelled",
    "TERM_FORCE_OWNER": "cancelled", "TERM_FORCE_ADMIN": "cancelled", "TERM_REQUEUE_OWNER": "preempted",
    "TERM_REQUEUE_ADMIN": "preempted", "TERM_LOAD": "preempted",
    # clouds, Ray
    "SPOT_INTERRUPTION": "preempted", "SPOT": "preempted", "INTERRUPTED": "preempted", "NODE_DIED": "node.lost",
    "STOPPED": "cancelled", "PREEMPTION": "preempted", "MAINTENANCE": "preempted", "HOST_ERROR": "node.lost",
}  # fmt: skip

_START: dict[int, str] = {
    errno.ENOSPC: "disk.full", errno.EDQUOT: "disk.full", errno.EIO: "disk.io", errno.ESTALE: "disk.io",
    errno.EROFS: "disk.io", errno.ENOMEM: "oom.host", errno.ENOENT: "config", errno.ENOTDIR: "config",
    errno.EACCES: "config", errno.EPERM: "config", errno.ENOEXEC: "config", errno.E2BIG: "config",
    errno.EISDIR: "config", errno.ELOOP: "config", errno.ENAMETOOLONG: "config", errno.EINVAL: "config",
}  # fmt: skip


def supervised(outcome: Outcome) -> Classification | None:
    """What the supervisor did itself is known, not guessed."""
    by = outcome.ended_by
    if by == "stall":
        name = outcome.stall or "stall.output"
        return Classification(name, "supervisor-stall", outcome.words or f"ended by the supervisor: {name}")
    if by == "timeout":
        name = outcome.timeout or "timeout.wall"
        return Classification(name, "supervisor-timeout", outcome.words or f"ended by the supervisor: {name}")
    if by == "cancel":
        return Classification(name="cancelled", rule="supervisor-cancel", message="cancelled by a person")
    if by == "pause":
        return Classification(name="cancelled", rule="supervisor-pause", message="ended by `pause --now`; not counted")
    if by == "deadline":
        return Classification("timeout.host", "supervisor-deadline", outcome.words or "ended at the host's deadline")
    if by == "lost":
        return Classification(name="node.lost", rule="supervisor-lost", message="its host or worker was lost")
    return None


def not_started(outcome: Outcome) -> Classification | None:
    """A command that the system refused to run."""
    if outcome.start_error is None:
        return None
    name = _START.get(outcome.start_errno or 0, "unknown")
    return Classification(
        name=name, rule="supervisor-start", message=f"the command could not be started: {outcome.start_error}"
    )


def scheduled(outcome: Outcome) -> Classification | None:
    """The scheduler's stated reason; None when it states none (FAILED, COMPLETED) or one that we do not know."""
    if not outcome.scheduler_state:
        return None
    word = outcome.scheduler_state.strip()
    name = _SCHEDULER.get(word.split()[0].upper().rstrip("+:,")) if word else None
    if name is None:
        name = _SCHEDULER.get(word.replace("-", "").replace("_", "").replace(" ", "").upper())
    if name is None or name == "unknown":
        return None
    return Classification(name=name, rule="scheduler-state", message=f"the scheduler's word: {word}")


def signal_of(outcome: Outcome) -> str | None:
    """The signal that ended the command, also where a shell (128 + n) or Python (-n) passed it on as a number."""
    if outcome.signal:
        word = outcome.signal.upper()
        if word.isdigit():
            return _signal_name(int(word))
        return word if word.startswith("SIG") else f"SIG{word}"
    code = outcome.exit_code
    if code is None:
        return None
    if code < 0:
        return _signal_name(-code)
    return _signal_name(code - 128) if 128 < code < 128 + 32 else None


def _signal_name(number: int) -> str | None:
    try:
        return signal.Signals(number).name
    except ValueError:
        return None


def by_strong_signal(outcome: Outcome) -> Classification | None:
    """Signals that say what happened better than what other processes print about it."""
    name = signal_of(outcome)
    if name == "SIGBUS":
        return Classification(
            name="shm", rule="signal", message="ended by SIGBUS: most often a shared memory segment that could not grow"
        )
    if name in ("SIGSEGV", "SIGILL", "SIGFPE"):
        return Classification(name="crash", rule="signal", message=f"ended by {name}")
    return None


def by_status(outcome: Outcome) -> Classification:
    """Exit status alone: item 6 of the order of evidence."""
    name = signal_of(outcome)
    if name in ("SIGABRT", "SIGTRAP", "SIGSYS", "SIGIOT"):
        return Classification(name="crash", rule="signal", message=f"ended by {name} without a word")
    if name == "SIGKILL":
        return Classification(
            name="unknown",
            rule="signal",
            message="ended by SIGKILL; neither the kernel log nor a cgroup says that memory was the reason",
        )
    if name == "SIGXFSZ":
        return Classification(name="disk.full", rule="signal", message="ended by SIGXFSZ: a file grew beyond its limit")
    if name == "SIGXCPU":
        return Classification(name="timeout.host", rule="signal", message="ended by SIGXCPU: the limit of CPU time")
    if name:
        return Classification(name="unknown", rule="signal", message=f"ended by {name}; nobody says why")
    if outcome.exit_code == 124:
        return Classification(
            name="unknown", rule="exit-code", message="exited with 124, as timeout(1) does; nobody says why"
        )
    if outcome.exit_code is not None:
        return Classification(
            name="unknown",
            rule="exit-code",
            message=f"exited with {outcome.exit_code} and said nothing that explains it",
        )
    return Classification(name="unknown", rule="exit-code", message="failed without a word that explains it")
