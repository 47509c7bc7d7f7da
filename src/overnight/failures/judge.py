"""From events to one verdict: FAILURES' order of evidence, in code."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from overnight.failures import elastic, known
from overnight.failures.about import about
from overnight.failures.advance import ended_well, finished_before, last_lines, last_survived
from overnight.failures.case import Case, by_order, died_before_steps, last_resort
from overnight.failures.outcome import Outcome
from overnight.failures.root import OUTSIDE, root_of, why_not_saved
from overnight.failures.rules import FATAL, SAID, RuleSet, load_rules
from overnight.failures.scan import Event
from overnight.failures.source import Source
from overnight.failures.story import gather
from overnight.model.classes import Classification, Evidence
from overnight.model.codec import Struct, replace
from overnight.model.room import LOW_BYTES, LOW_INODES

Log = Path | bytes | BinaryIO

_BY_HARDWARE = frozenset({"cuda.error", "nccl.error", "nccl.timeout", "crash", "code", "unknown", "gpu.driver"})
_KERNEL = frozenset({"gpu.hardware", "oom.host", "disk.io", "disk.full", "cuda.error", "crash"})
_NEAR_END_LINES = 40
_ABORTED_ITSELF = "python-code-aborted"  # the rule of an abort below the program's own lines
_SAVE_FAILED = "checkpoint-save-failed"  # the rule of a save that failed for no named reason
GPU_SHARED = "gpu.shared"  # flag: another process was seen holding the memory; core.retry gives it one more try
_OTHER = re.compile(r"\bProcess \d{1,10} has \d{1,6}(?:\.\d{1,3})? GiB memory in use")
# The rules of a launcher's word for a signal that it was sent.
TOLD_TO_END = ("agent-told-to-end", "slurm-step-told-to-end")
CANCELLED = "slurm-cancelled"  # the rule of a scheduler's word that a job was ended, by whom it does not say
KILLED = "killed-word"  # the rule of a shell's word for a process of its own
_WARNED = re.compile(r"(?i)^(?:\W{0,3}\[?W\d{4}|\[W(?:\d{3,4})?)\b|\bwarn(?:ing)?\b")
_TORCH_WARNS = re.compile(r"\[W(?:\d{3,4})? ")


class Match(Struct, frozen=True):
    """A line that a rule matched, for people who write rules."""

    rule: str
    name: str
    role: str
    strength: int
    line: int
    text: str
    survived: bool


def classify(
    log: Log, outcome: Outcome, rules: RuleSet | None = None, files: Sequence[tuple[str, Path]] = ()
) -> Classification:
    """Why the attempt ended as it did.

    `files` are further logs of the same attempt (per-rank logs), by the name that evidence is to carry; behind them
    comes what torchelastic's error files tell. Reads each log once, with bounded memory. Raises OSError when `log`
    cannot be read, `RuleFault` for bad rules.
    """
    rules = rules or load_rules()
    own = known.supervised(outcome)
    if own is None and outcome.succeeded:
        stop = known.scheduled(outcome)
        return stop or Classification(name="none")
    own = own or known.not_started(outcome)
    sources: list[tuple[str | None, Source]] = [(None, Source(log))]
    try:
        sources += [(name, Source(path)) for name, path in files]
        sources += [(name, Source(stack, retold=True)) for name, stack in elastic.stacks(outcome.elastic_errors)]
        found = _judge(sources, outcome, rules, own)
        text = found.evidence.text if found.evidence is not None else ""
        return replace(found, about=about(found.name, found.message, text))
    finally:
        for _, source in sources:
            source.close()


def explain(log: Log, outcome: Outcome, rules: RuleSet | None = None) -> list[Match]:
    """Every line that some rule matched, in order."""
    with Source(log) as source:
        survived = last_survived(source)
        return [
            Match(
                rule=event.rule.name, name=event.rule.cls, role=event.rule.role, strength=event.strength,
                line=source.line_number(event.offset), text=event.text[:300], survived=event.end <= survived,
            )
            for event in gather(source, rules or load_rules())
        ]  # fmt: skip


def _judge(
    sources: Sequence[tuple[str | None, Source]], outcome: Outcome, rules: RuleSet, own: Classification | None
) -> Classification:
    case = Case(sources, rules)
    if own is None:
        own = known.scheduled(outcome)
        if own is not None:
            said = [event for event in case.roots(SAID) if event.rule.cls == own.name]
            if said:
                return _verdict(sources, case, said[0])
    if own is not None:
        return _explained(sources, case, own)
    if not outcome.end_known and _looks_healthy(sources[0][1], case):
        return Classification(name="none")
    kernel = _kernel_event(outcome, rules)
    root = root_of(case)
    if root is not None and root.rule.launcher and root.rule.cls == "crash":
        root = _aborted_itself(case) or _on_the_gpu(case) or root
    if root is not None and root.rule.name == _SAVE_FAILED:
        root = why_not_saved(root, case)
    hardware = [event for event in case.roots(SAID) if event.rule.cls == "gpu.hardware"]
    if root is not None and hardware and root.rule.cls in _BY_HARDWARE:
        root = hardware[0]  # the driver's line may come out below the error that it explains
    killed = known.signal_of(outcome) == "SIGKILL"
    if kernel is not None and (
        root is None
        or (kernel.rule.cls == "gpu.hardware" and root.rule.cls in _BY_HARDWARE)
        or (kernel.rule.cls == "oom.host" and (killed or root.rule.cls in ("unknown", "crash")))
        or (kernel.rule.cls.startswith("disk.") and root.rule.cls not in OUTSIDE)
    ):
        return _verdict(sources, case, kernel)
    low = _low_disk(outcome)
    if low is not None and (root is None or (root.rule.cls in ("checkpoint", "unknown", "crash", "tracker", "shm"))):
        return _explained(sources, case, low)
    if root is not None:
        return _verdict(sources, case, root)
    return _without_root(sources, case, outcome)


def _without_root(sources: Sequence[tuple[str | None, Source]], case: Case, outcome: Outcome) -> Classification:
    strong = known.by_strong_signal(outcome)
    if strong is not None:
        return _explained(sources, case, strong)
    fallbacks = case.fallbacks()
    telling = sorted((event for event in case.consequences() if event.rule.cls != "unknown"), key=_warnings_last)
    told = [event for event in case.consequences() if event.rule.name in TOLD_TO_END]
    stopped = [*told, *(event for event in fallbacks if event.rule.name == CANCELLED)]
    if stopped and (not telling or min(stopped, key=by_order).order < telling[0].order):
        telling = sorted(told, key=by_order)[:1]  # what its workers printed while they were ended is no cause
    killed = next((event for event in fallbacks if event.rule.name == KILLED), None)
    if killed is not None and telling and killed.file == telling[0].file and killed.order < telling[0].order:
        return _verdict(sources, case, killed)  # they lost him
    aborted = _aborted_itself(case)
    if aborted is not None:
        return _verdict(sources, case, aborted)
    died = died_before_steps(case) if case.consequences() and not stopped else None
    for event in [died] if died is not None else telling:
        return _verdict(sources, case, event)
    for event in sorted(fallbacks, key=lambda event: (event.rule.cls == "unknown", event.order)):
        return _verdict(sources, case, event)
    if known.signal_of(outcome) is None:
        last = last_resort(case)
        if last is not None:
            return _verdict(sources, case, last)
        for event in sorted(case.consequences(), key=by_order):
            return _verdict(sources, case, event)
    return _explained(sources, case, known.by_status(outcome))


def _warnings_last(event: Event) -> tuple[bool, float]:
    """What torch merely warns of (a store that its server left) comes after whatever was worth an error."""
    return _TORCH_WARNS.match(event.text) is not None, event.order


def _aborted_itself(case: Case) -> Event | None:
    """The abort of a rank in the middle of its own code, which had heard of nobody's loss. One on its way out, or of a
    library's thread, tells nothing."""
    for event in case.fallbacks():
        before = (other for other in case.consequences() if other.file == event.file and other.order < event.order)
        if event.rule.name == _ABORTED_ITSELF and all(other.rule.cls == "unknown" for other in before):
            return event
    return None


