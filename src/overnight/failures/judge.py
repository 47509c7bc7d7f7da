"""From events to one verdict: FAILURES' order of evidence, in code."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from overnight.failures import elastic, known
from overnight.failures.about import about
from overnight.failures.advance import ended_well, finished_before, last_lines, last_survived
from overnight.failures.case import Case, by_order, died_before_steps, last_resort
from overnight.failures.lines import GAVE_UP
from overnight.failures.outcome import Outcome
from overnight.failures.rules import FATAL, HINT, SAID, RuleSet, load_rules
from overnight.failures.scan import Event
from overnight.failures.source import Source
from overnight.failures.story import OWN_MISTAKE, SHELL, UNNAMED, gather
from overnight.model.classes import Classification, Evidence
from overnight.model.codec import Struct, replace
from overnight.model.room import LOW_BYTES, LOW_INODES

Log = Path | bytes | BinaryIO

# Causes outside the program: a mere mention in an error line outranks the layer that fails because of them.
OUTSIDE = frozenset(
    {
        "oom.gpu", "oom.host", "shm", "network", "auth", "disk.full", "disk.io", "gpu.hardware", "gpu.driver",
        "preempted", "node.lost", "timeout.host",
    }
)  # fmt: skip
_BY_HARDWARE = frozenset({"cuda.error", "nccl.error", "nccl.timeout", "crash", "code", "unknown", "gpu.driver"})
_KERNEL = frozenset({"gpu.hardware", "oom.host", "disk.io", "disk.full", "cuda.error", "crash"})
# What nobody runs into because a scheduler ends him: in a rank's own log it came before the scheduler's word.
_UNTOLD = frozenset({"oom.gpu", "disk.full", "data.missing", "data.corrupt", "import", "auth", "numeric", "checkpoint"})
_NEAR_END_LINES = 40
_ABORTED_ITSELF = "python-code-aborted"  # the rule of an abort below the program's own lines
_SAVE_FAILED = "checkpoint-save-failed"  # the rule of a save that failed for no named reason
GPU_SHARED = "gpu.shared"  # flag: another process was seen holding the memory; core.retry gives it one more try
_OTHER = re.compile(r"\bProcess \d{1,10} has \d{1,6}(?:\.\d{1,3})? GiB memory in use")
_ERROR_LEVEL = re.compile(r".{0,80}\b(?:ERROR|CRITICAL|FATAL)\b|[Ee]rror\b")
# The rules of a launcher's word for a signal that it was sent.
TOLD_TO_END = ("agent-told-to-end", "slurm-step-told-to-end")
CANCELLED = "slurm-cancelled"  # the rule of a scheduler's word that a job was ended, by whom it does not say
KILLED = "killed-word"  # the rule of a shell's word for a process of its own
_HOST = re.compile(r"[a-z][\w-]{2,60}\d[\w.-]{0,60}")  # a machine's name: there is a number in it
_WARNED = re.compile(r"(?i)^(?:\W{0,3}\[?W\d{4}|\[W(?:\d{3,4})?)\b|\bwarn(?:ing)?\b")
_TORCH_WARNS = re.compile(r"\[W(?:\d{3,4})? ")
_CLOSE_BYTES = 20_000  # what is told of one failure stands within this
_SAME_MESSAGE_BYTES = 600


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
    root = _root(case)
    if root is not None and root.rule.launcher and root.rule.cls == "crash":
        root = _aborted_itself(case) or _on_the_gpu(case) or root
    if root is not None and root.rule.name == _SAVE_FAILED:
        root = _why_not_saved(root, case)
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


def _root(case: Case) -> Event | None:
    """The earliest event that a fix or a retry must address."""
    authorities = [event for event in case.roots(SAID) if event.rule.authority]
    fatal = [event for event in case.roots(SAID) if event.strength == FATAL or event.rule.cls in OUTSIDE]
    fatal = [event for event in fatal if not event.rule.authority]
    first = min(fatal, key=by_order, default=None)
    if first is not None and first.strength < FATAL and first.rule.cls in ("network", "auth"):
        first = _mistake_after(first, fatal) or first
    if first is not None and first.rule.cls == "network" and first.strength < FATAL:
        first = _no_meeting(first, fatal) or first
    if first is not None and first.rule.cls == "rendezvous" and not first.rule.own:
        first = _who_never_came(first, fatal) or first
    if first is not None and first.rule.cls == "code" and not first.rule.own:
        first = _better_than_code(first, case)
    if first is not None and first.rule.name == SHELL:
        first = _went_on(first, fatal)
    if first is not None and first.rule.cls in ("network", "auth") and first.strength < FATAL:
        first = _tracker_after(first, fatal) or first
    if authorities:
        authority = _why_lost(min(authorities, key=by_order), authorities)
        if first is None or authority.rule.cls == "oom.host":
            return authority
        if first.order > authority.order:
            elsewhere = first.file != authority.file and first.uncaught and first.rule.cls in _UNTOLD
            return first if elsewhere else authority
        # Words printed while the scheduler's signal ended the program are its last words, not its failure.
        late = authority.offset - first.offset < 6000
        return authority if late and first.rule.cls in ("code", "unknown", "crash", "config") else first
    if first is None:
        first = min(case.roots(SAID), key=by_order, default=None)
        if first is not None and first.rule.name == UNNAMED and not OWN_MISTAKE.match(first.text):
            first = _tried_in_vain(first, case) or first
    return first


def _why_lost(first: Event, authorities: list[Event]) -> Event:
    """A node that is gone because it was taken back: the same message says both."""
    if first.rule.cls != "node.lost":
        return first
    taken = (event for event in authorities if event.rule.cls == "preempted" and event.file == first.file)
    return next((event for event in taken if 0 < event.order - first.order < _SAME_MESSAGE_BYTES), first)


def _mistake_after(mention: Event, fatal: list[Event]) -> Event | None:
    """The program's own mistake that ended it: what was merely spoken of before is its cause only where an error line
    says so, shortly before."""
    later = (event for event in fatal if event.order > mention.order and event.strength == FATAL)
    ended = min(later, key=by_order, default=None)
    return ended if ended is not None and ended.rule.cls == "code" and OWN_MISTAKE.match(ended.text) else None


def _no_meeting(mention: Event, fatal: list[Event]) -> Event | None:
    """The meeting that came to nothing, with the host that could not be reached before: a peer, and nobody outside."""
    hosts = set(_HOST.findall(mention.text))
    later = (event for event in fatal if event.order > mention.order and event.rule.cls == "rendezvous")
    return next((event for event in sorted(later, key=by_order) if hosts & set(_HOST.findall(event.text))), None)


def _who_never_came(waited: Event, fatal: list[Event]) -> Event | None:
    """The failure of another rank, for which this one waited in vain: it came first, wherever it was printed."""
    for event in sorted(fatal, key=by_order):
        if event.rule.cls in ("rendezvous", "unknown", "crash") or not event.raised or event.order < waited.order:
            continue
        another = event.file != waited.file or (event.rank and waited.rank and event.rank != waited.rank)
        if another or (event.rule.cls != "code" and not (event.rank or waited.rank)):
            return event
    return None


def _went_on(missed: Event, fatal: list[Event]) -> Event:
    """What the program raised, where its script went on after the shell had missed something: unless that may be
    why, as with a module that is not there."""
    raised = [event for event in fatal if event.raised and event.order > missed.order and event.rule.cls != "import"]
    known = [event for event in raised if event.rule.cls != "code" or OWN_MISTAKE.match(event.text)]
    return min(known, key=by_order, default=missed)


def _why_not_saved(save: Event, case: Case) -> Event:
    """The volume's own fault, named earlier by something that went on without what it could not write, or later by
    whoever was to write there too."""
    named = [event for event in (*case.alive, *case.survived) if event.rule.cls in ("disk.full", "disk.io")]
    before = max((event for event in named if event.order < save.order), key=by_order, default=None)
    return before or min((event for event in named if event in case.alive), key=by_order, default=save)


def _better_than_code(code: Event, case: Case) -> Event:
    """A named cause that an error line gave shortly before an unnamed exception is why it was raised."""
    named = [
        event
        for event in case.roots(SAID)
        if event.order < code.order
        and event.order > code.order - _CLOSE_BYTES
        and event.rule.cls not in ("code", "unknown")
    ]
    if OWN_MISTAKE.match(code.text):  # what a program survived without a word of error has nothing to do with it
        named = [event for event in named if _ERROR_LEVEL.match(event.text)]
    elif not named:
        return _tried_in_vain(code, case) or code
    return min(named, key=by_order) if named else code


def _tried_in_vain(code: Event, case: Case) -> Event | None:
    """What was tried again and again, if the words of giving up stand between the last time and the exception."""
    tries = [
        event
        for event in case.alive
        if event.strength == HINT and event.rule.cls in ("network", "auth", "disk.io") and event.file == code.file
    ]
    near = (event for event in tries if code.order - _CLOSE_BYTES < event.order < code.order)
    last = max(near, key=by_order, default=None)
    if last is None:
        return None
    between = case.sources[code.file].read_at(last.offset, code.end - last.offset).decode("utf-8", "replace")
    return last if GAVE_UP.search(between) else None


def _tracker_after(mention: Event, fatal: list[Event]) -> Event | None:
    """The tracker's own exception that ended the program: what was printed of the network was its service's."""
    return next(
        (
            event
            for event in sorted(fatal, key=by_order)
            if event.rule.cls == "tracker" and event.strength == FATAL and event.order - mention.order < _CLOSE_BYTES
        ),
        None,
    )


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
    root = _root(case)
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
