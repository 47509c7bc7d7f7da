"""Threads that do what the loop must not wait for."""

import select
from collections.abc import Callable
from typing import Any

from overnight.ports import RunRef
from overnight.supervisor.workers import Done, ThreadWorkers


def _all(workers: ThreadWorkers, count: int) -> list[Done]:
    found: list[Done] = []
    descriptor = workers.fileno()
    assert descriptor is not None
    while len(found) < count:
        ready, _, _ = select.select([descriptor], [], [], 10)
        assert ready, f"{len(found)} of {count} came back"
        found.extend(workers.results())
    return found


def test_no_result_is_lost_or_raises_while_threads_finish_at_once() -> None:
    """A supervisor died of BlockingIOError when a thread had noted its result but not yet rung the bell."""
    workers = ThreadWorkers()
    total = 5000
    try:
        for number in range(total):
            workers.submit("quick" if number % 2 else "slow", number, lambda: None)
            if number % 7 == 0:
                for done in workers.results():
                    assert done.problem is None
                    total -= 1
        _all(workers, total)
        assert workers.idle()
    finally:
        workers.close()


def test_jobs_of_one_run_keep_their_order_across_lanes() -> None:
    """A summary written after the retry that moved it aside would be the old epoch's, under the new one's name."""
    workers = ThreadWorkers()
    order: list[int] = []
    ref = RunRef("c", "r")

    def job(number: int) -> Callable[[], Any]:
        return lambda: order.append(number)

    try:
        for number in range(300):
            workers.submit(("quick", "slow", "look")[number % 3], number, job(number), ref)
        _all(workers, 300)
        assert order == list(range(300))
    finally:
        workers.close()


def test_a_job_that_raises_is_a_result() -> None:
    """An exception in a thread must reach the run that it concerns, not the console."""
    workers = ThreadWorkers()
    try:
        workers.submit("quick", "x", lambda: 1 / 0)
        (done,) = _all(workers, 1)
        assert isinstance(done.problem, ZeroDivisionError)
    finally:
        workers.close()
