"""Watches: what looks have shown of live attempts, and what nobody has seen."""

import pytest
from core_world import EPOCH, Tale, at

from overnight.core.limits import LOOKS_BEFORE_KILL
from overnight.model.codec import replace
from overnight.model.events import LimitReached
from overnight.model.policy import Limits, Policy
from overnight.model.run import Slot, Vitals
from overnight.model.time import Moment
from overnight.ports import Cursor, Look, Mark, RunRef, Said
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

    def rarely(self, second: float, lines: int = 0, problem: str | None = None) -> tuple[LimitReached | None, float]:
        """The same where looks are ten seconds apart: what follows at once, and at which second the next is due."""
        self.watches.later(REF, self.watch, at(second + 10).mono)
        self.look(second, lines, problem=problem)
        found = self.watches.after_look(REF, self.tale.run, self.tale.campaign, at(second))
        assert found is None or isinstance(found, LimitReached)
        return found, self.watch.due - at(0).mono

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


def test_a_silence_is_seen_to_its_end_where_looks_are_rare() -> None:
    """Among ten thousand a stall was noticed 22 s late: each of three looks came ten seconds after the one before."""
    world = Watched()
    world.rarely(1, lines=20)
    assert world.rarely(11, lines=1) == (None, 21)  # the limit of 20 s is further than the next look
    assert world.rarely(21) == (None, 31)
    event, due = world.rarely(31)
    assert event is not None and (event.limit, event.observed) == ("heartbeat", 20.0)
    assert due == 41  # nothing sooner any more
    world = Watched(replace(SHORT, limits=replace(SHORT.limits, heartbeat=4.0)))
    world.rarely(1, lines=20)
    assert world.rarely(11, lines=1) == (None, 15)
    assert world.rarely(15) == (None, 16)
    assert world.rarely(16, problem="stale file handle") == (None, 26)
    assert world.rarely(26) == (None, 27)  # unknown is not silence: two silent looks anew
    assert world.rarely(27)[0] is not None


def test_looks_that_come_sooner_stay_a_second_apart() -> None:
    """Two thousand runs with a limit of a tenth of a second: the supervisor did nothing but look."""
    world = Watched(replace(SHORT, limits=replace(SHORT.limits, heartbeat=0.1)))
    world.rarely(1, lines=20)
    assert world.rarely(11, lines=1) == (None, 12)
    assert world.rarely(12) == (None, 13)
    assert world.rarely(13)[0] is not None


def test_blind_looks_kill_nothing() -> None:
    """The file server was away for an hour, and a hundred healthy runs were ended as stalled."""
    world = Watched()
    world.look(1, lines=20)
    for second in range(2, 90):
        world.look(second, problem="stale file handle")
    assert world.passed(90) is None
    world.look(91)
    world.look(92)
    assert world.passed(92) is None  # of these 90 seconds none was seen
    world.look(110.9)
    assert world.passed(110.9) is None
    world.look(111.1)
    assert world.passed(111.1) is not None


def test_a_look_that_hung_proves_no_silence() -> None:
    """A `stat` came back after half an hour in a dead file system: the silence it told of was its own."""
    world = Watched()
    world.look(1, lines=20)
    world.look(2)
    world.look(3)
    world.watch.looking = at(4).mono
    assert world.passed(900) is None
    world.watch.seen(Look(REF, 1, world.watch.cursor, life=False), at(900))
    assert world.passed(900) is None
    world.look(901)
    assert world.passed(901) is None
    world.look(918)
    assert world.passed(918) is not None  # two seconds before it, eighteen after it


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


def test_a_count_that_begins_again_is_no_advance_until_it_passes_its_best() -> None:
    """A loader that tried the same twelve shards again and again was taken for a training."""
    world = Watched()
    second = 0
    for _ in range(4):
        for step in range(1, 13):
            second += 1
            world.look(second, lines=1, mark=Mark(float(step)))
    assert world.watch.vitals.last_advance == 12.0
    for second in range(49, 54):
        world.look(second, lines=1, mark=Mark(3.0))
    found = world.passed(53)
    assert found is not None and found.limit == "progress"
    world.look(54, lines=1, mark=Mark(13.0))
    assert world.passed(54) is None


