"""The failure classes: one dotted name for why an attempt ended badly, and what its retry default is."""

from enum import StrEnum

from overnight.model.codec import Struct


class RetryRule(StrEnum):
    """What a class says about trying again, before `[retry.class]` replaces it."""

    NEVER = "never"  # final: the same thing will happen
    ONCE = "once"  # one more try, then final
    AGAIN = "again"  # with backoff, up to `max_attempts`
    ELSEWHERE = "elsewhere"  # the same, away from the suspect slot or node
    OUTAGE = "outage"  # until failing for `[retry] outage` without an advance; not counted
    FREE = "free"  # not counted, up to FREE_RETRIES
    HELD = "held"  # a person decides
    NONE = "none"  # nothing to retry


class FailureClass(Struct, frozen=True):
    """One row of the taxonomy."""

    name: str
    meaning: str
    retry: RetryRule
    shareable: bool = False
    remedy: str = ""  # one sentence for a person


def _table(*rows: FailureClass) -> dict[str, FailureClass]:
    return {row.name: row for row in rows}


_R = RetryRule
_C = FailureClass

CLASSES: dict[str, FailureClass] = _table(
    _C("oom.gpu", "GPU memory exhausted", _R.NEVER,
       remedy="lower the batch size or sequence length, or give the run more GPUs"),
    _C("oom.host", "host memory exhausted", _R.ONCE,
       remedy="fewer data workers, a smaller cache, or a machine with more memory"),
    _C("shm", "/dev/shm too small, or out of descriptors while sharing tensors", _R.NEVER,
       remedy="enlarge /dev/shm (docker: --shm-size), or fewer data workers"),
    _C("nccl.timeout", "a collective timed out and nothing earlier explains it", _R.AGAIN,
       remedy="look at which rank was late in the evidence; the run is tried again by itself"),
    _C("nccl.error", "a transport error between ranks that nothing earlier explains", _R.AGAIN,
       remedy="check the links between the GPUs or hosts; the run is tried again by itself"),
    _C("rendezvous", "the workers never met", _R.AGAIN,
       remedy="check that the rendezvous host and port are reachable and free"),
    _C("network", "the outside world could not be reached", _R.OUTAGE, shareable=True,
       remedy="check the network to the host named"),
    _C("auth", "a token, key or permission was refused", _R.NEVER, shareable=True,
       remedy="renew the token or ask for access, then retry"),
    _C("data.missing", "a data set or input file is not there, or is empty", _R.NEVER, shareable=True,
       remedy="put the file in place, then retry"),
    _C("data.corrupt", "data are there but unreadable", _R.ONCE,
       remedy="fetch or rebuild the file named, then retry"),
    _C("disk.full", "no space, inodes or quota left", _R.NEVER, shareable=True,
       remedy="free space on the volume named, or raise the limit named, then retry"),
    _C("disk.io", "stale handle, I/O error or read-only file system", _R.OUTAGE,
       remedy="check the volume named"),
    _C("gpu.hardware", "the GPU itself failed", _R.ELSEWHERE,
       remedy="take the GPU out of use and have it looked at"),
    _C("gpu.driver", "no device, or driver and library disagree", _R.ELSEWHERE, shareable=True,
       remedy="make driver, CUDA and framework versions agree"),
    _C("cuda.error", "a CUDA error with no hardware word", _R.ONCE,
       remedy="run it again with CUDA_LAUNCH_BLOCKING=1 to find the line"),
    _C("config", "wrong arguments, unknown keys, missing script", _R.NEVER,
       remedy="correct the arguments of the row, then retry"),
    _C("import", "a module or shared library is missing or does not fit", _R.NEVER, shareable=True,
       remedy="install the module into the environment that launches, then retry"),
    _C("code", "an ordinary exception in the program", _R.NEVER,
       remedy="mend the line named, then retry --class code"),
    _C("numeric", "the run stopped itself: loss or gradients became NaN or diverged", _R.NEVER,
       remedy="lower the learning rate or look at the data of the step named"),
    _C("crash", "segmentation fault, illegal instruction or abort, with no better cause", _R.ONCE,
       remedy="look at the stacks in the log"),
    _C("checkpoint", "state does not fit the model, or a save failed for no named reason", _R.NEVER,
       remedy="remove the checkpoint that does not fit, or retry --scratch"),
    _C("tracker", "the experiment tracker brought the run down", _R.OUTAGE,
       remedy="check the tracker's service and token"),
    _C("preempted", "the scheduler or cloud took the machine back", _R.FREE,
       remedy="nothing to do: it is tried again by itself"),
    _C("node.lost", "the node, pod or worker died or stopped answering", _R.FREE,
       remedy="nothing to do: it is tried again by itself"),
    _C("timeout.wall", "over the run's timeout", _R.NEVER,
       remedy="raise limits.timeout (or the row's @timeout) with amend, then retry; where it has a checkpoint it "
              "resumes from there"),
    _C("timeout.attempt", "over the limit of one attempt", _R.AGAIN,
       remedy="raise limits.attempt_timeout with amend, then retry"),
    _C("timeout.host", "over the scheduler's or the host's limit", _R.FREE,
       remedy="ask the scheduler for more time, then retry"),
    _C("stall.startup", "no first advance within limits.startup", _R.ONCE,
       remedy="see in the attempt's evidence where it stood; raise limits.startup if it was at work"),
    _C("stall.output", "no sign of life for limits.heartbeat", _R.AGAIN,
       remedy="see in the attempt's evidence where it stood; raise limits.heartbeat if it was at work"),
    _C("stall.progress", "life, but no advance for limits.progress", _R.AGAIN,
       remedy="see in the attempt's evidence where it stood; raise limits.progress if it was at work"),
    _C("artifact.missing", "exited 0 without what the campaign says it must leave", _R.NEVER,
       remedy="correct [artifacts] required or the program, then retry"),
    _C("gate.failed", "the tracker gate said no", _R.NEVER,
       remedy="look at the tracker's page of the run"),
    _C("teardown.hung", "done, proven, but its processes would not end", _R.NONE),
    _C("internal", "our own fault with this one run", _R.HELD,
       remedy="report it with the story from `overnight why`, then resume"),
    _C("cancelled", "a person asked", _R.NONE),
    _C("unknown", "nothing can be shown", _R.ONCE,
       remedy="read the end of the log"),
    _C("none", "nothing failed", _R.NONE),
)  # fmt: skip

FREE_RETRIES = 10  # `free` classes, per run and epoch
LOOK_FIRST = frozenset({"unknown", "crash", "numeric", "gate.failed"})  # the remedy is to look
ATTEMPT_CEILING = 20  # attempts of any kind, per run and epoch


class Evidence(Struct, frozen=True):
    """The line that proves a class. `file` is relative to the run's directory."""

    file: str | None = None
    line: int | None = None
    text: str = ""


class Classification(Struct, frozen=True):
    """Why an attempt ended as it did."""

    name: str = "none"  # a key of CLASSES
    rule: str | None = None  # the rule that decided; `supervisor` rules are called `supervisor-…`
    message: str = ""
    evidence: Evidence | None = None
    consequences: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    about: str = ""  # what it is about, so that two runs can be seen to have met the same: a host, a path, a module

    @property
    def transient(self) -> bool:
        """Whether trying again may help, by the class's default."""
        return CLASSES[self.name].retry in TRANSIENT


TRANSIENT = frozenset({_R.ONCE, _R.AGAIN, _R.ELSEWHERE, _R.OUTAGE, _R.FREE})
