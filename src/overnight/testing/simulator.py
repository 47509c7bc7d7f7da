"""The simulator: the production loop on a fake clock, fake executor and in-memory store, from a seed.

A world (attempts, disk, requests) outlives the supervisors that come and go in it. Faults strike at every seam:
before and after each commit, before and after each job, as full disks, unseen gaps, wall clocks that jump,
reboots, and exceptions planted in one run's handling. After every turn what must hold is checked.
"""

import errno
import random
from collections.abc import Callable
from pathlib import Path

from overnight.executors.fake import FakeExecutor, FakeProbe, FakeWorld
from overnight.executors.fake.life import Life, State
from overnight.model.codec import Struct
from overnight.model.manifest import Frozen
from overnight.model.requests import Request
from overnight.model.run import Run
from overnight.model.states import OVER, CampaignState, RunState
from overnight.ports import Look, LookOrder, Notifier, RunRef
from overnight.store import SqliteStore
from overnight.store.faulty import Crashed, Fault, FaultyStore
from overnight.supervisor.loop import Supervisor
from overnight.supervisor.orders import Orders
from overnight.testing.clock import FakeClock
from overnight.testing.memory import InlineWorkers, MemoryCode, MemoryFiles, MemoryInbox, MemoryTenure
from overnight.testing.world import ScriptedCures, ScriptedExaminer

SHORTEST_SILENCE = 10.0  # seconds: no night has a shorter limit
SETTLED = OVER | {CampaignState.HELD}


class Faults(Struct, frozen=True):
    """Chances, per opportunity, that something goes wrong; `most` bounds the number of deaths."""

    crash_before_commit: float = 0.0
    crash_after_commit: float = 0.0
    crash_before_job: float = 0.0
    crash_after_job: float = 0.0
    disk_full: float = 0.0
    bad_ground: float = 0.0  # an OSError of a file operation
    gap: float = 0.0  # time passes in which the supervisor does not turn
    wall_jump: float = 0.0
    reboot: float = 0.0
    blind: float = 0.0  # nobody can look for a while: a file system hangs, or is full
    no_room: float = 0.0  # the volume fills up, and is emptied again
    most: int = 50


class Lie(AssertionError):
    """What the supervisor says and what the world did disagree."""


