"""From an owed notice to a person, through the production loop on a clock of its own."""

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from overnight.model.codec import replace
from overnight.model.manifest import Frozen, Refusal
from overnight.model.notices import Delivery, NoticeText
from overnight.model.policy import Policy
from overnight.model.settings import NotifySettings, PingSettings, Settings
from overnight.supervisor.herald import STORE_PATIENCE_SECONDS, digest_day
from overnight.testing.simulator import Faults, Simulation
from overnight.testing.world import frozen, launch

ALL = NotifySettings(command=("tell",))


class Person:
    """A notifier that remembers. `refuses` so many tries first."""

    def __init__(self, settings: Settings | None = None, refuses: int = 0) -> None:
        self.own = settings or Settings(ALL)
        self.refuses = refuses
        self.tries: list[NoticeText] = []
        self.told: list[NoticeText] = []
        self.pings = 0
        self.unreadable = False

    def settings(self) -> Settings:
        if self.unreadable:
            raise Refusal("config.toml is no TOML", "mend it", ())
        return self.own

    def deliver(self, settings: NotifySettings, text: NoticeText, told: tuple[str, ...]) -> tuple[Delivery, ...]:
        if text.kind not in settings.tell:
            return ()
        self.tries.append(text)
        if len(self.tries) <= self.refuses:
            return (Delivery("command", False, "busy"),)
        self.told.append(text)
        return (Delivery("command", True),)

    def ping(self, url: str) -> str:
        self.pings += 1
        return ""

    @property
    def keys(self) -> list[str]:
        return [text.key for text in self.told]


def turns(simulation: Simulation, seconds: float) -> None:
    """Let that much time pass, turn by turn."""
    until = simulation.clock.mono + seconds
    while simulation.clock.mono < until:
        simulation.turn()


def failing(*runs: str, seconds: float = 1.0) -> Frozen:
    return frozen(runs or ["r0", "r1"], Policy(), knobs={"seconds": seconds, "exit_code": 2})


def night(person: Person, campaign: Frozen, faults: Faults | None = None, seed: int = 1) -> Simulation:
    simulation = Simulation(seed, faults, person)
    simulation.ask(launch("q1", campaign))
    return simulation


def test_the_end_is_told_once_with_its_counts() -> None:
    """Somebody looked every hour whether it was over."""
    person, campaign = Person(), failing()
    simulation = night(person, campaign)
    simulation.run(campaign)
    turns(simulation, 3600)
    (text,) = person.told
    assert text.title == "sim: ended: 0 of 2 done, 2 failed"
    assert text.command == f"overnight status {campaign.campaign}"


def test_failures_are_told_while_the_others_run() -> None:
    """The first hour's typing error was told of at the end of the night."""
    person = Person()
    rules = [{"run": "bad-*", "seconds": 1, "exit_code": 2}]
    runs = ["bad-0", "good", "bad-1"]
    simulation = night(person, frozen(runs, Policy(), knobs={"seconds": 3000, "rule": rules}))
    turns(simulation, 120)
    (text,) = person.told
    assert (text.title, text.kind) == ("sim: 1 run failed: config", "needs-you")
    assert "1 running, 1 to come. overnight retry sim-" in text.body
    turns(simulation, 7200)
    assert [told.title for told in person.told[1:]] == ["sim: ended: 1 of 3 done, 2 failed"]


def test_an_attempt_that_is_found_again_is_not_told_of() -> None:
    """A file system that did not answer for ten minutes called for a person who found nothing."""
    for found_at, told in ((600, []), (10_000, ["sim: 1 run lost for 30 min"])):
        person = Person()
        knobs = {"seconds": 9000, "lost_at": 5, "found_at": found_at}
        simulation = night(person, frozen(["r0"], Policy(), knobs=knobs))
        turns(simulation, 4000)
        assert [text.title for text in person.told] == told


@pytest.mark.parametrize("seed", range(8))
def test_told_over_any_number_of_deaths(seed: int) -> None:
    """Guards against an end that is forgotten by a supervisor killed at any instant, or told without end."""
    person, campaign = Person(), failing()
    faults = Faults(crash_before_commit=0.1, crash_after_commit=0.1, crash_before_job=0.1, crash_after_job=0.1, most=30)
    simulation = night(person, campaign, faults, seed)
    simulation.run(campaign)
    turns(simulation, 3600)
    ends = [key for key in person.keys if "/end/" in key]
    assert set(ends) == {f"{campaign.campaign}/end/1"}, "one key, however often"
    assert len(ends) <= 1 + simulation.deaths
    assert simulation.store.owed_notices() == []


