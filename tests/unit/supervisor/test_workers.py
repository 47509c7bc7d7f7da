"""Jobs that may block, done without the loop waiting for long ones."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from overnight.ports import RunRef
from overnight.supervisor.workers import Done, LeaderWorkers


def _until(workers: LeaderWorkers, count: int) -> list[Done]:
    found: list[Done] = []
    deadline = time.monotonic() + 10
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} came back"
        found.extend(workers.results())
    return found


def test_jobs_of_one_run_keep_their_order() -> None:
    """A summary written after the retry that moved it aside would be the old epoch's, under the new one's name."""
    workers = LeaderWorkers()
    order: list[int] = []

    def job(number: int) -> Callable[[], Any]:
        return lambda: order.append(number)

    for number in range(300):
        workers.submit(number, job(number), RunRef("c", "r"))
    _until(workers, 300)
    assert order == list(range(300))
    assert not workers.waiting()


def test_a_job_that_raises_is_a_result() -> None:
    """An exception in a job must reach the run that it concerns, and nobody else."""
    workers = LeaderWorkers()
    workers.submit("x", lambda: 1 / 0)
    (done,) = _until(workers, 1)
    assert isinstance(done.problem, ZeroDivisionError)


def test_a_job_that_hangs_stops_neither_the_loop_nor_other_runs() -> None:
    """A stat on a dead NFS mount held the supervisor, and with it every limit of every run, until morning."""
    workers = LeaderWorkers(patience=0.3)  # no job but the one that hangs takes so long, on a busy machine either
    cured, seen = threading.Event(), list[object]()
    leaders: set[int] = set()
    behind: list[str] = []
    workers.submit("hangs", cured.wait, RunRef("c", "sick"))
    workers.submit("behind it", lambda: behind.append("done"), RunRef("c", "sick"))
    workers.submit("healthy", lambda: None, RunRef("c", "well"))

    def loop() -> int:
        leaders.add(threading.get_ident())
        while True:
            seen.extend(done.tag for done in workers.results())
            if seen == ["healthy"]:
                assert behind == []  # of the sick run, nothing overtakes what hangs
                cured.set()
            if len(seen) == 3:
                return 7
            time.sleep(0.001)

    assert workers.lead(loop) == 7
    assert seen == ["healthy", "hangs", "behind it"]
    assert len(leaders) == 2


def test_many_long_jobs_leave_exactly_one_leader() -> None:
    """Two threads that both led the loop would decide everything twice."""
    workers = LeaderWorkers(patience=0.002)
    inside = 0
    most = 0
    turns = 0
    guard = threading.Lock()
    for number in range(60):
        workers.submit(number, lambda: time.sleep(0.004))

    def loop() -> int:
        nonlocal inside, most, turns
        seen = 0
        while True:
            found = workers.results()
            with guard:
                inside += 1
                most = max(most, inside)
            turns += len(found)
            time.sleep(0.0005)
            with guard:
                inside -= 1
            seen += 1
            if turns >= 60:
                return 0

    assert workers.lead(loop) == 0
    assert most == 1
    assert turns == 60


def test_what_the_loop_raises_is_raised_to_whoever_let_it_lead() -> None:
    """A loop that died in its own thread left a process that looked alive and did nothing."""
    workers = LeaderWorkers()

    def loop() -> int:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        workers.lead(loop)


def test_as_many_hung_jobs_as_there_may_be_do_not_hold_up_the_loop() -> None:
    """A dead file server under a thousand runs: the thousand-and-first look must wait, not whoever decides."""
    workers = LeaderWorkers(patience=0.002, most=2)
    cured = threading.Event()
    for number in range(2):
        workers.submit(number, cured.wait)
    workers.submit("third", lambda: None)
    turns, seen = 0, []

    def loop() -> int:
        nonlocal turns
        while True:
            seen.extend(done.tag for done in workers.results())
            turns += 1
            if turns > 50 and not cured.is_set():
                assert seen == [] and not workers.waiting()  # nothing to be done at once: the loop may sleep
                cured.set()
            if len(seen) == 3:
                return 0
            time.sleep(0.001)

    assert workers.lead(loop) == 0
    assert sorted(map(str, seen)) == ["0", "1", "third"]
