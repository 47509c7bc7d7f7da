"""Done and hung: the whole proof, and the look at the stacks that comes before the limit."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from overnight.failures import load_rules
from overnight.model.campaign import Campaign
from overnight.model.codec import replace
from overnight.model.events import LimitReached
from overnight.model.manifest import RunSpec
from overnight.model.policy import Policy
from overnight.model.run import Attempt, Run, Slot, Vitals
from overnight.model.states import AttemptState, RunState
from overnight.model.time import Moment
from overnight.ports import AttemptRef, Cursor, ExamineOrder, Look, Mark, RunRef
from overnight.supervisor.orders import Orders
from overnight.supervisor.peeks import Peeks
from overnight.supervisor.teardown import hung_teardown
from overnight.supervisor.watches import Watches
from overnight.testing.memory import InlineWorkers

REF = RunRef("bat-1", "r0")
LEAVES = """Process 7: python train.py
Python v3.11.7 (/usr/bin/python3.11)

Thread 7 (idle): "MainThread"
    _shutdown (threading.py:1590)
"""
WORKS = LEAVES.replace("_shutdown (threading.py:1590)", "evaluate (train.py:9)\n    <module> (train.py:12)")
START = Moment(1000.0, 1_700_000_000.0, "boot")
ATTEMPT = Attempt(1, 1, AttemptState.RUNNING, 1, Slot("cpu:0"), START, started=START)
DONE = Vitals(started_moving=True, marked=True, step=100.0, total=100.0)


def at(seconds: float) -> Moment:
    """So many seconds after the start."""
    return Moment(START.mono + seconds, START.wall + seconds, START.boot)


class Ground:
    """A run's folder with its evidence; a probe that saves what a test says."""

    def __init__(self, root: Path) -> None:
        self.orders = Orders(root, root / ".state")
        self.out = Path(self.orders.run_dir(REF)) / "out"
        self.attempt = self.out.parent / "attempts" / "1"
        self.stacks, self.tail, self.saved = LEAVES, "step 100/100 loss 1.5\n", 0
        self.out.mkdir(parents=True)
        self.attempt.mkdir(parents=True)
        (self.attempt / "output.log").write_text(self.tail)

    def save_evidence(self, target: AttemptRef) -> Sequence[str]:
        self.saved += 1
        folder = Path(target.attempt_dir) / "evidence"
        folder.mkdir(exist_ok=True)
        shim = {"pid": 1, "name": "python3", "exe": "/usr/bin/python3.11"}
        process = {"pid": 7, "name": "python", "exe": "/usr/bin/python3.11", "state": "S", "wchan": "futex_do_wait"}
        (folder / "processes.json").write_text(json.dumps({"whole": True, "processes": [shim, process]}))
        (folder / "stacks-7.txt").write_text(self.stacks)
        (folder / "tail.txt").write_text(self.tail)
        return ()

    def spec(self, ref: RunRef) -> RunSpec:
        return RunSpec("r0", {})

    def verdict(self, vitals: Vitals = DONE, stop_class: str = "stall.output", required: tuple[str, ...] = ()) -> str:
        """The class of an attempt that was ended so."""
        attempt = replace(ATTEMPT, vitals=vitals, stop_class=stop_class)
        self.save_evidence(AttemptRef(REF, attempt, str(self.attempt)))
        order = ExamineOrder(REF, attempt, "", str(self.out), str(self.attempt), None, required)
        found = hung_teardown(order, self.attempt / "output.log", load_rules())
        return "" if found is None else found.name


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def test_everything_must_be_shown(ground: Ground) -> None:
    """One sign of the four was enough, and a run that had failed was a success in the morning."""
    assert ground.verdict() == "teardown.hung"
    assert ground.verdict(replace(DONE, step=98.0)) == ""
    assert ground.verdict(replace(DONE, total=None)) == ""
    assert ground.verdict(stop_class="stall.progress") == ""
    assert ground.verdict(required=("summary.csv",)) == ""
    (ground.out / "summary.csv").write_text("loss\n1.5\n")
    assert ground.verdict(required=("summary.csv",)) == "teardown.hung"
    ground.stacks = WORKS
    assert ground.verdict() == ""
    ground.stacks = LEAVES
    ground.tail = 'Traceback (most recent call last):\n  File "t.py", line 1, in <module>\nValueError: bad shape\n'
    assert ground.verdict() == ""


class Watched:
    """A run after its last step, looked at each second until `until`."""

    def __init__(self, ground: Ground) -> None:
        self.campaign = Campaign("bat-1", "bat", "0" * 64, START, Policy(), "/")
        self.run = Run("bat-1", "r0", 0, state=RunState.RUNNING, attempts=(ATTEMPT,))
        self.watches = Watches()
        self.watches.follow(REF, self.run, START)
        self.workers = InlineWorkers(random.Random(1))
        self.peeks = Peeks(self.workers, ground, ground.orders, ground, self.watches)
        self.watch = self.watches.by_run[REF]
        self.see(1, Mark(50.0, 100.0))
        self.see(2, Mark(100.0, 100.0))

    def see(self, second: int, mark: Mark | None = None) -> None:
        lines = second if mark is not None else self.watch.cursor.lines
        look = Look(REF, 1, Cursor(lines, 7, lines, lines=lines), life=mark is not None, mark=mark)
        self.watch.seen(look, at(second))

    def until(self, last: int) -> LimitReached | None:
        for second in range(3, last):
            self.see(second)
            event = self.watches.passed(REF, self.run, self.campaign, at(second))
            if isinstance(event, LimitReached):
                return event
            self.peeks.consider(REF, self.run, self.campaign, self.watch)
            for done in self.workers.results():
                self.peeks.seen(REF, 1, done)
        return None


def test_who_only_leaves_is_ended_at_the_usual_heartbeat(ground: Ground) -> None:
    """A tracker's service was gone; the GPU waited an hour for it, because an upload might have been under way."""
    event = Watched(ground).until(4000)
    assert event is not None and event.limit == "heartbeat"
    assert event.observed == pytest.approx(900, abs=3)
    assert ground.saved == 1


def test_who_works_after_the_last_step_has_four_times_as_long(ground: Ground) -> None:
    """The stacks showed an evaluation, and the heartbeat ended it."""
    ground.stacks = WORKS
    event = Watched(ground).until(4000)
    assert event is not None and event.observed == pytest.approx(3600, abs=3)
    assert ground.saved == 3


def test_a_sign_of_life_takes_the_proof_back(ground: Ground) -> None:
    """A process that seemed to leave printed its scores after all; the next silence began with a proof."""
    world = Watched(ground)
    world.watch.vitals = replace(world.watch.vitals, leaving=True)
    world.see(10, Mark(100.0, 100.0))
    assert not world.watch.vitals.leaving
