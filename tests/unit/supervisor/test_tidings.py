"""Told, once: which notices are owed, over deaths and repetitions."""

from collections.abc import Callable

from overnight.model.codec import replace
from overnight.model.notices import Delivery, NoticeKind, NoticeState, Telling, Untelling
from overnight.model.settings import COOLDOWN_SECONDS
from overnight.model.time import Moment, after
from overnight.ports import Batch
from overnight.store import SqliteStore
from overnight.supervisor.tidings import FLIGHT_SECONDS, MOST_TRIES, Tidings

NOW = Moment(1000.0, 1_700_000_000.0, "boot-1")
TOOK = (Delivery("command", True),)
FAILED = (Delivery("webhook:1", False, "500"),)


def telling(cause: str = "failed:code", runs: int = 1, delay: float = 30.0, campaign: str = "bat-1") -> Telling:
    return Telling(campaign, cause, NoticeKind.NEEDS_YOU, "failed: code", runs=runs, delay=delay)


class Office:
    """Tidings over a store, with a commit."""

    def __init__(self, store: SqliteStore | None = None, now: Moment = NOW) -> None:
        self.store = store or SqliteStore(":memory:")
        self.batch = Batch()
        self.tidings = Tidings(self.store, lambda: self.batch)
        self.tidings.load(now)

    def commit(self) -> None:
        self.store.commit(self.batch)
        self.batch = Batch()

    def reborn(self, now: Moment = NOW) -> "Office":
        """A supervisor that knows only what was committed."""
        return Office(self.store, now)

    def deliver(self, at: Moment, deliveries: tuple[Delivery, ...] = TOOK) -> str | None:
        """One try of what is due; its key."""
        self.commit()
        notice = self.tidings.due(at)
        if notice is None:
            return None
        self.tidings.fly(notice, at)
        self.tidings.delivered(notice.key, deliveries, at)
        self.commit()
        return notice.key


def told(office: Office, cause: str = "failed:code") -> Callable[[], tuple[NoticeState, int, int]]:
    def look() -> tuple[NoticeState, int, int]:
        notice = office.store.newest_notice("bat-1", cause)
        assert notice is not None
        return notice.state, notice.n, notice.runs

    return look


def test_failures_of_one_cause_are_gathered_into_one_notice() -> None:
    """Forty rows with the same typing error rang forty times."""
    office = Office()
    for _ in range(40):
        office.tidings.tell(telling(), NOW)
    assert office.deliver(NOW) is None, "still gathering"
    assert office.deliver(after(NOW, 30)) == "bat-1/failed:code/1"
    assert told(office)() == (NoticeState.TOLD, 1, 40)
    assert office.deliver(after(NOW, 9999)) is None


def test_the_same_cause_again_waits_for_the_cooldown() -> None:
    """A cause that came back every minute rang all night."""
    office = Office()
    office.tidings.tell(telling(), NOW)
    office.deliver(after(NOW, 30))
    office.tidings.tell(telling(), after(NOW, 60))
    office.tidings.tell(telling(), after(NOW, 120))
    assert office.deliver(after(NOW, COOLDOWN_SECONDS)) is None
    assert office.deliver(after(NOW, 31 + COOLDOWN_SECONDS)) == "bat-1/failed:code/2"
    assert told(office)() == (NoticeState.TOLD, 2, 2)


def test_nothing_goes_out_before_it_is_committed() -> None:
    """A notice about a failure whose commit was lost is a lie about a run that is tried again."""
    office = Office()
    office.tidings.tell(telling(delay=0), NOW)
    assert office.tidings.due(NOW) is None
    office.commit()
    assert office.tidings.due(NOW) is not None


def test_owed_survives_a_death_and_is_told_once() -> None:
    """The supervisor died between the failure and its notice, and nobody was ever told."""
    office = Office()
    office.tidings.tell(telling(), NOW)
    office.commit()
    office = office.reborn()
    assert office.deliver(after(NOW, 30)) == "bat-1/failed:code/1"
    office = office.reborn()
    assert office.tidings.owed == {}
    office.tidings.tell(telling(), after(NOW, 40))
    office.commit()
    assert office.reborn().tidings.due(after(NOW, 100)) is None, "the cool-down counts over a death too"


def test_a_death_while_delivering_repeats_it_with_its_key() -> None:
    """At least once: a receiver tells a repetition by the key."""
    office = Office()
    office.tidings.tell(telling(delay=0), NOW)
    office.commit()
    first = office.tidings.due(NOW)
    again = office.reborn().tidings.due(NOW)
    assert first is not None and again is not None and first.key == again.key


def test_another_boot_has_other_seconds() -> None:
    """After a reboot the monotonic clock began at 0 and a notice due at 90,000 s waited for a day."""
    office = Office()
    office.tidings.tell(telling(delay=30), NOW)
    office.commit()
    fresh = Moment(5.0, NOW.wall + 100, "boot-2")
    assert office.reborn(fresh).tidings.due(fresh) is not None


