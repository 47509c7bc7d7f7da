"""The fake executor's own knobs: what it can pretend, and that it always pretends the same."""

import time
from pathlib import Path
from typing import Any

import pytest

from overnight.executors.fake import FakeExecutor, FakeProbe, FakeWorld, FileSink, MemorySink, check_knobs
from overnight.executors.fake.knobs import Knobs, knobs_for
from overnight.executors.fake.script import Script
from overnight.model.codec import replace
from overnight.model.events import (
    AttemptEnded,
    AttemptFound,
    AttemptLost,
    AttemptNeverBegan,
    AttemptStarted,
    AttemptStarting,
    Event,
)
from overnight.model.manifest import Refusal
from overnight.model.run import Attempt, Slot
from overnight.model.states import AttemptState
from overnight.model.time import Moment
from overnight.ports import AttemptRef, Busy, Cursor, LookOrder, Placement, RunRef, SlotRequest, StartOrder
from overnight.shim.shim import host_identity
from overnight.testing.clock import FakeClock


class Stage:
    """A world, a window onto it, and what was heard through it."""

    def __init__(self, **table: Any) -> None:
        self.clock = FakeClock(boot=str(host_identity()["boot"]))
        self.sink = MemorySink()
        self.world = FakeWorld(self.clock, self.sink)
        self.table = table
        self.window = FakeExecutor(self.world, table)
        self.heard: list[tuple[float, str, Event]] = []

    def order(self, run_id: str = "r", n: int = 1, **more: Any) -> StartOrder:
        given: dict[str, Any] = {
            "ref": RunRef("c", run_id), "n": n, "attempt_id": f"c.{run_id}.{n}", "run_dir": f"/{run_id}",
            "out_dir": f"/{run_id}/out", "attempt_dir": f"/{run_id}/{n}", "argv": ("true",), "cwd": "/",
            "env_set": {}, "env_unset": (), "launch_env": None, "umask": None, "rlimits": {},
            "slot": Slot("cpu:0", ()), "bound_seconds": None, "grace": 5.0, "knobs": {},
        }  # fmt: skip
        return StartOrder(**{**given, **more})

    def start(self, run_id: str = "r", n: int = 1, **more: Any) -> StartOrder:
        order = self.order(run_id, n, **more)
        self.window.start(order)
        return order

    def target(self, order: StartOrder) -> AttemptRef:
        attempt = Attempt(order.n, 1, AttemptState.SUBMITTING, 1, order.slot, Moment(0, 0))
        return AttemptRef(order.ref, attempt, order.attempt_dir)

    def run(self, seconds: float) -> list[str]:
        """Let time pass; the names of what was heard in it."""
        end, before = self.clock.mono + seconds, len(self.heard)
        while True:
            for ref, event in self.window.poll():
                self.heard.append((self.clock.mono, ref.run_id, event))
            due = self.window.due()
            if due is None or due > end:
                break
            self.clock.advance(max(0.0, due - self.clock.mono))
        self.clock.advance(end - self.clock.mono)
        return [type(event).__name__ for _, _, event in self.heard[before:]]

    def last(self, kind: type[Any]) -> Any:
        return next(event for _, _, event in reversed(self.heard) if isinstance(event, kind))


