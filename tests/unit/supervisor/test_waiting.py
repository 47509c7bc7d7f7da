"""Waiting: the loop sleeps until a turn is worth its cost, and never past something that is due."""

import os
import time

import pytest

from overnight.supervisor.waiting import LINGER_SECONDS, Waiting


class Bell:
    """A descriptor that can be rung."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK)

    def ring(self) -> None:
        os.eventfd_write(self.fd, 1)

    def hush(self) -> None:
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return


class Executor:
    """Has something to tell after so many pumps; what it hears before concerns nobody else."""

    def __init__(self, tells_after: int = 1) -> None:
        self.bell, self.pumps, self.tells_after = Bell(), 0, tells_after
        self.timer: float | None = None

    def fileno(self) -> int:
        return self.bell.fd

    def due(self) -> float | None:
        return self.timer

    def pump(self) -> bool:
        self.pumps += 1
        self.bell.hush()
        if self.timer is not None and time.monotonic() >= self.timer:
            self.timer = None
        if self.pumps >= self.tells_after:
            return True
        self.bell.ring()
        return False


@pytest.fixture
def inbox():
    return Bell()


@pytest.fixture
def workers():
    return Bell()


def test_a_poke_ends_the_wait(inbox, workers):
    """Guards against a launch that lies in the inbox until something else happens."""
    waiting = Waiting(Executor(tells_after=99), inbox.fd, workers.fd)
    inbox.ring()
    assert waiting.wait(60.0) is True


def test_words_that_concern_nobody_are_heard_without_a_turn(inbox, workers):
    """Guards against three turns and commits for each run where one will do."""
    executor = Executor(tells_after=5)
    waiting = Waiting(executor, inbox.fd, workers.fd)
    executor.bell.ring()
    assert waiting.wait(60.0) is False
    assert executor.pumps == 5


def test_a_timer_of_the_executor_is_kept(inbox, workers):
    """Guards against a stop whose next step waits until the loop's own sleep is over."""
    executor = Executor()
    executor.timer = time.monotonic() + 0.01
    assert Waiting(executor, inbox.fd, workers.fd).wait(60.0) is False
    assert executor.timer is None


def test_a_workers_result_waits_for_company_and_not_longer(inbox, workers):
    """Guards against a verified run that is not entered until the next one ends."""
    executor = Executor(tells_after=10**9)
    executor.pump = lambda: False
    workers.ring()
    begun = time.monotonic()
    assert Waiting(executor, inbox.fd, workers.fd).wait(60.0) is False
    assert LINGER_SECONDS <= time.monotonic() - begun < 30.0


def test_nothing_happens_until_the_time_is_over(inbox, workers):
    """Guards against a wait that returns early for ever and burns a core."""
    executor = Executor(tells_after=10**9)
    executor.pump = lambda: False
    begun = time.monotonic()
    assert Waiting(executor, inbox.fd, workers.fd).wait(0.02) is False
    assert time.monotonic() - begun >= 0.02
