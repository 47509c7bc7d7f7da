"""A supervisor that can do nothing sleeps: one that turns without end costs a core of the host all night."""

from collections.abc import Callable

import pytest

from overnight.model.campaign import Device
from overnight.model.codec import replace
from overnight.model.manifest import Frozen
from overnight.model.notices import Delivery, NoticeText
from overnight.model.policy import Policy, Resources
from overnight.model.requests import Launch, Pause
from overnight.model.settings import NotifySettings, PingSettings, Settings
from overnight.testing.simulator import Faults, Simulation
from overnight.testing.world import frozen, launch

SECONDS = 120.0
TURNS = 480  # four a second: looks, retries of the commit and renewals of the lease are all slower


class Nobody:
    """A notifier whose settings a test changes under it."""

    def __init__(self) -> None:
        self.own = Settings()
        self.broken = False

    def settings(self) -> Settings:
        if self.broken:
            raise OSError("the home directory does not answer")
        return self.own

    def deliver(self, settings: NotifySettings, text: NoticeText, told: tuple[str, ...]) -> tuple[Delivery, ...]:
        return ()

    def ping(self, url: str) -> str:
        return ""


def _launch(campaign: Frozen) -> Launch:
    return replace(launch("q1", campaign), devices=(Device("0"), Device("1")))


def _pass(simulation: Simulation, seconds: float) -> int:
    """Turns in that time."""
    until, turns = simulation.clock.mono + seconds, 0
    while simulation.clock.mono < until and turns < 10 * TURNS:
        simulation.turn()
        turns += 1
    return turns


def _slot_taken(simulation: Simulation, person: Nobody) -> None:
    """Two campaigns want the GPUs of one; the second is paused while it waits for a slot."""
    policy = Policy(resources=Resources(gpus=2))
    first, second = frozen(["a"], policy, name="one", knobs={"seconds": 9999}), frozen(["b"], policy, name="two")
    simulation.ask(_launch(first))
    _pass(simulation, 10)
    simulation.ask(replace(_launch(second), id="q2"))
    _pass(simulation, 10)
    assert simulation.supervisor.planner.busy, "the second one waits for a slot"
    simulation.ask(Pause("q3", "tester", second.campaign))


def _no_room(simulation: Simulation, person: Nobody) -> None:
    """A disk is full, and the campaign that waits for room is paused."""
    campaign = frozen(["a"], Policy())
    simulation.faults = Faults(no_room=1.0, most=10**9)
    simulation.files.free_bytes = 0
    simulation.ask(_launch(campaign))
    _pass(simulation, 10)
    assert simulation.supervisor.ledger.campaigns[campaign.campaign].no_room
    simulation.ask(Pause("q2", "tester", campaign.campaign))


def _no_root(simulation: Simulation, person: Nobody) -> None:
    """The root does not say how much room is left: its file handle is stale, or somebody removed it."""
    simulation.files.stale = True
    simulation.ask(_launch(frozen(["a"], Policy())))


def _no_commit(simulation: Simulation, person: Nobody) -> None:
    """The database's disk is full when a run ends: another one could start, and campaign.json is to be written."""
    simulation.ask(_launch(frozen(["a", "b"], Policy(), knobs={"seconds": 15})))
    _pass(simulation, 10)
    simulation.faults = Faults(disk_full=1.0, most=10**9)


def _no_settings(simulation: Simulation, person: Nobody) -> None:
    """A notice is owed, and the person's own settings lie in a home directory that does not answer."""
    person.broken = True
    simulation.ask(_launch(frozen(["a"], Policy(), knobs={"seconds": 1, "exit_code": 2})))
    _pass(simulation, 60)
    assert simulation.store.owed_notices()


def _no_ping(simulation: Simulation, person: Nobody) -> None:
    """`[ping]` is taken out of the settings while somebody watches."""
    person.own = Settings(ping=PingSettings("https://ping.example", 30.0))
    simulation.ask(_launch(frozen(["a"], Policy(), knobs={"seconds": 9999})))
    _pass(simulation, 200)
    person.own = Settings()
    _pass(simulation, 100)


@pytest.mark.parametrize("arrange", [_slot_taken, _no_room, _no_root, _no_commit, _no_settings, _no_ping])
def test_it_sleeps(arrange: Callable[[Simulation, Nobody], None]) -> None:
    """Each of these once held a time that had passed to be a reason to turn at once."""
    person = Nobody()
    simulation = Simulation(1, Faults(), person)
    arrange(simulation, person)
    _pass(simulation, 10)
    assert _pass(simulation, SECONDS) <= TURNS
