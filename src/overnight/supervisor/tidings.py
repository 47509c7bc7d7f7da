"""Tidings: which notices are owed. They are rows like runs: what is told is committed before it goes out.

The same cause within a campaign is one notice until that went out, and the next only after the cool-down.
"""

import logging
from collections.abc import Callable

from overnight.core.notices import Word
from overnight.model.codec import replace
from overnight.model.notices import Delivery, Notice, NoticeState, Telling, Untelling
from overnight.model.settings import COOLDOWN_SECONDS
from overnight.model.time import Moment, after, elapsed
from overnight.ports import Batch, Store

log = logging.getLogger(__name__)

FIRST_AGAIN, LONGEST_AGAIN = 30.0, 1800.0  # seconds to the next try of a delivery that failed; doubled each time
MOST_TRIES = 20  # about eight hours
FLIGHT_SECONDS = 900.0  # every delivery is bounded; beyond this, even what bounds it has not come back


class Tidings:
    """Owed notices in memory, changes into the turn's batch."""

    def __init__(self, store: Store, batch: Callable[[], Batch]) -> None:
        self._store = store
        self._batch = batch
        self.cooldown = COOLDOWN_SECONDS
        self.owed: dict[str, Notice] = {}
        self.flying: str | None = None  # the one that is being delivered
        self._flown = 0.0  # since when (monotonic seconds)

    def load(self, now: Moment) -> None:
        """Take over what an earlier supervisor owed. Of another boot, nothing is left of its waits."""
        for notice in self._store.owed_notices():
            self.owed[notice.key] = notice if notice.due.boot == now.boot else replace(notice, due=now)

    # --- telling -------------------------------------------------------------------------------------------

    def hear(self, word: Word, at: Moment) -> None:
        """A telling or its opposite."""
        if isinstance(word, Untelling):
            self._untell(word, at)
        else:
            self.tell(word, at)

    def tell(self, telling: Telling, at: Moment) -> None:
        """Owe a notice; see `Telling`."""
        newest = self._newest(telling.campaign, telling.cause)
        if newest is not None and self._may_change(newest):
            self._put(_joined(newest, telling, at))
            return
        due = after(at, telling.delay)
        if telling.cools and newest is not None and newest.settled is not None and newest.told:
            left = self.cooldown - elapsed(newest.settled, at)
            due = after(at, max(telling.delay, left))
        self._put(
            Notice(telling.campaign, telling.cause, 1 if newest is None else newest.n + 1, telling.kind, at, due,
                   telling.what, telling.why, telling.command, telling.runs)
        )  # fmt: skip

    def _untell(self, word: Untelling, at: Moment) -> None:
        for notice in list(self.owed.values()):
            if notice.campaign != word.campaign or not _fits(word.cause, notice.cause) or not self._may_change(notice):
                continue
            left = max(0, notice.runs - word.runs) if word.runs else 0
            if left:
                self._put(replace(notice, runs=left))
            else:
                self._settle(notice, NoticeState.DROPPED, "no longer so, or said by another notice", at)

    def _may_change(self, notice: Notice) -> bool:
        """Nobody has been told of it."""
        return notice.state == NoticeState.OWED and not notice.told and notice.key != self.flying

    def _newest(self, campaign: str, cause: str) -> Notice | None:
        known = [n for n in (*self.owed.values(), *self._batch().notices.values()) if _is(n, campaign, cause)]
        return max(known, key=lambda n: n.n) if known else self._store.newest_notice(campaign, cause)

    def _put(self, notice: Notice) -> None:
        self._batch().notices[notice.key] = notice
        if notice.state == NoticeState.OWED:
            self.owed[notice.key] = notice
        else:
            self.owed.pop(notice.key, None)

    def _settle(self, notice: Notice, state: NoticeState, words: str, at: Moment) -> None:
        self._put(replace(notice, state=state, settled=at, words=words))

    # --- delivering ----------------------------------------------------------------------------------------

    def due(self, now: Moment) -> Notice | None:
        """The next notice to be delivered: committed, due, and no other is on its way."""
        if self.flying is not None:
            if now.mono - self._flown < FLIGHT_SECONDS:
                return None
            self.delivered(self.flying, (Delivery("delivery", False, f"no end within {FLIGHT_SECONDS:g} s"),), now)
        ready = [n for n in self.owed.values() if n.due.mono <= now.mono and n.key not in self._batch().notices]
        return min(ready, key=lambda n: (n.due.mono, n.key)) if ready else None

    def fly(self, notice: Notice, now: Moment) -> None:
        """It is on its way: `delivered` says what came of it."""
        self.flying, self._flown = notice.key, now.mono

    def next_due(self) -> float | None:
        """When that is (monotonic seconds); None: never, or when the one on its way has come back."""
        return None if self.flying is not None else min((n.due.mono for n in self.owed.values()), default=None)

    def delivered(self, key: str, deliveries: tuple[Delivery, ...], now: Moment) -> None:
        """What came of a try. No channel at all: nobody wanted it."""
        self.flying = None
        notice = self.owed.get(key)
        if notice is None:
            return
        told = tuple(dict.fromkeys((*notice.told, *(each.channel for each in deliveries if each.took))))
        failed = [each for each in deliveries if not each.took]
        notice = replace(notice, told=told, tries=notice.tries + 1)
        words = "; ".join(f"{each.channel}: {each.words}" for each in failed)
        if not failed:
            state = NoticeState.TOLD if told else NoticeState.DROPPED
            self._settle(notice, state, "" if told else "no channel is configured for it", now)
        elif notice.tries >= MOST_TRIES:
            log.error("notice %s is given up after %d tries: %s", key, notice.tries, words)
            self._settle(notice, NoticeState.TOLD if told else NoticeState.GIVEN_UP, words, now)
        else:
            log.warning("notice %s, try %d: %s", key, notice.tries, words)
            pause = min(FIRST_AGAIN * 2.0 ** (notice.tries - 1), LONGEST_AGAIN)
            self._put(replace(notice, words=words, due=after(now, pause)))


def _joined(notice: Notice, telling: Telling, at: Moment) -> Notice:
    """More runs of one cause add to their number, what stands alone replaces the older news."""
    if telling.runs:
        return replace(notice, runs=notice.runs + telling.runs)
    return replace(notice, what=telling.what, why=telling.why, command=telling.command, at=at)


def _fits(pattern: str, cause: str) -> bool:
    return cause.startswith(pattern[:-1]) if pattern.endswith("*") else cause == pattern


def _is(notice: Notice, campaign: str, cause: str) -> bool:
    return notice.campaign == campaign and notice.cause == cause