class TestScripts:
    def test_a_run_ends_by_its_script_and_at_its_time(self) -> None:
        """A fake whose time was not the clock's: simulated nights that took a night."""
        stage = Stage(seconds=3600.0, exit_code=2)
        stage.start()
        assert stage.run(3599.0) == ["AttemptStarting", "AttemptStarted"]
        assert stage.run(2.0) == ["AttemptEnded"]
        assert stage.last(AttemptEnded).exit.code == 2
        assert stage.last(AttemptEnded).exit.seconds == 3600.0

    def test_rules_are_for_runs_and_attempts(self) -> None:
        """A fault meant for the first attempt that struck every retry."""
        rules = [{"run": "a*", "attempt": 1, "signal": "SIGSEGV"}, {"attempt": [2, 3], "exit_code": 9}]
        stage = Stage(rule=rules)
        for run_id, n in (("a1", 1), ("a1", 2), ("b", 1), ("b", 3)):
            stage.start(run_id, n)
        stage.run(2.0)
        ends = [event.exit for _, _, event in stage.heard if isinstance(event, AttemptEnded)]
        assert [(end.code, end.signal) for end in ends] == [(None, "SIGSEGV"), (9, None), (0, None), (9, None)]

    def test_chance_comes_from_the_seed(self) -> None:
        """A failing simulation that passed when it was run again."""

        def lengths(seed: int) -> list[float]:
            table = {"seed": seed, "seconds": [1.0, 100.0]}
            return [knobs_for(table, f"r{n}", 1)[1] for n in range(5)]

        assert lengths(1) == lengths(1) != lengths(2)
        assert all(1.0 <= length <= 100.0 for length in lengths(3))

    def test_steps_are_printed_as_time_goes(self) -> None:
        """A probe tested on output that no trainer prints."""
        stage = Stage(steps=3, step_seconds=2.0, startup_seconds=1.0, output=[[0.0, "banner"], [4.0, "half\r"]])
        order = stage.start()
        stage.run(5.0)
        lines = stage.world.output(order.attempt_dir)
        assert [line.split(":")[0] for line in lines] == ["banner\n", "iter 1", "half\r", "iter 2"]
        stage.run(3.0)
        assert stage.world.output(order.attempt_dir)[-1].startswith("iter 3: loss ")
        assert stage.last(AttemptEnded).exit.seconds == 7.0

    def test_one_hangs_and_one_spins(self) -> None:
        """A stall that only ever was a silent one in the tests."""
        silent = Script(Knobs(steps=10, hangs_after=3.5), 10.0)
        loud = Script(Knobs(steps=10, spins_after=3.5), 10.0)
        assert silent.lines_by(100.0) == 3 and silent.next_line(3.0) is None
        assert loud.step(100.0) == 3 and loud.lines_by(100.0) == 3 + 97
        assert loud.lines(3.0, 5.0) == ["still waiting for data\n"] * 2
        assert silent.end == loud.end == float("inf")

    @pytest.mark.parametrize(
        "knobs", [{"steps": 7}, {"steps": 5, "spins_after": 2.5}, {"output": [(0, "a"), (9, "b")]}]
    )
    def test_pieces_add_up_to_the_whole(self, knobs: dict[str, Any]) -> None:
        """Lines printed twice, or never, at the border of two looks."""
        script = Script(Knobs(**knobs), 10.0)
        whole = script.lines(-1.0, 9.5)
        pieces, at = script.lines(-1.0, 0.0), 0.0
        while (coming := script.next_line(at)) is not None and coming <= 9.5:
            pieces += script.lines(at, coming)
            at = coming
        assert pieces == whole and len(whole) == script.lines_by(9.5)

    def test_a_resumed_attempt_goes_on_behind_its_checkpoint(self) -> None:
        """A resume that was believed though it had begun at zero."""
        stage = Stage(
            steps=10, checkpoint_every=4, rule=[{"attempt": 1, "hangs_after": 6.5}, {"attempt": 3, "resumes": False}]
        )
        order = stage.start()
        stage.run(60.0)
        stage.window.stop(stage.target(order), 1.0)
        stage.run(1.0)
        assert stage.sink.files == {"/r/out/ckpt-4.pt": "4\n"}
        env = {"OVERNIGHT_CHECKPOINT": "/r/out/ckpt-4.pt"}
        again, ignored = stage.start(n=2, env_set=env), stage.start(n=3, env_set=env)
        stage.run(20.0)
        assert stage.world.output(again.attempt_dir)[0].startswith("iter 5:")
        assert stage.world.output(ignored.attempt_dir)[0].startswith("iter 1:")
        assert stage.last(AttemptEnded).exit.code == 0

    def test_files_are_left_by_success_alone(self) -> None:
        """A required artifact that a failed run had left too."""
        stage = Stage(files={"summary.csv": "ok"}, rule=[{"run": "bad", "exit_code": 1}])
        stage.start("bad")
        stage.start("good")
        stage.run(2.0)
        assert stage.sink.files == {"/good/out/summary.csv": "ok"}