def _on_the_gpu(case: Case) -> Event | None:
    """What was printed of an error on the GPU, where a launcher knows only that the process aborted."""
    return min((event for event in case.roots(SAID) if event.rule.cls == "cuda.error"), key=by_order, default=None)


def _looks_healthy(source: Source, case: Case) -> bool:
    """Without an exit status: does the log end as those do whose program did its work?"""
    ends = [event for event in case.alive if event.strength == FATAL]
    ends += [event for event in case.alive if event.rule.role != "root" and event.strength >= SAID]
    if not ends:
        tail = last_lines(source, 0, _NEAR_END_LINES)
        start = source.size - sum(len(line) + 40 for line in tail)
        ends = [event for event in case.roots(SAID) if event.offset >= start]
    if not ends or _hung_up(source, ends):
        return True
    died = any(event.raised for event in ends)
    return ended_well(source, max(event.end for event in ends), died=died)


def _hung_up(source: Source, ends: list[Event]) -> bool:
    """Whether they are but words of those whose peers left first, all of them when the work was done."""
    return all(map(_left_behind, ends)) and finished_before(source, min(event.offset for event in ends))


def _left_behind(event: Event) -> bool:
    """A warning of a lost peer, or a line about one that ended nobody."""
    ended = event.raised or event.strength == FATAL or event.rule.cls == "nccl.timeout"
    return event.rule.role == "consequence" and (_WARNED.search(event.text) is not None or not ended)


