"""What an executor is. Whatever runs attempts for the supervisor passes this, the fake like the real ones."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from executor_benches import BENCHES, Bench, Doing, bench

from overnight.model.events import AttemptEnded, AttemptNeverBegan, AttemptStarted
from overnight.ports import SlotRequest

FOR_EVER = Doing(seconds=None)


@pytest.fixture(params=BENCHES)
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with bench(request.param, tmp_path) as made:
        yield made


class TestEnds:
    def test_every_start_ends_in_exactly_one_terminal_event(self, here: Bench) -> None:
        """A sweep that waited for ever for a run whose end had been swallowed in a burst of others."""
        doings = [Doing(code=n % 3) for n in range(12)] + [Doing(signal="SIGKILL"), Doing(missing=True)]
        for number, doing in enumerate(doings):
            here.start(f"r{number}", doing)
        here.until(lambda: all(here.terminal(f"r{n}") for n in range(len(doings))))
        for number, doing in enumerate(doings[:12]):
            assert here.ended(f"r{number}").exit.code == doing.code
        here.look()
        assert all(len(here.terminal(f"r{n}")) == 1 for n in range(len(doings)))

    def test_exit_137_and_a_kill_are_told_apart(self, here: Bench) -> None:
        """The out-of-memory killer's victim that was taken for a program that had said 137."""
        here.start("code", Doing(code=137))
        here.start("kill", Doing(signal="SIGKILL"))
        code, kill = here.ended("code").exit, here.ended("kill").exit
        assert (code.code, code.signal, code.raw) == (137, None, 137 << 8)
        assert (kill.code, kill.signal, kill.raw) == (None, "SIGKILL", 9)

    def test_an_end_brings_its_start_along(self, here: Bench) -> None:
        """A run so short that nobody saw it start, and whose record then had no beginning."""
        here.start("r", Doing())
        event = here.ended("r")
        assert event.started is not None
        assert event.started.mono <= event.at.mono
        assert event.exit.recorded and event.exit.stopped is None

    def test_a_command_that_cannot_be_started_says_why(self, here: Bench) -> None:
        """A misspelt program that was retried all night as if the machine were at fault."""
        here.start("r", Doing(missing=True))
        record = here.ended("r").exit
        assert record.code is None and record.signal is None
        assert record.error_kind == "exec" and record.errno == 2 and "/no/such/program" in (record.error or "")


class TestStops:
    def test_stopping_twice_is_stopping_once(self, here: Bench) -> None:
        """A stop repeated by recovery that hit the next attempt."""
        here.start("r", FOR_EVER)
        here.runs("r")
        here.executor.stop(here.target("r"), 5.0)
        here.executor.stop(here.target("r"), 5.0)
        record = here.ended("r").exit
        assert (record.signal, record.stopped) == ("SIGTERM", "request")
        here.executor.stop(here.target("r"), 5.0)
        here.look()
        assert len(here.terminal("r")) == 1

    def test_what_ignores_the_request_is_killed_after_the_grace(self, here: Bench) -> None:
        """A trainer that held its GPU until the morning because it ignored TERM."""
        here.start("r", Doing(seconds=None, ignores_term=True))
        here.runs("r")
        if (begun := here.times_begun("r")) is not None:
            here.until(lambda: here.times_begun("r"))
            assert begun <= 1
        here.executor.stop(here.target("r"), 0.3)
        record = here.ended("r").exit
        assert record.signal == "SIGKILL" and record.stopped == "request"
        assert record.seconds >= 0.3

    def test_a_stop_before_the_beginning_keeps_it_from_beginning(self, here: Bench) -> None:
        """A cancelled run whose late start came after its cancellation."""
        order = here.order("r", Doing(seconds=1.0))
        here.executor.stop(here.target("r"), 5.0)
        here.never_began("r")
        here.executor.release(order.slot)
        here.crash()
        here.executor.start(order)
        here.never_began("r")
        assert here.times_begun("r") in (0, None)

    def test_a_stop_right_behind_the_order_leaves_one_end(self, here: Bench) -> None:
        """A claim race between the shim and who gives up the start, won by both."""
        for number in range(6):
            here.start(f"r{number}", FOR_EVER)
            here.executor.stop(here.target(f"r{number}"), 5.0)
        here.until(lambda: all(here.terminal(f"r{n}") for n in range(6)))
        for number in range(6):
            (event,) = here.terminal(f"r{number}")
            begun = here.times_begun(f"r{number}")
            if isinstance(event, AttemptNeverBegan):
                assert begun in (0, None)
            else:
                assert event.exit.stopped == "request"