def test_another_count_begins_at_its_own_start() -> None:
    """The bar of the tokens went to 50,000; the steps that followed never passed it, and the run was ended."""
    world = Watched()
    world.look(1, lines=1, mark=Mark(1.0, 50_000.0))
    world.look(2, lines=1, mark=Mark(50_000.0, 50_000.0))
    world.watch.seen(Look(REF, 1, Cursor(90, 7, 90, lines=9), True, 1, mark=Mark(1.0), anew=True), at(60))
    assert world.watch.vitals.last_advance == 60.0
    assert (world.watch.vitals.step, world.watch.vitals.total) == (1.0, None)


def test_the_first_step_of_a_progress_file_begins_its_own_count() -> None:
    """The log counts batches, the file epochs: the file's 3 was below the log's 5000 for ever."""
    world = Watched()
    world.look(1, lines=1, mark=Mark(4000.0))
    world.look(2, lines=1, mark=Mark(5000.0))
    said(world, 3, Said(Mark(3.0, 10.0)))
    vitals = world.watch.vitals
    assert (vitals.first_step, vitals.step, vitals.total, vitals.last_advance) == (3.0, 3.0, 10.0, 3.0)
    said(world, 4, Said(Mark(3.0, 10.0)))
    assert world.watch.vitals.last_advance == 3.0
    world.adopted(1000)
    said(world, 1001, Said(Mark(3.0, 10.0)))
    assert world.watch.vitals.last_advance == pytest.approx(1000 - 1.0)  # nothing new: only unseen time is excused


@pytest.mark.parametrize("sign", ["saved", "worked"])
def test_checkpoints_and_bars_beside_the_marker_are_advances(sign: str) -> None:
    """An evaluation of 90 minutes drew its bar, and was ended because no step came."""
    world = Watched()
    world.look(1, lines=20, mark=Mark(5.0))
    world.look(30, lines=1)
    seen = Look(REF, 1, Cursor(400, 7, 400, lines=40), True, 1, saved=sign == "saved", worked=sign == "worked")
    world.watch.seen(seen, at(38))
    world.lines = 40
    world.look(70, lines=1)
    assert world.passed(70) is None
    world.look(79, lines=1)
    found = world.passed(79)
    assert found is not None and found.limit == "progress"


def test_a_bar_of_the_preparation_is_no_start() -> None:
    """The data set was downloaded with a bar; then it compiled in silence, and the heartbeat ended it."""
    world = Watched()
    world.look(1, lines=1)
    world.watch.seen(Look(REF, 1, Cursor(30, 7, 30, lines=2), True, 1, worked=True), at(2))
    assert not world.watch.vitals.started_moving
    world.watch.seen(Look(REF, 1, Cursor(30, 7, 30, lines=2), True, saved=True), at(3))
    assert world.watch.vitals.started_moving


def said(world: Watched, second: float, words: Said) -> None:
    """The progress file has changed; the log has not."""
    cursor = Cursor(size=10 * world.lines, inode=7, offset=10 * world.lines, lines=world.lines, progress=int(second))
    world.watch.seen(Look(REF, 1, cursor, life=True, first=words.mark, mark=words.mark, said=words), at(second))


def test_a_quiet_phase_may_be_silent_as_long_as_it_said() -> None:
    """An evaluation that takes two hours in silence was ended after fifteen minutes, night after night."""
    world = Watched()
    world.look(1, lines=20, mark=Mark(5.0))
    said(world, 2, Said(phase="eval", quiet=100.0))
    for second in range(3, 102, 7):
        world.look(second)
        assert world.passed(second) is None
    world.look(103)
    found = world.passed(103)
    assert found is not None and found.limit == "heartbeat" and found.seconds == 100.0
    assert found.vitals.phase == "eval"


def test_limits_are_the_old_ones_when_a_quiet_phase_has_ended() -> None:
    """A phase that was over kept its long limit, and a hang after it cost two hours."""
    world = Watched()
    world.look(1, lines=20, mark=Mark(5.0))
    said(world, 2, Said(phase="eval", quiet=100.0))
    world.look(80)
    said(world, 90, Said(phase=None))
    assert world.passed(90) is None  # its 88 s count neither as silence nor against progress
    world.look(105)
    assert world.passed(105) is None
    world.look(111)
    found = world.passed(111)
    assert found is not None and (found.limit, found.seconds) == ("heartbeat", 20.0)
    assert found.vitals.longest_quiet < 5.0  # what was announced teaches nothing