class TestReports:
    def test_one_is_lost_and_found(self) -> None:
        """A network of an hour's silence, after which everything was started twice."""
        stage = Stage(seconds=10.0, lost_at=2.0, found_at=30.0)
        order = stage.start()
        assert stage.run(20.0) == ["AttemptStarting", "AttemptStarted", "AttemptLost"]
        stage.window.adopt(stage.target(order))
        assert stage.run(1.0) == ["AttemptLost"]
        assert stage.run(20.0) == ["AttemptFound", "AttemptEnded"]
        assert stage.last(AttemptEnded).exit.seconds == 10.0

    def test_one_is_lost_for_ever(self) -> None:
        """A lost attempt that ended by itself because the fake could not keep a secret."""
        stage = Stage(seconds=10.0, lost_at=2.0)
        order = stage.start()
        stage.run(5.0)
        stage.window.stop(stage.target(order), 1.0)
        assert "AttemptEnded" not in stage.run(1000.0)

    def test_reports_come_twice_late_and_contradicting(self) -> None:
        """The second of two ends with other codes, which turned a success into a failure."""
        stage = Stage(seconds=1.0, duplicates=True, contradicts=9, late=5.0)
        stage.start()
        names = stage.run(2.0)
        assert names.count("AttemptStarting") == names.count("AttemptStarted") == 2
        codes = [event.exit.code for _, _, event in stage.heard if isinstance(event, AttemptEnded)]
        assert codes == [0, 0, 9, 9]
        assert stage.run(5.0) == ["AttemptStarted"] * 2

    def test_one_never_begins_and_one_cannot(self) -> None:
        """A start error counted as a crash of the trainer."""
        stage = Stage(rule=[{"run": "never", "never_begins": True}, {"run": "cannot", "start_error": "no such file"}])
        stage.start("never")
        assert stage.run(1.0) == ["AttemptNeverBegan"]
        stage.start("cannot")
        stage.run(1.0)
        assert stage.last(AttemptEnded).exit.error == "no such file"

    def test_a_stop_takes_the_grace_only_if_term_is_ignored(self) -> None:
        """A grace that was always waited out, eight hundred times in a cancelled sweep."""
        stage = Stage(hangs_after=0.0, rule=[{"run": "deaf", "ignores_term": True}])
        for run_id in ("polite", "deaf"):
            order = stage.start(run_id)
            stage.run(1.0)
            stage.window.stop(stage.target(order), 30.0)
            stage.run(100.0)
        polite, deaf = (event.exit for _, _, event in stage.heard if isinstance(event, AttemptEnded))
        assert (polite.signal, deaf.signal) == ("SIGTERM", "SIGKILL")
        assert polite.seconds < 1.2 and 31.0 <= deaf.seconds <= 33.0

    def test_one_vanishes_and_one_is_preempted(self) -> None:
        """An end that the executor knew by name, lost on its way."""
        stage = Stage(seconds=5.0, rule=[{"run": "gone", "vanishes_at": 1.0}, {"run": "taken", "cause": "preempted"}])
        stage.start("gone")
        stage.run(2.0)
        assert not stage.last(AttemptEnded).exit.recorded
        stage.start("taken")
        stage.run(6.0)
        assert stage.last(AttemptEnded).cause == "preempted"