class Simulation:
    """One seeded world. `planted(ref)` raises, for runs of the test's choice, inside the handling of looks."""

    def __init__(self, seed: int, faults: Faults | None = None, notifier: Notifier | None = None) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.faults = faults or Faults()
        self.notifier = notifier
        self.clock = FakeClock()
        self.world = FakeWorld(self.clock)
        self.store = SqliteStore(":memory:")
        self.inbox = MemoryInbox()
        self.files = MemoryFiles()
        self.code = MemoryCode()
        self.cures = ScriptedCures()
        self.deaths = 0
        self.turns = 0
        self.planted: Callable[[str, RunRef], None] = lambda where, ref: None
        self.blind_until = self._full_until = float("-inf")
        self._lives: dict[RunRef, set[str]] = {}
        self.boot()

    # --- supervisors come and go ---------------------------------------------------------------------------

    def boot(self) -> None:
        """A new supervisor takes over; a crash while it recovers brings the next one."""
        while True:
            self.workers = InlineWorkers(self.dice, self._before_job, self._after_job, self._within_job)
            self.executor = FakeExecutor(self.world)
            probe = _Sight(self)
            self.supervisor = Supervisor(
                store=FaultyStore(self.store, lambda n, batch: self._commit_fault()), clock=self.clock,
                inbox=self.inbox, executors={"fake": self.executor}, probe=probe,
                examiner=ScriptedExaminer(probe), files=self.files, launch_files=self.files, code=self.code,
                workers=self.workers, cures=self.cures, orders=Orders(Path("/sim"), Path("/sim/.state")),
                roll=self.dice.random, check=True, notifier=self.notifier, tenure=MemoryTenure(),
            )  # fmt: skip
            self._follow_moves()
            try:
                self.supervisor.recover()
                return
            except Crashed:
                self.deaths += 1

    def _follow_moves(self) -> None:
        """An ended run moves only by a person's retry: a new epoch."""
        ledger = self.supervisor.ledger
        known = ledger.on_move

        def moved(ref: RunRef, before: Run, now: Run) -> None:
            if before.ended and now.state != before.state and now.epoch != before.epoch + 1:
                raise Lie(f"seed {self.seed}: {ref.run_id} was {before.state.value} and is {now.state.value}")
            known(ref, before, now)

        ledger.on_move = moved

    def _strikes(self, chance: float) -> bool:
        return chance > 0 and self.deaths < self.faults.most and self.dice.random() < chance

    def _commit_fault(self) -> Fault | None:
        if self._strikes(self.faults.crash_before_commit):
            return Fault.CRASH_BEFORE
        if self._strikes(self.faults.crash_after_commit):
            return Fault.CRASH_AFTER
        return Fault.DISK_FULL if self._strikes(self.faults.disk_full) else None

    def _before_job(self, tag: object) -> None:
        if self._strikes(self.faults.crash_before_job):
            raise Crashed(f"before {tag}")
        if self._strikes(self.faults.bad_ground):
            method = self.dice.choice(("prepare", "finish", "set_aside"))
            self.files.fail_next[method] = OSError(errno.EIO, "the ground is bad")

    def _within_job(self, tag: object) -> None:
        if isinstance(tag, tuple) and isinstance(tag[0], RunRef):
            self.planted(type(tag[1]).__name__, tag[0])

    def _after_job(self, tag: object) -> None:
        if self._strikes(self.faults.crash_after_job):
            raise Crashed(f"after {tag}")

    # --- time ----------------------------------------------------------------------------------------------

    def ask(self, request: Request) -> None:
        """A client's request arrives."""
        self.inbox.put(request)

    def turn(self) -> None:
        """One turn of whoever supervises, then time until something is due."""
        self.turns += 1
        try:
            sleep = self.supervisor.turn()
        except Crashed:
            self.deaths += 1
            self.clock.advance(self.dice.choice((0.0, 0.5, 3.0)))
            self.boot()
            return
        finally:
            self.check()
        if self.workers.waiting():
            return
        self.clock.advance(sleep + 0.001)
        if self._strikes(self.faults.gap):
            self.clock.advance(self.dice.uniform(10, 5000))
        if self._strikes(self.faults.blind):
            self.blind_until = self.clock.mono + self.dice.uniform(1, 600)
        if self._strikes(self.faults.no_room):
            self._full_until = self.clock.mono + self.dice.uniform(10, 2000)
        self.files.free_bytes = 0 if self.clock.mono < self._full_until else 10**11
        if self._strikes(self.faults.wall_jump):
            self.clock.jump(self.dice.uniform(-86_400, 86_400))
        if self._strikes(self.faults.reboot):
            self.deaths += 1
            self.world.reboot()
            self.clock.boot = f"boot-{self.deaths + 2}"
            self.boot()

    def run(self, campaign: Frozen, *, most_turns: int = 200_000) -> dict[str, Run]:
        """Turn until the campaign is over or held; its runs by name. Raises Lie if it never is."""
        for _ in range(most_turns):
            self.turn()
            record = self.supervisor.ledger.campaigns.get(campaign.campaign)
            if record is not None and record.state in SETTLED and not self.supervisor.ledger.batch:
                self.agree(campaign)
                return self.runs(campaign)
        raise Lie(f"seed {self.seed}: not over after {most_turns} turns")

    def runs(self, campaign: Frozen) -> dict[str, Run]:
        """All runs, as the store has them."""
        found = {}
        for position, spec in enumerate(campaign.runs):
            run = self.store.run_at(campaign.campaign, position)
            if run is None:
                raise Lie(f"seed {self.seed}: {spec.run_id} is gone")
            found[run.run_id] = run
        return found

    # --- what must hold ------------------------------------------------------------------------------------

    def check(self) -> None:
        """After every turn: no run has two live attempts in the world, no slot two owners."""
        live: dict[RunRef, str] = {}
        slots: dict[str, str] = {}
        for life in self.world.lives.values():
            if life.state != State.LIVE:
                continue
            if life.ref in live:
                raise Lie(f"seed {self.seed}: {life.ref.run_id} lives twice: {live[life.ref]}, {life.directory}")
            live[life.ref] = life.directory
            if life.bound is None and not self._may_be_unbounded(life.ref):
                raise Lie(f"seed {self.seed}: {life.ref.run_id} lives without a bound")
            for key in life.slot.keys:
                if key in slots:
                    raise Lie(f"seed {self.seed}: slot {key} has two owners: {slots[key]}, {life.directory}")
                slots[key] = life.directory

    def _may_be_unbounded(self, ref: RunRef) -> bool:
        """A person wrote "none", for the run and for an attempt, at some time: a shim keeps what it was told."""
        campaign, run = self.supervisor.ledger.campaigns.get(ref.campaign), self.supervisor.ledger.get(ref)
        if run is not None and run.policy.unbounded:
            return True
        limits = None if campaign is None else campaign.policy.limits
        return limits is None or (limits.timeout is None and limits.attempt_timeout is None)

    def agree(self, campaign: Frozen) -> None:
        """At the end: what is recorded is what the world did, and is on disk."""
        for run in self.runs(campaign).values():
            ref = RunRef(run.campaign, run.run_id)
            lives = [life for life in self.world.lives.values() if life.ref == ref and life.started is not None]
            recorded = [
                a for a in run.attempts
                if not (a.never_began or (a.live and a.started is None))
                and (a.exit is None or a.exit.error_kind != "prepare")
            ]  # fmt: skip
            if len(lives) != len(recorded):
                raise Lie(f"seed {self.seed}: {run.run_id} began {len(lives)} times, {len(recorded)} are recorded")
            self._no_false_kill(run, [life for life in self.world.lives.values() if life.ref == ref])
            if run.state == RunState.SUCCEEDED and (recorded[-1].exit is None or recorded[-1].exit.code != 0):
                raise Lie(f"seed {self.seed}: {run.run_id} succeeded with {recorded[-1].exit}")
            if run.ended and "internal" not in run.flags:
                written = self.files.finished.get(ref, [])
                if not written or written[-1] != (run.epoch, run.state.value):
                    raise Lie(f"seed {self.seed}: {run.run_id} is {run.state.value}, its summary says {written[-1:]}")
        record = self.store.campaigns()[0]
        for key, cause in record.causes.items():
            held = [run.run_id for run in self.runs(campaign).values() if run.held_by == key]
            if len(held) != cause.size:
                raise Lie(f"seed {self.seed}: {key} says that it holds {cause.size}, and {held} are")
        counted: dict[str, int] = {}
        for run in self.runs(campaign).values():
            counted[run.state.value] = counted.get(run.state.value, 0) + 1
        if record.id == campaign.campaign and counted != record.counts:
            raise Lie(f"seed {self.seed}: counts say {record.counts}, runs say {counted}")

    def _no_false_kill(self, run: Run, lives: list[Life]) -> None:
        """Who was ended for its silence was silent, for as long as the shortest limit of the night."""
        scripts = {life.n: life for life in lives}
        for attempt in run.attempts:
            life = scripts.get(attempt.n)
            if attempt.stop_class != "stall.output" or life is None or life.started is None:
                continue
            spoke, now = 0.0, life.elapsed(self.clock.mono)
            while (said := life.script.next_line(spoke)) is not None and said <= now:
                spoke = said
            if now - spoke < SHORTEST_SILENCE:
                raise Lie(f"seed {self.seed}: {run.run_id}/{attempt.n} was at work: {attempt.stop_words}")


class _Sight(FakeProbe):
    """Looks, unless nobody can."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation.world)
        self._simulation = simulation

    def look(self, order: LookOrder) -> Look:
        if self._simulation.clock.mono < self._simulation.blind_until:
            return Look(order.ref, order.n, order.cursor, life=False, problem="stale file handle")
        return super().look(order)