def test_a_phase_in_a_loop_excuses_its_time_once() -> None:
    """A loader that hung in its retries declared a quiet phase at each of them, and was never found."""
    world = Watched()
    world.look(1, lines=20, mark=Mark(5.0))
    for second in range(2, 122, 2):
        said(world, second, Said(phase="load", quiet=60.0))
        said(world, second + 1, Said(phase=None))
        if (found := world.passed(second + 1)) is not None:
            break
    assert found is not None and found.limit == "progress"
    assert found.observed == pytest.approx(40 + 60, abs=3)


def test_a_quiet_phase_before_the_first_step_stretches_startup() -> None:
    """Three hours of tokenising were announced, and ended after the sixty minutes of `startup`."""
    world = Watched()
    world.look(1, lines=1)
    said(world, 2, Said(phase="tokenise", quiet=300.0))
    world.look(250)
    assert world.passed(250) is None
    world.look(402)
    found = world.passed(402)
    assert found is not None and found.limit == "startup"


def test_a_phase_does_not_stretch_the_timeout() -> None:
    """Nothing that a program says makes it unbounded."""
    world = Watched(Policy(limits=Limits(attempt_timeout=50.0)))
    world.look(1, lines=20, mark=Mark(5.0))
    said(world, 2, Said(phase="eval", quiet=1e9))
    world.look(51)
    found = world.passed(51)
    assert found is not None and found.limit == "attempt_timeout"


def test_work_after_the_last_step_has_the_heartbeat_of_a_quiet_phase() -> None:
    """A silent upload of twenty minutes after the last step was ended at the usual fifteen."""
    world = Watched(Policy())
    world.look(1, lines=20, mark=Mark(99.0, 100.0))
    world.look(2, lines=1, mark=Mark(100.0, 100.0))
    for second in (1300, 1301, 3600):
        world.look(second)
        assert world.passed(second) is None
    world.look(3603)
    found = world.passed(3603)
    assert found is not None and (found.limit, found.seconds) == ("heartbeat", 3600.0)


def test_files_that_grow_put_startup_off() -> None:
    """A program that prints one line and then writes its results was ended after the sixty minutes of `startup`."""
    world = Watched()
    world.look(1, lines=1)
    for second in (60, 120, 180):
        world.watch.seen(Look(REF, 1, Cursor(10, 7, 10, lines=1), life=True, grown=True), at(second))
        assert world.passed(second) is None
    world.look(279)
    assert world.passed(279) is None
    world.look(281)
    found = world.passed(281)
    assert found is not None and (found.limit, found.observed) == ("startup", 101.0)


def test_gpus_are_counted_five_minutes_after_the_first_advance() -> None:
    """One look between two kernels called a busy GPU idle; a look during the start called all of them so."""
    world = Watched(Policy())
    world.look(1, lines=20, mark=Mark(5.0))
    assert not world.watch.asks_for_gpus(at(300))
    counts = [0, 1, 0, 2, 1, 1]
    for n, used in enumerate(counts):
        second = 301 + 12 * n
        assert world.watch.vitals.gpus_used is None
        assert world.watch.asks_for_gpus(at(second))
        world.watch.seen(Look(REF, 1, Cursor(200, 7, 200, lines=20), life=False, gpus_used=used), at(second))
        assert not world.watch.asks_for_gpus(at(second + 5))
    assert world.watch.vitals.gpus_used == 2
    assert not world.watch.asks_for_gpus(at(900))


@pytest.mark.parametrize(("used", "flags"), [(1, ("underused",)), (2, ()), (None, ())])
def test_a_run_that_uses_fewer_gpus_than_it_was_given_is_flagged(used: int | None, flags: tuple[str, ...]) -> None:
    """Half of the box was held by a run that had never been told of the second GPU; nobody said so."""
    tale = Tale()
    tale.begin()
    assert tale.run.attempt is not None
    slot = Slot("gpu:0,1", gpu_ids=("0", "1"))
    tale.run = replace(tale.run, attempts=(replace(tale.run.attempt, slot=slot),))
    tale.end()
    tale.verify("none", Vitals(gpus_used=used))
    assert tale.run.flags == flags