class TestWorlds:
    def test_a_crashed_supervisors_attempts_go_on(self) -> None:
        """A simulated crash that took the simulated machine along, so that adoption was never tested."""
        stage = Stage(seconds=100.0)
        order = stage.start()
        stage.run(10.0)
        stage.window = FakeExecutor(stage.world)
        stage.window.adopt(stage.target(order))
        assert stage.run(1.0) == ["AttemptStarted"]
        assert stage.run(100.0) == ["AttemptEnded"]
        assert stage.last(AttemptEnded).exit.seconds == 100.0

    def test_a_reboot_is_the_end_of_all_that_lived(self) -> None:
        """A node that failed, and whose runs were adopted alive."""
        stage = Stage(seconds=100.0)
        order = stage.start()
        stage.run(10.0)
        stage.world.reboot()
        stage.window = FakeExecutor(stage.world)
        stage.window.adopt(stage.target(order))
        assert stage.run(1.0) == ["AttemptEnded"]
        assert stage.last(AttemptEnded).cause == "node.lost"

    def test_gpus_are_shared_and_avoided_like_real_ones(self) -> None:
        """A planner that passed its tests on slots that no host has."""
        window = Stage().window
        two = (("0", None), ("1", None))
        first = window.acquire(SlotRequest("c", 1, two, avoid=("gpu:0",)))
        assert isinstance(first, Placement) and first.slot == Slot("gpu:1", ("gpu-1",), ("1",))
        answer = window.acquire(SlotRequest("c", 1, two, avoid=("gpu:0",)))
        assert isinstance(answer, Busy) and answer.only_avoided
        halves = [window.acquire(SlotRequest("c", 0.5, two)) for _ in range(3)]
        assert [getattr(each, "slot", Slot("-")).name for each in halves] == ["gpu:0#0", "gpu:0#1", "-"]
        assert isinstance(window.acquire(SlotRequest("c", 2, two)), Busy)

    def test_a_probe_sees_what_was_printed_since_it_last_looked(self) -> None:
        """Progress of a simulated run that came from nowhere."""
        stage = Stage(steps=10, spins_after=4.5)
        order = stage.start()
        probe = FakeProbe(stage.world)
        look = LookOrder(order.ref, 1, order.attempt_dir, order.out_dir, None, Cursor())
        stage.run(3.5)
        seen = probe.look(look)
        assert (seen.lines, seen.life) == (3, True)
        assert seen.first is not None and seen.mark is not None
        assert (seen.first.step, seen.mark.step, seen.mark.total) == (1.0, 3.0, 10.0)
        stage.run(7.0)
        later = probe.look(replace(look, cursor=seen.cursor))
        assert later.life and later.mark is not None and later.mark.step == 4.0
        last = probe.look(replace(look, cursor=later.cursor))
        assert not last.life and last.mark is None and last.lines == 0

    def test_ten_thousand_attempts_pass_in_moments(self) -> None:
        """A simulator that could not afford a week of ten thousand runs."""
        stage = Stage(seconds=[10.0, 1000.0], steps=100_000, step_seconds=0.01)
        for n in range(2_000):
            stage.start(f"r{n}")
        stage.run(1_001.0)
        ended = {run_id for _, run_id, event in stage.heard if isinstance(event, AttemptEnded)}
        assert len(ended) == 2_000


class TestFiles:
    def test_a_restarted_world_goes_on_by_the_files(self, tmp_path: Path) -> None:
        """A fake campaign whose supervisor was killed: its log began anew in the middle of the run."""
        directory = tmp_path / "1"
        directory.mkdir()
        clock = _ticking()
        order = Stage().order(attempt_dir=str(directory), out_dir=str(tmp_path / "out"))
        order = replace(order, knobs={"steps": 6, "step_seconds": 1.0, "exit_code": 3, "files": {"a.csv": "1"}})
        first = FakeExecutor(FakeWorld(clock, FileSink()))
        first.start(order)
        clock.advance(2.5)
        first.poll()
        clock.advance(2.0)
        again = FakeExecutor(FakeWorld(clock, FileSink()))
        again.adopt(Stage().target(order))
        assert [type(event) for _, event in again.poll()] == [AttemptStarted]
        clock.advance(10.0)
        ((_, event),) = again.poll()
        assert isinstance(event, AttemptEnded) and event.exit.code == 3
        lines = (directory / "output.log").read_text().splitlines()
        assert [line.split(":")[0] for line in lines] == [f"iter {n}" for n in range(1, 7)]
        assert not (tmp_path / "out" / "a.csv").exists()
        third = FakeExecutor(FakeWorld(clock, FileSink()))
        third.adopt(Stage().target(order))
        ((_, found),) = third.poll()
        assert isinstance(found, AttemptEnded) and found.exit.code == 3 and found.started == event.started

    def test_a_restart_of_the_host_ends_what_lived(self, tmp_path: Path) -> None:
        """A fake campaign that went on after a reboot as if nothing had been."""
        clock = _ticking()
        order = Stage().order(attempt_dir=str(tmp_path), knobs={"seconds": 100.0})
        FakeExecutor(FakeWorld(clock, FileSink())).start(order)
        clock.boot = "the next boot"
        again = FakeExecutor(FakeWorld(clock, FileSink()))
        again.adopt(Stage().target(order))
        ((_, event),) = again.poll()
        assert isinstance(event, AttemptEnded) and event.cause == "node.lost"