class TestRecovery:
    def test_what_lives_is_adopted_and_not_harmed(self, here: Bench) -> None:
        """A supervisor that came back and restarted what was running."""
        here.start("r", Doing(seconds=1.5, code=7, waits=True))
        before = here.runs("r")
        target = here.target("r")
        here.crash()
        here.executor.adopt(target)
        assert here.runs("r").started == before.started
        here.let_go("r")
        event = here.ended("r")
        assert event.exit.code == 7 and event.exit.stopped is None
        assert event.started == before.started
        assert here.times_begun("r") in (1, None)

    def test_an_end_that_nobody_saw_is_found(self, here: Bench) -> None:
        """An exit code lost because the supervisor was away when it came."""
        here.start("r", Doing(code=3))
        here.ended("r")
        target = here.target("r")
        here.crash()
        here.executor.adopt(target)
        assert here.ended("r").exit.code == 3

    def test_what_never_began_is_given_up_for_good(self, here: Bench) -> None:
        """An order that was still on its way when its run had been started again: two trainers, one output."""
        order = here.order("r", Doing(seconds=1.0))
        target = here.target("r")
        here.crash()
        here.executor.adopt(target)
        here.never_began("r")
        here.crash()
        here.executor.start(order)
        here.never_began("r")
        assert here.times_begun("r") in (0, None)

    def test_orders_that_come_twice_change_nothing(self, here: Bench) -> None:
        """Effects performed once more after a crash between doing and writing down."""
        order = here.start("r", Doing(seconds=0.3, code=4, waits=True))
        here.executor.start(order)
        here.runs("r")
        here.executor.adopt(here.target("r"))
        here.executor.adopt(here.target("r"))
        here.let_go("r")
        assert here.ended("r").exit.code == 4
        here.executor.adopt(here.target("r"))
        here.executor.start(order)
        here.look()
        assert len(here.terminal("r")) == 1
        assert here.times_begun("r") in (1, None)

    def test_letting_go_ends_nothing(self, here: Bench) -> None:
        """A restart of the supervisor, for an update, that took the runs along."""
        here.start("r", Doing(seconds=1.5, code=5, waits=True))
        here.runs("r")
        target = here.target("r")
        here.executor.close()
        here.crash()
        here.executor.adopt(target)
        here.let_go("r")
        assert here.ended("r").exit.code == 5

    def test_a_stop_of_what_was_never_adopted_reaches_it(self, here: Bench) -> None:
        """A cancellation that was owed when the supervisor died, and then fell on deaf ears."""
        here.start("r", FOR_EVER)
        here.runs("r")
        target = here.target("r")
        here.crash()
        here.executor.stop(target, 5.0)
        assert here.ended("r").exit.stopped == "request"