def test_cured_before_it_went_out_is_not_told() -> None:
    """A run that was lost for a minute and came back was announced as lost half an hour later."""
    office = Office()
    office.tidings.tell(telling("lost", runs=1, delay=1800), NOW)
    office.tidings.tell(telling("lost", runs=1, delay=1800), NOW)
    office.tidings.hear(Untelling("bat-1", "lost", 1), NOW)
    assert next(iter(office.tidings.owed.values())).runs == 1
    office.tidings.hear(Untelling("bat-1", "lost", 1), NOW)
    assert office.deliver(after(NOW, 3600)) is None
    assert told(office, "lost")()[0] == NoticeState.DROPPED


def test_what_is_untold_is_so_for_one_campaign_alone() -> None:
    """The end of one campaign silenced the failures of its neighbour."""
    office = Office()
    office.tidings.tell(telling(), NOW)
    office.tidings.tell(telling(campaign="cat-1"), NOW)
    office.tidings.hear(Untelling("bat-1", "failed:*"), NOW)
    assert set(office.tidings.owed) == {"cat-1/failed:code/1"}


def test_a_delivery_that_fails_is_retried_with_backoff_and_given_up_in_the_end() -> None:
    """A webhook that was down for a minute lost its notice; one that is gone for good was called for ever."""
    office, at, tries = Office(), NOW, []
    office.tidings.tell(telling(delay=0), NOW)
    while office.tidings.owed:
        assert office.deliver(at, FAILED) is not None
        due = office.tidings.next_due()
        tries.append(0.0 if due is None else due - at.mono)
        at = after(at, tries[-1])
    assert tries[:4] == [30, 60, 120, 240] and max(tries) == 1800 and len(tries) == MOST_TRIES
    assert told(office)()[0] == NoticeState.GIVEN_UP


def test_a_channel_that_took_it_is_not_told_again_because_another_did_not() -> None:
    """A broken webhook made the telephone ring twenty times."""
    office = Office()
    office.tidings.tell(telling(delay=0), NOW)
    office.deliver(NOW, (*TOOK, *FAILED))
    notice = next(iter(office.tidings.owed.values()))
    assert notice.told == ("command",)
    office.tidings.tell(telling(delay=0), after(NOW, 1))
    assert next(iter(office.tidings.owed.values())).runs == 1, "who was told of one was not told of two"
    assert len(office.tidings.owed) == 2


def test_nobody_to_tell_settles_it() -> None:
    """Without any channel notices piled up, and the first channel got a year of them."""
    office = Office()
    office.tidings.tell(telling(delay=0), NOW)
    office.deliver(NOW, ())
    assert told(office)()[0] == NoticeState.DROPPED


def test_one_on_its_way_is_not_changed() -> None:
    """The count of a notice grew while it was being delivered, and the last failure was never told."""
    office = Office()
    office.tidings.tell(telling(delay=0), NOW)
    office.commit()
    office.tidings.fly(office.tidings.owed["bat-1/failed:code/1"], NOW)
    office.tidings.tell(telling(delay=0), NOW)
    assert office.tidings.owed["bat-1/failed:code/1"].runs == 1
    assert office.tidings.due(NOW) is None, "one at a time"
    office.tidings.delivered("bat-1/failed:code/1", TOOK, NOW)
    office.commit()
    assert told(office)() == (NoticeState.OWED, 2, 1)


def test_every_end_is_told() -> None:
    """A campaign that was retried within the hour ended for the second time without a word."""
    office = Office()
    end = replace(telling("end", runs=0, delay=0), cools=False)
    office.tidings.tell(end, NOW)
    office.deliver(NOW)
    office.tidings.tell(end, after(NOW, 60))
    assert office.deliver(after(NOW, 60)) == "bat-1/end/2"


def test_a_second_end_that_waits_for_the_same_channel_replaces_the_first() -> None:
    """The webhook was down; when it came back it told of ten failures that had been mended hours ago."""
    office = Office()
    end = replace(telling("end", runs=0, delay=0), cools=False, what="ended: 0 of 2 done")
    office.tidings.tell(end, NOW)
    office.deliver(NOW, FAILED)
    office.tidings.tell(replace(end, what="ended: all 2 done"), after(NOW, 10))
    (notice,) = office.tidings.owed.values()
    assert (notice.what, notice.n, notice.at) == ("ended: all 2 done", 1, after(NOW, 10))


def test_a_delivery_that_never_comes_back_is_not_the_last() -> None:
    """A thread hung in a dead home directory, and with it every notice of the night."""
    office = Office()
    office.tidings.tell(telling(delay=0), NOW)
    office.commit()
    office.tidings.fly(office.tidings.owed["bat-1/failed:code/1"], NOW)
    assert office.tidings.due(after(NOW, FLIGHT_SECONDS - 1)) is None
    office.tidings.due(after(NOW, FLIGHT_SECONDS + 1))
    assert office.deliver(after(NOW, FLIGHT_SECONDS + 60)) == "bat-1/failed:code/1"