def _ticking() -> FakeClock:
    """A clock that begins now, as the claim file tells the machine's own time."""
    return FakeClock(time.monotonic(), time.time(), str(host_identity()["boot"]))


class TestKnobs:
    @pytest.mark.parametrize(
        ("table", "words"),
        [
            ({"secnods": 3}, "secnods: no such knob; did you mean seconds?"),
            ({"seconds": "3s"}, "seconds"),
            ({"seconds": [5, 1]}, "seconds: a time, or [least, most], is wanted"),
            ({"exit_code": 256}, "exit_code: 256 is not between 0 and 255"),
            ({"signal": "KILL"}, "signal: 'KILL' is none; names look like SIGKILL"),
            ({"step_seconds": 0}, "step_seconds"),
            ({"lost_at": -1}, "lost_at: -1 is negative"),
            ({"seed": "x"}, "seed: a whole number is wanted"),
            ({"rule": 3}, "rule: tables"),
            ({"rule": [3]}, "rule 1: a table"),
            ({"rule": [{}, {"run": 3}]}, "rule 2: run"),
            ({"rule": [{"attempt": 0}]}, "rule 1: attempt: a number from 1"),
            ({"rule": [{"atempt": 1}]}, "rule 1: atempt: no such knob; did you mean attempt?"),
            ({"output": [[1, 2]]}, "output"),
        ],
    )
    def test_what_cannot_be_followed_is_named(self, table: dict[str, object], words: str) -> None:
        """A misspelt knob that made a fault drill pass because no fault came."""
        faults = check_knobs(table)
        assert any(words in fault for fault in faults), faults
        with pytest.raises(Refusal) as refusal:
            knobs_for(table, "r", 1)
        assert [fault.message for fault in refusal.value.faults] == faults

    def test_all_faults_are_named_at_once(self) -> None:
        """Ten launches for ten typing errors."""
        assert len(check_knobs({"a": 1, "exit_code": 300, "rule": [{"b": 2}]})) == 3

    def test_a_whole_table_is_taken(self) -> None:
        """A knob of the manual that the code did not know."""
        manual = Path(__file__).parents[3] / "docs" / "reference" / "fake-executor.md"
        text = manual.read_text()
        assert [name for name in Knobs.__struct_fields__ if f"`{name}`" not in text] == []
        assert check_knobs({"seed": 3, "seconds": [1, 2], "rule": [{"run": "a", "attempt": [1, 2]}]}) == []


def test_a_stop_before_the_claim_keeps_it_from_beginning() -> None:
    """A cancelled run that began a moment later."""
    stage = Stage(claim_after=1.0)
    order = stage.start()
    assert stage.run(0.5) == ["AttemptStarting"]
    stage.window.stop(stage.target(order), 1.0)
    assert stage.run(5.0) == ["AttemptNeverBegan"]


def test_heard_types_are_all_of_them() -> None:
    """A kind of report that the fake cannot make, and so no test has ever seen."""
    stage = Stage(seconds=3.0, lost_at=1.0, found_at=2.0, rule=[{"run": "n", "never_begins": True}])
    stage.start()
    stage.start("n")
    stage.run(5.0)
    kinds = {type(event) for _, _, event in stage.heard}
    assert kinds == {AttemptStarting, AttemptStarted, AttemptLost, AttemptFound, AttemptEnded, AttemptNeverBegan}
