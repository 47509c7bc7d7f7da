"""Watches: what looks have shown of live attempts, and what nobody has seen."""

import pytest
from core_world import EPOCH, Tale, at

from overnight.core.limits import LOOKS_BEFORE_KILL
from overnight.model.codec import replace
from overnight.model.events import LimitReached
from overnight.model.policy import Limits, Policy
from overnight.model.run import Vitals
from overnight.model.time import Moment
from overnight.ports import Cursor, Look, Mark, RunRef
from overnight.supervisor.watches import Watch, Watches

REF = RunRef("bat-1", "r0")
SHORT = Policy(limits=Limits(startup=100.0, heartbeat=20.0, progress=40.0))


class Watched:
    """One running attempt under a watch; `look` says at which second what is seen."""

    def __init__(self, policy: Policy = SHORT) -> None:
        self.tale = Tale(policy)
        self.tale.begin()
        self.watches = Watches()
        self.watches.follow(REF, self.tale.run, at(0))
        self.lines = 0

    @property
    def watch(self) -> Watch:
        return self.watches.by_run[REF]

    def look(self, second: float, lines: int = 0, mark: Mark | None = None, problem: str | None = None) -> None:
        """A look came back; `lines` are new ones."""
        self.lines += lines
        cursor = Cursor(size=10 * self.lines, inode=7, offset=10 * self.lines, lines=self.lines)
        self.watch.looking = None
        look = Look(REF, 1, cursor, life=lines > 0, lines=lines, mark=mark, problem=problem)
        self.watch.seen(look, at(second))

    def passed(self, second: float) -> LimitReached | None:
        found = self.watches.passed(REF, self.tale.run, self.tale.campaign, at(second))
        assert found is None or isinstance(found, LimitReached)
        return found

    def adopted(self, second: float) -> None:
        """A new supervisor takes over with what the store knew of the attempt."""
        assert self.tale.run.attempt is not None
        attempt = replace(self.tale.run.attempt, vitals=self.watch.vitals)
        self.tale.run = replace(self.tale.run, attempts=(attempt,))
        self.watches = Watches()
        self.watches.follow(REF, self.tale.run, at(second))


def test_the_tenth_line_is_the_first_advance_without_a_marker() -> None:
    """A banner of three lines ended the startup limit, and compilation was killed as a stall."""
    world = Watched()
    world.look(1, lines=9)
    assert not world.watch.vitals.started_moving
    world.look(2, lines=1)
    assert world.watch.vitals.started_moving
    assert not world.watch.vitals.marked


def test_a_marker_is_an_advance_only_when_it_moves() -> None:
    """A program that printed `step 5` for ever was taken for alive and well."""
    world = Watched()
    world.look(1, lines=1, mark=Mark(5.0))
    for second in range(2, 45):
        world.look(second, lines=1, mark=Mark(5.0))
    found = world.passed(45)
    assert found is not None and found.limit == "progress"
    world.look(46, lines=1, mark=Mark(6.0))
    assert world.passed(46) is None
    assert world.watch.vitals.longest_gap == pytest.approx(45.0)


def test_silence_is_a_stall_after_two_looks() -> None:
    """A hung collective printed nothing: noticed at its limit, not at the first look that saw nothing."""
    world = Watched()
    world.look(1, lines=20)
    world.look(5, lines=1)
    world.look(24.9)
    assert world.passed(24.9) is None
    world.look(25.5)
    found = world.passed(25.5)
    assert found is not None
    assert (found.limit, found.seconds, found.observed) == ("heartbeat", 20.0, 20.5)
    assert found.vitals.lines == 21


def test_blind_looks_kill_nothing() -> None:
    """The file server was away for an hour, and a hundred healthy runs were ended as stalled."""
    world = Watched()
    world.look(1, lines=20)
    for second in range(2, 90):
        world.look(second, problem="stale file handle")
    assert world.passed(90) is None
    world.look(91)
    assert world.passed(91) is None  # it can see again, but has seen nothing only once
    world.look(92)
    assert world.passed(92) is not None


def test_a_look_that_hangs_makes_it_unknown() -> None:
    """A stat that took a minute was a minute of silence of the run."""
    world = Watched()
    world.look(1, lines=20)
    for second in range(2, 2 + LOOKS_BEFORE_KILL):
        world.look(second)
    world.watch.looking = at(4).mono
    assert world.passed(13) is None
    assert world.passed(60) is None


def test_a_blind_watch_still_keeps_the_timeout() -> None:
    """Unknown is not unbounded."""
    world = Watched(Policy(limits=Limits(attempt_timeout=50.0)))
    world.look(1, problem="stale file handle")
    found = world.passed(51)
    assert found is not None and found.limit == "attempt_timeout"


