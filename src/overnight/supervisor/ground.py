"""The ground that runs stand on: nothing new starts on a volume that is as good as full."""

import logging
from collections.abc import Sequence

from overnight.core import ground
from overnight.model.campaign import Campaign
from overnight.model.codec import replace
from overnight.model.notices import NoticeKind
from overnight.model.room import Room
from overnight.model.time import Moment
from overnight.ports import Files
from overnight.supervisor.ledger import Ledger
from overnight.supervisor.workers import Done, Workers

log = logging.getLogger(__name__)

FRESH_SECONDS = 5.0  # nothing starts on an older look
WHAT = "nothing new starts: a disk is full"
AHEAD_SECONDS = 2.5  # while something wants to start, looks are this far apart, also those that cannot be taken


class Ground:
    """Looks at the volumes of root and state, off the loop, while something wants to start."""

    def __init__(self, ledger: Ledger, workers: Workers, files: Files) -> None:
        self._ledger = ledger
        self._workers = workers
        self._files = files
        self._rooms: Sequence[Room] = ()
        self._seen = self._due = float("-inf")
        self._looking = False
        self._complaint = ""

    def bears(self, campaign: Campaign, now: Moment) -> bool:
        """Whether attempts of this campaign may start; what keeps them from it is entered. A look that does not come
        back, or cannot be taken, starts nothing: unknown is no room."""
        if now.mono >= self._due and not self._looking:
            self._looking = True
            self._workers.submit(("room",), self._files.room)
        if now.mono - self._seen > FRESH_SECONDS:
            return False
        words = ground.short(campaign, self._rooms)
        if words != campaign.no_room:
            self._ledger.put(replace(campaign, no_room=words))
            if words:
                self._ledger.say(campaign.id, "", now, words)
                command = f"overnight status {campaign.id}"
                self._ledger.tell("no-room", campaign.id, NoticeKind.NEEDS_YOU, now, WHAT, why=words, command=command)
            else:
                self._ledger.untell("no-room", campaign.id, now)
        return not words

    def seen(self, done: Done, now: Moment) -> None:
        """A look is back."""
        self._looking, self._due = False, now.mono + AHEAD_SECONDS
        complaint = "" if done.problem is None else str(done.problem)
        if done.problem is None:
            self._rooms, self._seen = done.value, now.mono
        elif complaint != self._complaint:
            log.warning("nothing new starts, nobody can tell how much room is left: %s", complaint)
        self._complaint = complaint

    def next_due(self, now: Moment) -> float | None:
        """When a campaign that waits for room looks again (monotonic seconds). One that has not looked although it is
        time waits for something else: it is paused, or nothing can be committed."""
        waiting = any(c.no_room and self._ledger.queued(c.id) for c in self._ledger.campaigns.values())
        return self._due if waiting and self._due > now.mono and not self._looking else None
