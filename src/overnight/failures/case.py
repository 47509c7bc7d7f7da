"""All that the logs of one attempt tell, and what of it seems to have been survived."""

from collections.abc import Sequence

from overnight.failures.advance import begun_again, last_survived
from overnight.failures.rules import FATAL, HINT, SAID, RuleSet
from overnight.failures.scan import Event
from overnight.failures.source import Source
from overnight.failures.story import gather

_LOG = 1e15  # further than any log is long: the order of events runs through one log after the other
_END_BYTES = 8192  # of a worker's log, where it tells why it went
_ENDS_MOST = 8  # so many failures are compared with the steps around them


class Case:
    """All events of all logs, those that were survived apart."""

    def __init__(self, sources: Sequence[tuple[str | None, Source]], rules: RuleSet) -> None:
        self.sources = dict(sources)
        self.alive: list[Event] = []
        self.survived: list[Event] = []
        told = [_end_of(source) for _, source in sources[1:]]
        for place, (name, source) in enumerate(sources):
            border = last_survived(source)
            for event in gather(source, rules):
                event.file, event.order = name, place * _LOG + event.offset
                if event.rule.launcher and place == 0 and told:
                    event.order = len(sources) * _LOG + event.offset
                    event.strength = HINT if any(map(event.rule.spoken_against, told)) else event.strength
                (self.survived if event.end <= border else self.alive).append(event)

    def roots(self, strength: int) -> list[Event]:
        """Those of at least this strength that were not survived."""
        return [event for event in self.alive if event.rule.role == "root" and event.strength >= strength]

    def fallbacks(self) -> list[Event]:
        """Roots that say little."""
        return [event for event in self.alive if event.rule.role == "fallback" and event.strength >= SAID]

    def consequences(self) -> list[Event]:
        """What somebody else's end left."""
        return [event for event in self.alive if event.rule.role == "consequence"]


def _end_of(source: Source) -> str:
    return source.read_at(max(0, source.size - _END_BYTES), _END_BYTES).decode("utf-8", "replace")


def by_order(event: Event) -> float:
    """For sorting: the earliest first, one log after the other."""
    return event.order


def died_before_steps(case: Case) -> Event | None:
    """The exception that ended a rank although steps stand below it: what a rank wrote to two streams leaves a launcher
    in no order. If its workers were begun again, it was survived."""
    ended = (event for event in case.survived if event.uncaught and event.rule.role == "root")
    for event in sorted(ended, key=by_order)[:_ENDS_MOST]:
        if event.strength == FATAL and not _begun_again(case, event):
            return event
    return None


def last_resort(case: Case) -> Event | None:
    """What seems to have been survived, when nothing else explains the end: a program's buffered steps come out
    below the exception that ended it."""
    raised = [event for event in case.alive if event.raised and event.rule.role == "root"]
    if raised:
        return raised[-1]
    last = [event for event in case.survived if event.rule.role == "root" and event.strength == FATAL]
    if not last or any(event.rule.cls != "unknown" for event in case.consequences()):
        return None
    if case.consequences():  # of somebody who failed, says a launcher
        last = [event for event in last[-_ENDS_MOST:] if not _begun_again(case, event)]
    return last[-1] if last else None


def _begun_again(case: Case, event: Event) -> bool:
    began = event.began if event.began >= 0 else event.offset
    return begun_again(case.sources[event.file], began, event.end)