def test_an_adopted_watch_does_not_count_unseen_time() -> None:
    """The supervisor was dead for an hour; back again it ended every run that had been quiet when it died."""
    world = Watched()
    world.look(1, lines=20)
    world.look(10, lines=1)
    world.adopted(3600)
    assert world.passed(3600.2) is None
    world.look(3601, lines=21)
    for second in (3605, 3610, 3619):
        world.look(second)
        assert world.passed(second) is None
    world.look(3622)
    assert world.passed(3622) is not None


def test_silence_that_was_seen_counts_on_after_an_adoption() -> None:
    """A supervisor that was killed every ten minutes never noticed a stall."""
    world = Watched()
    world.look(1, lines=20)
    world.look(16)
    world.adopted(1000)
    world.look(1001, lines=0)
    world.look(1002)
    world.look(1003)
    assert world.passed(1003) is None  # 15 s before, 3 s now
    world.look(1006)
    found = world.passed(1006)
    assert found is not None and found.observed == pytest.approx(21.0)


def test_an_adopted_run_is_looked_at_before_startup_ends_it() -> None:
    """Killed right after a start, back after two hours: the run had trained all the time, and was ended unseen."""
    world = Watched()
    world.adopted(7200)
    assert world.passed(7200.2) is None
    world.look(7201, lines=5000)
    assert world.passed(7201) is None


def test_suspensions_are_taken_out_of_every_limit() -> None:
    """A laptop's lid was closed for the night: in the morning every run had reached its timeout."""
    world = Watched(Policy(limits=Limits(attempt_timeout=50.0, heartbeat=20.0)))
    world.look(1, lines=20)
    world.look(2)
    world.look(3)
    world.watches.skip(30_000.0)
    world.look(30_004)
    assert world.watch.running(at(30_004)) == pytest.approx(4.0)
    assert world.passed(30_004) is None
    for second in (30_010, 30_022):
        world.look(second)
    found = world.passed(30_022)
    assert found is not None and found.limit == "heartbeat"


def test_an_attempt_of_another_boot_begins_at_zero() -> None:
    """The monotonic clock of one boot was subtracted from that of the next."""
    tale = Tale(SHORT)
    tale.begin()
    watches = Watches()
    after_reboot = Moment(3.0, EPOCH + 9000.0, "another boot")
    watches.follow(REF, tale.run, after_reboot)
    assert watches.by_run[REF].running(after_reboot) == 0.0
    assert watches.passed(REF, tale.run, tale.campaign, after_reboot) is None


def test_a_watch_ends_with_its_attempt_and_begins_with_the_next() -> None:
    """The next attempt inherited the silence of the last one."""
    world = Watched()
    world.look(1, lines=20)
    world.tale.end()
    world.watches.follow(REF, world.tale.run, at(10))
    assert world.watches.by_run == {}
    world.tale.verify("nccl.timeout")
    world.tale.begin()
    world.watches.follow(REF, world.tale.run, world.tale.now)
    assert world.watch.vitals == Vitals()
    assert world.watch.attempt.n == 2


def test_a_watch_that_waits_for_a_start_has_no_limits() -> None:
    """An hour in a batch queue was an hour without a first advance."""
    tale = Tale(SHORT)
    tale.plan()
    watches = Watches()
    watches.follow(REF, tale.run, at(0))
    assert watches.passed(REF, tale.run, tale.campaign, at(7200)) is None


def test_looks_fall_due_once() -> None:
    """A look that was postponed came twice, once at its old time."""
    world = Watched()
    first = world.watches.next_due()
    assert first is not None and first <= at(1).mono
    assert [ref for ref, _ in world.watches.looks_due(at(1))] == [REF]
    assert list(world.watches.looks_due(at(1))) == []
    world.watches.later(REF, world.watch, at(5).mono)
    world.watches.later(REF, world.watch, at(3).mono)
    assert len(list(world.watches.looks_due(at(4)))) == 1
    assert world.watches.look_interval(world.tale.run, world.tale.campaign, world.watch) == pytest.approx(1.0)


def test_a_log_read_again_after_an_adoption_is_no_life() -> None:
    """A supervisor that came back read the old markers anew and took them for an advance, night after night."""
    world = Watched()
    world.look(1, lines=20, mark=Mark(100.0))
    world.look(15)
    world.adopted(500)
    world.lines = 0
    world.watch.seen(Look(REF, 1, Cursor(200, 7, 200, lines=20), life=True, lines=20, mark=Mark(100.0)), at(501))
    for second in (502, 503, 507):
        world.watch.seen(Look(REF, 1, Cursor(200, 7, 200, lines=20), life=False), at(second))
    found = world.passed(507)
    assert found is not None and found.limit == "heartbeat"