def test_a_channel_that_refuses_is_tried_again_and_then_told_once() -> None:
    """A service that was down for five minutes at four in the morning lost the one notice that counted."""
    person, campaign = Person(refuses=4), failing()
    simulation = night(person, campaign)
    simulation.run(campaign)
    turns(simulation, 7200)
    assert len(person.tries) == 5 and len(person.told) == 1


def test_settings_that_cannot_be_read_lose_nothing() -> None:
    """The file was being edited when the campaign ended."""
    person, campaign = Person(), failing()
    person.unreadable = True
    simulation = night(person, campaign)
    simulation.run(campaign)
    turns(simulation, 60)
    assert person.told == []
    person.unreadable = False
    turns(simulation, 3600)
    assert len(person.told) == 1


def test_nobody_to_tell_stops_no_campaign() -> None:
    """Whatever telling does, the runs go on."""
    campaign = failing()
    simulation = Simulation(1)
    simulation.ask(launch("q1", campaign))
    assert len(simulation.run(campaign)) == 2


def test_the_ping_stops_when_the_store_does_not_commit() -> None:
    """A supervisor whose disk was full turned happily and pinged: all was well, and nothing was recorded."""
    person = Person(Settings(ALL, PingSettings("http://x", 60.0)))
    campaign = frozen(["r0"], Policy(), knobs={"seconds": 100_000})
    simulation = night(person, campaign)
    turns(simulation, 600)
    assert 9 <= person.pings <= 12
    before = person.pings
    simulation.faults = Faults(disk_full=1.0)
    turns(simulation, 50)
    assert person.told == []
    turns(simulation, STORE_PATIENCE_SECONDS + 600)
    assert person.pings <= before + 1
    assert [text.title for text in person.told] == ["overnight: the database cannot be written"], "told without it"
    simulation.faults = Faults()
    turns(simulation, 300)
    assert person.pings >= before + 4


# --- the digest --------------------------------------------------------------------------------------------


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is UTC: FakeClock begins at 22:13:20."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def digests(person: Person) -> list[str]:
    return [key for key in person.keys if "/digest:" in key]


def long_night(minutes: int = 8 * 60) -> tuple[Person, Simulation]:
    person = Person(Settings(replace(ALL, digest=minutes)))
    simulation = night(person, frozen(["r0"], Policy(), knobs={"seconds": 10_000_000}))
    turns(simulation, 120)
    return person, simulation


def test_the_digest_comes_at_its_hour_and_not_before(utc: None) -> None:
    """A supervisor that came up at ten in the evening sent the morning's digest at once."""
    person, simulation = long_night()
    assert digests(person) == []
    simulation.clock.advance(10 * 3600)
    turns(simulation, 60)
    assert len(digests(person)) == 1 and person.told[-1].title == "overnight: 0 of 1 done"
    turns(simulation, 3600)
    assert len(digests(person)) == 1


def test_a_clock_that_jumps_over_the_hour_and_back_is_told_once(utc: None) -> None:
    """A wall clock set back and forth by a day sent a digest at each crossing."""
    person, simulation = long_night()
    for jump in (12 * 3600, -12 * 3600, 12 * 3600, -12 * 3600):
        simulation.clock.jump(jump)
        turns(simulation, 120)
    simulation.clock.advance(12 * 3600)
    turns(simulation, 120)
    assert len(digests(person)) == 1


def test_a_clock_ten_years_ahead_does_not_silence_the_digest(utc: None) -> None:
    """A battery that was empty set the year 2035; the digests of ten years counted as told."""
    person, simulation = long_night()
    simulation.clock.jump(3650 * 86_400.0)
    turns(simulation, 120)
    simulation.clock.jump(-3650 * 86_400.0)
    turns(simulation, 120)
    before = len(digests(person))
    simulation.clock.advance(12 * 3600)
    turns(simulation, 120)
    assert len(digests(person)) == before + 1


def test_a_restart_around_the_hour_tells_it_once(utc: None) -> None:
    """The new supervisor did not know that the old one had told it."""
    person, simulation = long_night()
    simulation.clock.advance(10 * 3600)
    turns(simulation, 60)
    simulation.boot()
    turns(simulation, 120)
    assert len(digests(person)) == 1


def test_a_restart_over_the_hour_tells_it_late(utc: None) -> None:
    """Nobody watched at eight; at nine the digest was still owed."""
    person, simulation = long_night()
    simulation.clock.advance(10 * 3600)
    simulation.boot()
    turns(simulation, 120)
    assert len(digests(person)) == 1


def test_the_day_of_a_digest_is_local(utc: None) -> None:
    """Around midnight the date of the last eight o'clock is yesterday's."""
    at = datetime(2026, 3, 10, 7, 59).timestamp()
    assert (digest_day(at, 480), digest_day(at + 60, 480)) == ("2026-03-09", "2026-03-10")
