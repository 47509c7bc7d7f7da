"""Waiting for a campaign until nothing can move without a person, and bringing a dead supervisor back."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from overnight.api.errors import Unreachable
from overnight.artifacts.layout import of_root
from overnight.model.campaign import StoryEntry
from overnight.model.states import ENDED
from overnight.supervisor import keep

if TYPE_CHECKING:
    from overnight.api.campaign import Campaign
    from overnight.model.reports import StatusReport

LOOK_SECONDS = 0.25
OVERSEE_SECONDS = 1.0
HAND_OVER_SECONDS = 45.0  # by then a `supervisor restart` has ended, or its client died of it
REVIVALS = 5  # in a row that may fail before a waiting client gives up
_TAIL = 400  # story entries read at a look


def settled(report: "StatusReport") -> bool:
    """Nothing can move without a person: the campaign has ended, or it is paused and the last live attempt has ended,
    or all that is left is held and no probe may let it go."""
    return report.settled


class Overseeing:
    """Keeps a supervisor up for as long as somebody waits. Call `look` as often as you like.

    A supervisor that cannot be brought up is tried again a few times: a machine short of memory for a minute
    must not end a night's wait.
    """

    def __init__(self, campaign: "Campaign", tell: Callable[[str], None]) -> None:
        self._place = campaign.place
        self._tell = tell
        self._overseer = keep.Overseer(campaign.place.root, campaign.place.state)
        self._next = 0.0
        self._failed = 0
        keep.forget_stopped(self._place.state)

    def look(self) -> None:
        """Raises `Unreachable` if no supervisor comes up, or a person stopped it for good meanwhile."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + OVERSEE_SECONDS
        wish = keep.wish_of(self._place.state)
        if wish is not None and wish.handed_over:
            if wish.age < HAND_OVER_SECONDS:
                return
            keep.forget_stopped(self._place.state)
        elif wish is not None:
            raise Unreachable(
                "the supervisor was stopped with `overnight supervisor stop`",
                "live runs go on, bounded by their shims; the rest after "
                f"overnight supervisor start {of_root(self._place.root_name)}",
            )
        try:
            words = self._overseer.look()
        except keep.CannotSupervise as problem:
            self._failed += 1
            if self._failed >= REVIVALS:
                raise Unreachable(problem.message, problem.hint) from problem
            self._tell(f"{problem.message}; trying again")
            return
        self._failed = 0
        if words:
            self._tell(words)


class Tail:
    """What is new in a campaign's story since the last look."""

    def __init__(self, campaign: "Campaign") -> None:
        self._campaign = campaign
        self._seen: set[_Key] | None = None

    def new(self) -> list[StoryEntry]:
        """Entries since the last call, oldest first; of a burst the newest few hundred. The first call only
        takes note of what there is."""
        with self._campaign.reading() as store:
            recent = store.recent(self._campaign.id, _TAIL)
        known, self._seen = self._seen, {_key(entry) for entry in recent}
        if known is None:
            return []
        return [entry for entry in reversed(recent) if _key(entry) not in known]


_Key = tuple[str, float, str, int | None, str, str]


def _key(entry: StoryEntry) -> _Key:
    return entry.run_id, entry.at.wall, entry.event, entry.attempt, entry.before, entry.state


def worth_a_line(entry: StoryEntry) -> bool:
    """A run ended, waits or is held; or something happened to the campaign as a whole."""
    if not entry.run_id:
        return bool(entry.words)
    return entry.state != entry.before and (entry.state in ENDED or entry.state in {"waiting", "held"})


def line_of(entry: StoryEntry) -> str:
    """One line of progress: the run, its state, and why."""
    if not entry.run_id:
        return entry.words
    return f"{entry.run_id} {entry.state}" + (f": {entry.words}" if entry.words not in {"", entry.state} else "")


def _steady(report: "StatusReport") -> str:
    """The campaign's sentence without what counts in it: a line a second for a minute says one thing, and that a run
    has ended is told by its own line."""
    if report.scouts is not None:
        return f"scouts {report.scouts.started}"
    return "" if " ended: " in report.words else report.words


def wait(campaign: "Campaign", timeout: float | None, tell: Callable[[str], None]) -> "StatusReport":
    """See `Campaign.wait`."""
    tail = Tail(campaign)
    tail.new()
    report = campaign.status(limit=1)
    if settled(report):
        return campaign.status()
    deadline = None if timeout is None else time.monotonic() + timeout
    overseeing = Overseeing(campaign, tell)
    said = {""}
    while not settled(report):
        why = _steady(report)
        if why not in said:  # why nothing starts; once, however often it comes and goes
            said.add(why)
            tell(report.words)
        if deadline is not None and time.monotonic() >= deadline:
            break
        overseeing.look()
        time.sleep(LOOK_SECONDS)
        report = campaign.status(limit=1)
        ended = sum(report.counts.get(state, 0) for state in ENDED)
        for entry in tail.new():
            if worth_a_line(entry):
                tell(f"[{ended:,}/{report.runs_total:,}] {line_of(entry)}")
    return campaign.status()
