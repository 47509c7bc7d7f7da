"""Events of every type for one run, sensible and not, as Hypothesis strategies and as one sample of each."""

from hypothesis import strategies as st

from overnight.model import events as e
from overnight.model.campaign import Campaign, Device
from overnight.model.classes import CLASSES, Classification, Evidence
from overnight.model.policy import Limits, Policy, Resources, RetryPolicy, RowPolicy
from overnight.model.run import ExitRecord, Process, Slot, Vitals
from overnight.model.time import Moment

PROCESS = Process("host", "boot", "ns", 1, 4711, 99)
LIMITS = ("timeout", "attempt_timeout", "startup", "heartbeat", "progress")
DEVICES = tuple(Device(str(i), f"GPU-{i}") for i in range(3))
VERDICTS = ["none", "unknown", "config", "nccl.timeout", "nccl.error", "network", "tracker", "preempted", "node.lost",
            "gpu.hardware", "gpu.driver", "data.corrupt", "checkpoint", "timeout.wall", "timeout.attempt",
            "stall.output", "cancelled", "teardown.hung"]  # fmt: skip


def moment(seconds: float) -> Moment:
    """So many seconds after the beginning."""
    return Moment(100.0 + seconds, 1_700_000_000.0 + seconds, "boot")


POLICIES = (
    Policy(resources=Resources(gpus=1)),
    Policy(resources=Resources(gpus=1), retry=RetryPolicy(max_attempts=10_000, outage=1e12, by_class={"*": 10_000})),
    Policy(limits=Limits(timeout=300.0), retry=RetryPolicy(max_attempts=1), fail_fast=True),
)


def campaign(policy: Policy) -> Campaign:
    """A campaign with three GPUs."""
    return Campaign("c-1", "c", "0" * 64, moment(0), policy, "/", devices=DEVICES)


keys = st.sampled_from(["", "auth:x", "network:x"])
numbers = st.floats(0, 1e6)
maybe_numbers = st.none() | numbers
slots = st.sampled_from([Slot("cpu:0"), Slot("gpu:0", ("GPU-0",), ("0",)), Slot("gpu:1", ("GPU-1",), ("1",))])
words = st.sampled_from(["", "why", "é\n\"'"])
vitals = st.builds(
    Vitals, lines=st.integers(0, 50), first_step=maybe_numbers, step=maybe_numbers, total=maybe_numbers,
    metrics=st.dictionaries(st.sampled_from(["loss", "lr"]), numbers, max_size=2), started_moving=st.booleans(),
    marked=st.booleans(), last_life=numbers, last_advance=numbers, longest_quiet=numbers, longest_gap=numbers,
    seconds=numbers,
)  # fmt: skip
exits = st.builds(
    ExitRecord, code=st.none() | st.integers(0, 255), signal=st.sampled_from([None, "SIGKILL"]),
    seconds=st.floats(0, 100), stopped=st.sampled_from([None, "request", "bound"]), recorded=st.booleans(),
)  # fmt: skip
evidence = st.none() | st.builds(Evidence, st.just("attempts/1/output.log"), st.integers(1, 9), words)
checkpoints = st.lists(st.sampled_from(["o/ckpt-1.pt", "o/ckpt-2.pt", "o/last.pt"]), max_size=3, unique=True).map(tuple)
flags = st.sampled_from([(), ("gpu.shared",), ("x", "y")])


def classifications(names: st.SearchStrategy[str]) -> st.SearchStrategy[Classification]:
    """A verdict of the examiner."""
    return st.builds(Classification, names, st.just("rule"), words, evidence, st.just(("nccl.timeout",)), flags)


def any_event(newest: int, at: Moment) -> st.SearchStrategy[e.Event]:
    """Any event whatever, also of attempts that are old or that nobody asked for."""
    now, n = st.just(at), st.sampled_from([newest] * 4 + [max(newest - 1, 0), newest + 1])
    epoch, by = st.integers(0, 4), st.sampled_from(["ann", "bob"])
    return st.one_of(
        st.builds(e.RunPlanned, now, n, slots, st.just(1)),
        st.builds(e.RetryDue, now),
        st.builds(e.CancelRequested, now, by, words),
        st.builds(e.RetryRequested, now, by, st.booleans()),
        st.builds(e.ResumeRequested, now, by),
        st.builds(e.PauseRequested, now, by),
        st.builds(e.HoldRequested, now, st.just("auth"), words, keys),
        st.builds(e.CauseCured, now, keys, words),
        st.builds(e.JudgementDue, now, keys),
        st.builds(e.SlotQuarantined, now, slots),
        st.builds(e.LimitsAmended, now, st.just(2)),
        st.builds(e.RowAmended, now, st.builds(RowPolicy, priority=st.integers(-2, 2))),
        st.builds(e.RunFaulted, now, words),
        st.builds(e.RunFinished, now, epoch),
        st.builds(e.SetAsideDone, now, epoch),
        st.builds(e.AttemptQueued, now, n, st.just("job-1")),
        st.builds(e.AttemptStarting, now, n),
        st.builds(e.AttemptStarted, now, n, st.sampled_from([None, PROCESS]), now),
        st.builds(e.AttemptNeverBegan, now, n, words),
        st.builds(e.AttemptEnded, now, n, exits, st.none(), st.none(),
                  st.sampled_from([None, "node.lost", "preempted"]), words),
        st.builds(e.AttemptLost, now, n, words),
        st.builds(e.AttemptFound, now, n),
        st.builds(e.LimitReached, now, n, st.sampled_from(LIMITS), numbers, numbers, vitals),
        st.builds(e.BoundSet, now, n),
        st.builds(e.AttemptVerified, now, n, classifications(st.sampled_from(VERDICTS)), vitals, checkpoints,
                  st.floats(0, 1, exclude_max=True)),
    )  # fmt: skip


def one_of_each(newest: int, at: Moment) -> list[e.Event]:
    """The plainest event of every type for a run whose newest attempt is `newest`, and all verdicts."""
    n = newest
    return [
        e.RunPlanned(at, n + 1, Slot("gpu:0"), 1), e.RetryDue(at), e.CancelRequested(at, "ann"),
        e.RetryRequested(at, "ann"), e.ResumeRequested(at, "ann"), e.PauseRequested(at, "ann"),
        e.HoldRequested(at, "auth", "no"), e.HoldRequested(at, "auth", "no", "auth:x"),
        e.CauseCured(at, "auth:x", "yes"), e.CauseCured(at, "", ""),
        e.JudgementDue(at, "auth:x"), e.JudgementDue(at, ""),
        e.SlotQuarantined(at, Slot("gpu:0", ("GPU-0",), ("0",))),
        e.LimitsAmended(at, 2), e.RowAmended(at, RowPolicy(timeout=5.0)), e.RunFaulted(at, "x"), e.RunFinished(at, 1),
        e.SetAsideDone(at, 1), e.AttemptQueued(at, n, "j"), e.AttemptStarting(at, n),
        e.AttemptStarted(at, n, PROCESS, at), e.AttemptNeverBegan(at, n, "x"),
        e.AttemptEnded(at, n, ExitRecord(code=1, seconds=1.0)),
        e.AttemptEnded(at, n, ExitRecord(signal="SIGKILL", stopped="request")),
        e.AttemptLost(at, n, "x"), e.AttemptFound(at, n), e.LimitReached(at, n, "heartbeat", 1.0, 2.0),
        e.BoundSet(at, n),
        *(e.AttemptVerified(at, n, Classification(name), Vitals()) for name in CLASSES),
    ]  # fmt: skip