class TestSlots:
    def test_no_slot_is_given_twice(self, here: Bench) -> None:
        """Two campaigns on one GPU, both out of memory."""
        slots = [here.acquire(f"campaign-{n % 3}") for n in range(40)]
        assert len({slot.name for slot in slots}) == len({key for slot in slots for key in slot.keys}) == 40
        here.executor.release(slots[7])
        assert here.acquire() == slots[7]

    def test_ports_differ(self, here: Bench) -> None:
        """Two torchruns on one rendezvous port."""
        found = [here.executor.acquire(SlotRequest("c", 0)) for _ in range(20)]
        assert len({getattr(each, "port", None) for each in found}) == 20

    def test_a_slot_is_busy_as_long_as_its_attempt_lives(self, here: Bench) -> None:
        """A restarted supervisor that gave a busy GPU to the next run."""
        slot = here.start("r", Doing(seconds=1.5, waits=True)).slot
        here.runs("r")
        target = here.target("r")
        here.crash()
        here.executor.adopt(target)
        here.runs("r")
        other = here.acquire()
        assert other != slot
        here.executor.release(other)
        here.let_go("r")
        here.ended("r")
        assert here.acquire() == slot

    def test_what_was_acquired_and_not_used_is_free_after_a_crash(self, here: Bench) -> None:
        """Slots that leaked with each crash until none was left."""
        slot = here.acquire()
        here.crash()
        if not here.orders:
            assert here.acquire() == slot

    def test_a_start_after_a_crash_takes_its_slot_again(self, here: Bench) -> None:
        """A start that was owed at the crash, performed without its lock: the slot looked free."""
        order = here.order("r", Doing(seconds=1.0, waits=True))
        here.crash()
        here.executor.start(order)
        here.runs("r")
        assert here.acquire() != order.slot
        here.let_go("r")
        assert here.ended("r").exit.code == 0

    def test_a_quarantined_slot_is_given_to_nobody_and_what_runs_goes_on(self, here: Bench) -> None:
        """Run after run sent to the one broken GPU of eight, because it was always the free one."""
        slot = here.start("r", Doing(seconds=0.5, code=6, waits=True)).slot
        here.runs("r")
        here.executor.quarantine(slot, "three runs failed on it")
        here.executor.quarantine(slot, "and a fourth")
        here.let_go("r")
        assert here.ended("r").exit.code == 6
        other = here.acquire()
        assert other != slot
        here.executor.release(other)
        assert here.acquire() == other


@pytest.mark.parametrize("kind", ["local", "fake"])
def test_a_quarantine_outlives_whoever_made_it(kind: str, tmp_path: Path) -> None:
    """A supervisor that came back and had forgotten which GPU was broken."""
    with bench(kind, tmp_path) as here:
        slot = here.acquire()
        here.executor.quarantine(slot, "its memory did not come back")
        here.crash()
        assert here.acquire() != slot


class TestBound:
    def test_the_bound_holds_without_anybody(self, here: Bench) -> None:
        """A hung run that computed for a week after its supervisor had died."""
        here.start("r", FOR_EVER, bound=0.3)
        record = here.ended("r").exit
        assert record.stopped == "bound"
        assert record.seconds >= 0.3

    def test_a_longer_bound_counts_at_once(self, here: Bench) -> None:
        """An amended timeout that was ignored by what was already running."""
        here.start("r", Doing(seconds=2.2), bound=1.8)
        here.runs("r")
        here.executor.set_bound(here.target("r"), 1000.0, 5.0)
        record = here.ended("r").exit
        assert (record.code, record.stopped) == (0, None)


class TestPoll:
    def test_a_look_at_nothing_returns_at_once(self, here: Bench) -> None:
        """A loop that stood still because one attempt had nothing to say."""
        here.start("r", FOR_EVER)
        here.runs("r")
        here.look()
        began = time.monotonic()
        for _ in range(20):
            assert all(isinstance(event, AttemptStarted) for _, event in here.executor.poll())
        assert time.monotonic() - began < 2.0
        assert not here.terminal("r")

    def test_late_words_about_an_end_are_not_a_second_end(self, here: Bench) -> None:
        """A limit that passed while the exit was on its way, and killed the successor."""
        here.start("r", Doing())
        here.ended("r")
        here.executor.stop(here.target("r"), 1.0)
        here.executor.adopt(here.target("r"))
        here.look()
        assert [event for event in here.of("r") if isinstance(event, AttemptEnded)] == here.terminal("r")
        assert len(here.terminal("r")) == 1
