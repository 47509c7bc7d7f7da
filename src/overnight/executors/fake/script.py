"""A scripted attempt's course as a function of time: nothing is remembered, so any moment can be asked for."""

import math
from bisect import bisect_right
from collections.abc import Iterator

from overnight.executors.fake.knobs import Knobs

_SPIN = "still waiting for data"


class Script:
    """What an attempt prints and reaches by when. Times are seconds since its start.

    `first_step`: the step of the checkpoint it resumes from. `length`: its whole time if nothing intervenes.
    """

    def __init__(self, knobs: Knobs, length: float, first_step: int = 0) -> None:
        self.knobs = knobs
        self.first_step = first_step
        done = first_step if knobs.steps else 0
        self.length = max(0.0, length - done * knobs.step_seconds) if knobs.seconds is None else length
        stuck = [at for at in (knobs.hangs_after, knobs.spins_after) if at is not None]
        self.end = math.inf if stuck else self.length
        self._advances_until = min([*stuck, self.length])
        self._output = sorted(knobs.output, key=lambda line: line[0])
        self._moments = [at for at, _ in self._output]

    def steps_done(self, at: float) -> int:
        """Steps made by then, in this attempt."""
        knobs = self.knobs
        at = min(at, self._advances_until)
        made = math.floor((at - knobs.startup_seconds) / knobs.step_seconds + 1e-9)
        return max(0, min(made, knobs.steps - self.first_step))

    def step(self, at: float) -> int | None:
        """The newest step printed by then."""
        done = self.steps_done(at)
        return self.first_step + done if done else None

    def checkpoint(self, at: float) -> int | None:
        """The step of the newest checkpoint written by then in this attempt."""
        every, step = self.knobs.checkpoint_every, self.step(at)
        newest = step // every * every if every and step is not None else 0
        return newest if newest > self.first_step else None

    def lines_by(self, at: float) -> int:
        """Pieces of output until then."""
        return self._said(at) + self.steps_done(at) + self._spins(at)

    def lines(self, after: float, until: float, most: int = 1_000_000) -> list[str]:
        """What is printed after `after` until `until`; of very much, the last `most` pieces."""
        found = list(self._steps(after, until, most)) + list(self._words(after, until))
        found += list(self._idle(after, until, most))
        found.sort(key=lambda line: line[0])
        return [_line(text) for _, text in found[-most:]]

    def next_line(self, after: float) -> float | None:
        """When something is printed next, strictly after that."""
        coming = []
        said = self._said(after)
        if said < len(self._moments) and self._moments[said] <= self._advances_until:
            coming.append(self._moments[said])
        done = self.steps_done(after) + 1
        at = self.knobs.startup_seconds + done * self.knobs.step_seconds
        if done <= self.knobs.steps - self.first_step and at <= self._advances_until + 1e-9:
            coming.append(at)
        if self.knobs.spins_after is not None and not self._hangs_first:
            coming.append(self.knobs.spins_after + self._spins(after) * self.knobs.step_seconds)
        return min(coming, default=None)

    @property
    def _hangs_first(self) -> bool:
        hangs, spins = self.knobs.hangs_after, self.knobs.spins_after
        return hangs is not None and spins is not None and hangs <= spins

    def _said(self, at: float) -> int:
        return bisect_right(self._moments, min(at, self._advances_until))

    def _spins(self, at: float) -> int:
        spins = self.knobs.spins_after
        if spins is None or self._hangs_first or at < spins:
            return 0
        return math.floor((at - spins) / self.knobs.step_seconds + 1e-9) + 1

    def _words(self, after: float, until: float) -> Iterator[tuple[float, str]]:
        before = bisect_right(self._moments, after) if after >= 0 else 0
        yield from self._output[before : self._said(until)]

    def _steps(self, after: float, until: float, most: int) -> Iterator[tuple[float, str]]:
        knobs, last = self.knobs, self.steps_done(until)
        for made in range(max(self.steps_done(after), last - most) + 1, last + 1):
            step = self.first_step + made
            loss = 1.5 + 9.0 / (1.0 + 0.05 * step)
            text = f"iter {step}: loss {loss:.4f}, time {knobs.step_seconds * 1000:.2f}ms"
            yield knobs.startup_seconds + made * knobs.step_seconds, text

    def _idle(self, after: float, until: float, most: int) -> Iterator[tuple[float, str]]:
        last = self._spins(until)
        for count in range(max(self._spins(after), last - most), last):
            yield (self.knobs.spins_after or 0.0) + count * self.knobs.step_seconds, _SPIN


def _line(text: str) -> str:
    return text if text.endswith(("\n", "\r")) else text + "\n"
