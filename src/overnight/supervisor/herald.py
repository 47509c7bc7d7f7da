"""The herald: brings owed notices to the workers, calls the address that hears from us while all is well, and
thinks of the digest. Nothing here waits."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from overnight.artifacts.layout import of_root
from overnight.core import notices
from overnight.model.notices import Delivery, Notice, NoticeKind, NoticeText
from overnight.model.settings import Settings
from overnight.model.states import UNENDED
from overnight.model.time import Moment, after
from overnight.ports import Notifier, StoreError
from overnight.supervisor.ledger import Ledger
from overnight.supervisor.workers import Done, Workers

log = logging.getLogger(__name__)

SETTINGS_SECONDS = 60.0  # the person's file is read this often
STORE_PATIENCE_SECONDS = 60.0  # a store that cannot be written for longer needs a person
_DAY_SECONDS = 86_400.0


class Herald:
    """`notifier` None: nobody is told, what is owed stays owed. `root`: for what is to be typed."""

    def __init__(self, ledger: Ledger, workers: Workers, notifier: Notifier | None, root: str) -> None:
        self._root = root
        self._ledger = ledger
        self._workers = workers
        self._notifier = notifier
        self._settings = Settings()
        self._settings_due = 0.0
        self._known = False  # the settings have been read; until then what is owed stays owed
        self._reading = False
        self._complaint = ""
        self._ping_due: float | None = None
        self._ping_marked = False
        self._pinging = False
        self._ping_words = ""
        self._digest_seen: str | None = None
        self._failing_since: float | None = None
        self._unstored: Notice | None = None  # about the store itself: it cannot be owed there
        self._unstored_due = 0.0

    def recover(self, now: Moment, watch_only: bool) -> None:
        """Take over what is owed."""
        self._ledger.tidings.load(now)
        self._digest_seen = self._ledger.store.meta("digest")
        if not watch_only:
            self._ledger.untell("watch-only", "", now)
        elif any(campaign.state in UNENDED for campaign in self._ledger.campaigns.values()):
            why = "It died too often of its own fault: what runs is watched, nothing new starts"
            self._ledger.tell("watch-only", "", NoticeKind.NEEDS_YOU, now, "the supervisor only watches", why=why,
                              command=f"overnight supervisor restart {of_root(self._root)}")  # fmt: skip

    # --- before the commit ---------------------------------------------------------------------------------

    def think(self, now: Moment) -> None:
        """What becomes owed because time has passed."""
        if self._notifier is None:
            return
        try:
            self._digest(now)
        except StoreError as problem:
            log.warning("the digest: %s", problem)
        ping = self._settings.ping
        if ping.url and not self._pinging and (self._ping_due is None or now.mono >= self._ping_due):
            self._ping_due = now.mono + ping.every
            self._ping_marked = True
            # Only a store that takes this word lets the address be called.
            self._ledger.batch.meta["ping"] = f"{now.wall:.0f}"

    def _digest(self, now: Moment) -> None:
        minutes = self._settings.notify.digest
        if minutes is None:
            return
        day, seen = digest_day(now.wall, minutes), self._digest_seen
        if day == seen:
            return
        self._digest_seen = self._ledger.batch.meta["digest"] = day
        # A clock that was set back, or a later hour in the settings: nothing is told twice, or at once.
        if seen is None or day < seen or self._ledger.store.newest_notice("", f"digest:{day}") is not None:
            return
        telling = notices.digest(self._ledger.campaigns.values(), now.wall - _DAY_SECONDS)
        if telling is not None:
            self._ledger.tell(f"digest:{day}", "", telling.kind, now, telling.what, why=telling.why,
                              command=telling.command)  # fmt: skip

    # --- after it ------------------------------------------------------------------------------------------

    def act(self, now: Moment, problem: str) -> None:
        """Hand over what is due. `problem`: why the store cannot be written."""
        notifier = self._notifier
        if notifier is None:
            return
        if now.mono >= self._settings_due:
            self._settings_due = now.mono + SETTINGS_SECONDS
            if not self._reading:  # one that hangs in a dead home directory is not followed by a second
                self._reading = True
                self._workers.submit(("herald", "settings"), notifier.settings)
        self._mind_the_store(now, problem, notifier)
        if problem or not self._known:
            return
        if self._ping_marked:
            self._ping_marked, self._pinging = False, True
            self._workers.submit(("herald", "ping"), _later(notifier.ping, self._settings.ping.url))
        tidings = self._ledger.tidings
        notice = tidings.due(now)
        if notice is not None:
            tidings.fly(notice, now)
            text = notices.text(notice, self._ledger.campaigns)
            self._workers.submit(("notice", notice.key), self._delivery(notifier, text, notice.told))

    def _mind_the_store(self, now: Moment, problem: str, notifier: Notifier) -> None:
        if not problem:
            self._failing_since = None
            return
        if self._failing_since is None:
            self._failing_since = now.mono
        if now.mono - self._failing_since < STORE_PATIENCE_SECONDS or now.mono < self._unstored_due:
            return
        if self._unstored is None:
            why = f"{problem}. What runs is watched, nothing new starts"
            what = "the database cannot be written"
            command = f"overnight doctor {of_root(self._root)}"
            self._unstored = Notice("", "store", 1, NoticeKind.NEEDS_YOU, now, now, what, why, command)
        self._unstored_due = now.mono + self._settings.notify.cooldown
        text = notices.text(self._unstored, self._ledger.campaigns)
        self._workers.submit(("notice", "unstored"), self._delivery(notifier, text, self._unstored.told))

    def _delivery(
        self, notifier: Notifier, text: NoticeText, told: tuple[str, ...]
    ) -> Callable[[], tuple[Delivery, ...]]:
        settings = self._settings.notify
        return lambda: notifier.deliver(settings, text, told)

    # --- results -------------------------------------------------------------------------------------------

    def done(self, done: Done, now: Moment) -> bool:
        """A job is back; False: it is not one of ours."""
        match done.tag:
            case ("herald", "settings"):
                self._read(done)
            case ("herald", "ping"):
                self._pinging = False
                words = str(done.problem) if done.problem is not None else str(done.value)
                if words != self._ping_words:
                    log.warning("the ping is not heard: %s", words) if words else log.info("the ping is heard again")
                self._ping_words = words
            case ("notice", "unstored"):
                self._told_unstored(done, now)
            case ("notice", str() as key):
                self._ledger.tidings.delivered(key, _deliveries(done), now)
            case _:
                return False
        return True

    def _read(self, done: Done) -> None:
        self._reading = False
        if done.problem is None:
            self._known = True
            self._settings, self._complaint = done.value, ""
            self._ledger.tidings.cooldown = self._settings.notify.cooldown
        elif str(done.problem) != self._complaint:
            self._complaint = str(done.problem)
            log.error("the person's own settings: %s", self._complaint)

    def _told_unstored(self, done: Done, now: Moment) -> None:
        failed = [each for each in _deliveries(done) if not each.took]
        if failed:
            log.error("notice about the store: %s", "; ".join(f"{each.channel}: {each.words}" for each in failed))
            self._unstored_due = min(self._unstored_due, after(now, STORE_PATIENCE_SECONDS).mono)
        else:
            self._unstored = None

    def next_due(self) -> float | None:
        """When something is (monotonic seconds)."""
        if self._notifier is None:
            return None
        owed = self._ledger.tidings.next_due() if self._known else None
        ping = self._ping_due if self._settings.ping.url and not self._pinging else None
        return min(at for at in (self._settings_due, owed, ping) if at is not None)


def digest_day(wall: float, minutes: int) -> str:
    """The local date of the last time that it was `minutes` after midnight."""
    here = datetime.fromtimestamp(wall)
    passed = here.hour * 60 + here.minute >= minutes
    return (here if passed else here - timedelta(days=1)).date().isoformat()


def _later(call: Callable[[str], str], url: str) -> Callable[[], str]:
    return lambda: call(url)


def _deliveries(done: Done) -> tuple[Delivery, ...]:
    if done.problem is not None:
        return (Delivery("delivery", False, str(done.problem)),)
    found: tuple[Delivery, ...] = done.value
    return found
