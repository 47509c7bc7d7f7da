"""Which event is the root: the earliest that a fix or a retry must address."""

import re

from overnight.failures.case import Case, by_order
from overnight.failures.lines import GAVE_UP
from overnight.failures.rules import FATAL, HINT, SAID
from overnight.failures.scan import Event
from overnight.failures.story import OWN_MISTAKE, SHELL, UNNAMED

# Causes outside the program: a mere mention in an error line outranks the layer that fails because of them.
OUTSIDE = frozenset(
    {
        "oom.gpu", "oom.host", "shm", "network", "auth", "disk.full", "disk.io", "gpu.hardware", "gpu.driver",
        "preempted", "node.lost", "timeout.host",
    }
)  # fmt: skip
# What nobody runs into because a scheduler ends him: in a rank's own log it came before the scheduler's word.
_UNTOLD = frozenset({"oom.gpu", "disk.full", "data.missing", "data.corrupt", "import", "auth", "numeric", "checkpoint"})
_ERROR_LEVEL = re.compile(r".{0,80}\b(?:ERROR|CRITICAL|FATAL)\b|[Ee]rror\b")
_HOST = re.compile(r"[a-z][\w-]{2,60}\d[\w.-]{0,60}")  # a machine's name: there is a number in it
_CHECK = "check-failed"  # the rule of a check that failed in compiled code
_CLOSE_BYTES = 20_000  # what is told of one failure stands within this
_SAME_MESSAGE_BYTES = 600


def root_of(case: Case) -> Event | None:
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
    if first is not None and (first.rule.cls == "code" or first.rule.name == _CHECK) and not first.rule.own:
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


def why_not_saved(save: Event, case: Case) -> Event:
    """The volume's own fault, named earlier by something that went on without what it could not write, or later by
    whoever was to write there too."""
    named = [event for event in (*case.alive, *case.survived) if event.rule.cls in ("disk.full", "disk.io")]
    before = max((event for event in named if event.order < save.order), key=by_order, default=None)
    return before or min((event for event in named if event in case.alive), key=by_order, default=save)


def _better_than_code(code: Event, case: Case) -> Event:
    """A named cause that an error line gave shortly before an unnamed exception, or a check that failed in compiled
    code, is why."""
    named = [
        event
        for event in case.roots(SAID)
        if event.order < code.order
        and event.order > code.order - _CLOSE_BYTES
        and event.rule.cls not in ("code", "unknown", "crash")
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