def _low_disk(outcome: Outcome) -> Classification | None:
    few = []
    if outcome.free_bytes is not None and outcome.free_bytes < LOW_BYTES:
        few.append(f"{outcome.free_bytes} bytes")
    if outcome.free_inodes is not None and outcome.free_inodes < LOW_INODES:
        few.append(f"{outcome.free_inodes} inodes")
    if not few:
        return None
    message = f"only {' and '.join(few)} free when it ended"
    return Classification(name="disk.full", rule="supervisor-free-space", message=message)


def _kernel_event(outcome: Outcome, rules: RuleSet) -> Event | None:
    """The first telling line of the kernel or the cgroup."""
    if not outcome.kernel:
        return None
    with Source("\n".join(outcome.kernel).encode()) as source:
        events = [event for event in gather(source, rules) if event.rule.cls in _KERNEL]
    events.sort(key=lambda event: event.rule.cls not in ("gpu.hardware", "oom.host"))
    for event in events:
        event.file, event.order = "kernel", -1.0
    return events[0] if events else None


def _verdict(sources: Sequence[tuple[str | None, Source]], case: Case, event: Event) -> Classification:
    line = None
    if event.order >= 0:
        source = next(source for name, source in sources if name == event.file)
        line = None if source.retold else source.line_number(event.offset)
    found = Classification(
        name=event.rule.cls,
        rule=event.rule.name,
        message=event.message,
        evidence=Evidence(file=event.file, line=line, text=event.text.strip()[:500]),
        flags=(GPU_SHARED,) if event.rule.cls == "oom.gpu" and _held_by_another(event.text) else (),
    )
    return _with_consequences(found, case)


def _held_by_another(text: str) -> bool:
    """Whether the allocator itself names another process with a GiB or more of the GPU's memory. It names all of them,
    and us apart; where it cannot tell us from others (in a container) it does not say "this process"."""
    return _OTHER.search(text) is not None and "this process has" in text


def _explained(sources: Sequence[tuple[str | None, Source]], case: Case, found: Classification) -> Classification:
    """A verdict that does not come from the log; what the log says of it goes into the message."""
    root = root_of(case)
    if root is not None and root.rule.cls != found.name:
        said = _verdict(sources, case, root)
        found = replace(
            found, message=f"{found.message}; the log says: {root.message}", evidence=said.evidence,
            consequences=(root.rule.cls,),
        )  # fmt: skip
    elif root is not None:
        found = replace(found, evidence=_verdict(sources, case, root).evidence)
    return _with_consequences(found, case)


def _with_consequences(found: Classification, case: Case) -> Classification:
    names = list(found.consequences)
    for event in sorted(case.consequences(), key=by_order):
        name = event.rule.cls
        if name not in (found.name, "unknown") and name not in names:
            names.append(name)
    return replace(found, consequences=tuple(names))
