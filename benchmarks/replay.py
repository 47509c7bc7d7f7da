"""Replays recorded cadences through the code that watches: real files, the real probe, watch and limits, on a clock
that moves when told. Nothing here decides anything."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overnight.model.campaign import Campaign
from overnight.model.codec import replace
from overnight.model.events import LimitReached
from overnight.model.policy import Policy
from overnight.model.run import Attempt, Run, Slot
from overnight.model.states import AttemptState, RunState
from overnight.ports import LookOrder, RunRef
from overnight.probes.look import FileProbe
from overnight.supervisor.watches import Watch, Watches
from overnight.testing.clock import FakeClock

CADENCES = Path(__file__).with_name("cadences")
REF = RunRef("replay", "run")
SILENT_LOOK_SECONDS = 5.0  # after a hang nothing happens: looks may be rarer


@dataclass(frozen=True)
class Cadence:
    """What a program wrote, and when: `rows` of (second, output, files by name with their sizes)."""

    name: str
    seconds: float
    rows: tuple[tuple[float, bytes, Mapping[str, int]], ...]

    def scaled(self, factor: float) -> "Cadence":
        """The same program with so many times the work."""
        return Cadence(self.name, self.seconds * factor, tuple((t * factor, o, f) for t, o, f in self.rows))

    def cut(self, share: float) -> "Cadence":
        """Hung after this share of what it wrote, and silent from there."""
        return Cadence(self.name, self.seconds, self.rows[: max(1, round(share * len(self.rows)))])


def cadences() -> list[Cadence]:
    """All that are recorded."""
    found = []
    for path in sorted(CADENCES.glob("*.jsonl")):
        head, *rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
        read = ((row["t"], row.get("out", "").encode(), row.get("files", {})) for row in rows)
        found.append(Cadence(head["name"], head["seconds"], tuple(read)))
    return found


class Replay:
    """One attempt under a watch, judged under several policies at once."""

    def __init__(self, folder: Path, cadence: Cadence, policies: Mapping[str, Policy], noise: bytes = b"") -> None:
        """`noise`: printed at each look after the last row."""
        self.cadence, self._noise = cadence, noise
        self.clock = clock = FakeClock()
        now = clock.now()
        attempt = Attempt(
            n=1, epoch=1, state=AttemptState.RUNNING, revision=1, slot=Slot("cpu:0"), planned=now, started=now
        )  # fmt: skip
        self.run = Run(REF.campaign, REF.run_id, 0, state=RunState.RUNNING, attempts=(attempt,))
        self.campaigns = {
            name: Campaign(REF.campaign, "replay", "0" * 64, now, policy, "/") for name, policy in policies.items()
        }
        self._begun, self._next = now.mono, 0
        self._log, self._out = folder / "output.log", folder / "out"
        self._out.mkdir()
        self._log.touch()
        self._probe = FileProbe(lambda: self.clock.mono)
        self._watches = Watches()
        self._watches.follow(REF, self.run, now)

    @property
    def seconds(self) -> float:
        """Since the attempt began."""
        return self.clock.mono - self._begun

    def ended_by(self, until: float) -> dict[str, LimitReached]:
        """By policy, the limit that would have ended the attempt until then; those that let it live are left out."""
        found: dict[str, LimitReached] = {}
        watch = self._watches.by_run[REF]
        interval = min(self._watches.look_interval(self.run, each, watch) for each in self.campaigns.values())
        while self.seconds < until and len(found) < len(self.campaigns):
            self.clock.advance(interval if self._next < len(self.cadence.rows) else SILENT_LOOK_SECONDS)
            self._write()
            self._look(watch)
            for name, campaign in self.campaigns.items():
                if name in found:
                    continue
                event = self._watches.passed(REF, self.run, campaign, self.clock.now())
                if isinstance(event, LimitReached):
                    found[name] = event
        return found

    def _write(self) -> None:
        rows = self.cadence.rows
        while self._next < len(rows) and rows[self._next][0] <= self.seconds:
            _, output, files = rows[self._next]
            self._next += 1
            if output:
                with self._log.open("ab") as log:
                    log.write(output)
            for name, size in files.items():
                with (self._out / name).open("ab") as file:
                    file.truncate(size)
                os.utime(self._out / name, ns=(self._next, self._next))
        if self._noise and self._next >= len(rows):
            with self._log.open("ab") as log:
                log.write(self._noise)

    def _look(self, watch: Watch) -> None:
        order = LookOrder(REF, 1, str(self._log.parent), str(self._out), None, watch.cursor)
        watch.seen(self._probe.look(order), self.clock.now())

    @property
    def started_moving(self) -> bool:
        """Whether the first advance was seen."""
        return self._watches.by_run[REF].vitals.started_moving


@contextmanager
def replaying(cadence: Cadence, policies: Mapping[str, Policy], noise: bytes = b"") -> Iterator[Replay]:
    """A replay in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        yield Replay(Path(folder), cadence, policies, noise)


def with_limits(**limits: Any) -> Policy:
    """The defaults, but for these limits."""
    policy = Policy()
    return replace(policy, limits=replace(policy.limits, **limits))
