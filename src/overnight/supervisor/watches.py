"""Watches: one for each live attempt. When to look, what the looks have shown, which limit has passed.

A watch's time is seconds of running since the attempt started, with suspensions taken out: of us (SIGSTOP, a
suspended machine, a frozen VM) the loop tells by `skip`.
"""

import heapq
from collections.abc import Iterator

from overnight.core import limits as core_limits
from overnight.model.campaign import Campaign
from overnight.model.codec import replace
from overnight.model.events import Event, LimitReached
from overnight.model.run import Attempt, Run, Vitals
from overnight.model.states import AttemptState
from overnight.model.time import Moment
from overnight.ports import Cursor, Look, Mark, RunRef, Said

TENTH_LINE = 10  # of output is the first advance where no marker is known
LOOK_HANGS = 10.0  # seconds: a look not back by then makes the run unknown, not stalled
FIRST_LOOK = 0.2
GPUS_AFTER, GPUS_EACH, GPU_LOOKS = 300.0, 12.0, 6  # seconds after the first advance, between looks; looks
MOST_PHASES = 16  # of different names between two advances
RATE_WEIGHT = 0.3  # of the newest interval in the smoothed step rate


class Watch:
    """What is known of one live attempt."""

    __slots__ = (
        "attempt", "begun", "cursor", "dirty", "due", "gpu_looks", "looking", "marked_at", "peeked", "problem",
        "quiet_looks", "skipped", "vitals",
    )  # fmt: skip

    def __init__(self, attempt: Attempt, now: Moment) -> None:
        self.attempt = attempt
        self.vitals = attempt.vitals
        self.cursor = Cursor()
        self.begun = now
        self.skipped = 0.0
        self.quiet_looks = 0
        self.marked_at: float | None = None  # when the marker last moved, by our looks (seconds of running)
        self.gpu_looks: list[tuple[float, int]] = []  # (seconds of running, GPUs in use)
        self.peeked = 0.0  # seconds of the present silence when its stacks were last looked at
        self.looking: float | None = None  # since when a look is under way (monotonic)
        self.problem: str | None = None
        self.dirty = False
        self.due = now.mono + FIRST_LOOK
        if attempt.started is not None:
            self._started(attempt, now)

    def _started(self, attempt: Attempt, now: Moment) -> None:
        assert attempt.started is not None
        same_boot = attempt.started.boot == now.boot
        self.begun = attempt.started if same_boot else now
        # Adopted: what passed since the last look of our predecessor was seen by nobody and is held against
        # nobody; the silence that it had seen by then counts on.
        if self.vitals.seconds or self.vitals.lines:
            self._excuse(self.running(now))

    def _excuse(self, running: float) -> None:
        """Since the last look nobody could see: that is held against nobody."""
        vitals = self.vitals
        unseen = max(0.0, running - vitals.seconds)
        self.vitals = replace(
            vitals, last_life=vitals.last_life + unseen, last_advance=vitals.last_advance + unseen,
            last_grown=vitals.last_grown + unseen,
        )  # fmt: skip

    def running(self, now: Moment) -> float:
        """Seconds of running."""
        return max(0.0, now.mono - self.begun.mono - self.skipped)

    def seen(self, look: Look, now: Moment) -> None:
        """Enter what a look saw."""
        running = self.running(now)
        blind = self.problem is not None or (self.looking is not None and now.mono - self.looking > LOOK_HANGS)
        self.looking = None
        self.problem = look.problem
        if look.problem is not None:
            self.quiet_looks = 0  # unknown is not silence
            return
        if blind:
            self.quiet_looks = 0
            self._excuse(running)
        known = self.cursor.inode != 0 or look.cursor.size > self.vitals.size
        alive = look.life and known
        timed = self.cursor.inode != 0  # the first look of an adopted attempt sees hours at once
        self.cursor = look.cursor
        vitals = replace(self.vitals, seconds=running, lines=look.cursor.lines, size=look.cursor.size)
        if alive:
            self.peeked = 0.0
            vitals = _life(vitals, running)
            vitals = replace(vitals, last_grown=running) if look.grown else vitals
        if look.said is not None:
            vitals = said_in(vitals, look.said)
        if look.anew and timed:
            vitals = replace(vitals, best=None, total=None)
        moved = look.mark is not None and (vitals.best is None or look.mark.step > vitals.best)
        if look.mark is not None and (alive or moved):
            rate = self._rate(look.mark, running) if timed and moved else None
            vitals = marked(vitals, look, look.mark, rate)
            self.marked_at = running if moved else self.marked_at
        if look.saved and vitals.first_saved is None:
            vitals = replace(vitals, first_saved=running)
        if moved or (timed and (look.saved or look.worked)):
            vitals = _advance(vitals, running, moved or look.saved)
        elif not vitals.started_moving and not vitals.marked and vitals.lines >= TENTH_LINE:
            vitals = replace(
                vitals, started_moving=True, moved_at=running, last_life=running, last_advance=running
            )  # fmt: skip
        if look.gpus_used is not None:
            vitals = self._gpus(vitals, look.gpus_used, running)
        self.dirty = self.dirty or alive or moved or look.said is not None
        self.quiet_looks = 0 if alive or moved else self.quiet_looks + 1
        self.vitals = vitals

    def asks_for_gpus(self, now: Moment) -> bool:
        """Whether it is time to see how many GPUs are in use: some times within a minute, from five minutes after the
        first advance on."""
        moved, running = self.vitals.moved_at, self.running(now)
        if moved is None or self.vitals.gpus_used is not None or running < moved + GPUS_AFTER:
            return False
        return not self.gpu_looks or running >= self.gpu_looks[-1][0] + GPUS_EACH

    def _gpus(self, vitals: Vitals, used: int, running: float) -> Vitals:
        """A moment between two kernels is no idle GPU: the most of several looks counts."""
        self.gpu_looks.append((running, used))
        if len(self.gpu_looks) < GPU_LOOKS:
            return vitals
        return replace(vitals, gpus_used=max(count for _, count in self.gpu_looks))

    def _rate(self, mark: Mark, running: float) -> float | None:
        """Steps a second, smoothed, with a mark that has moved."""
        before, rate = self.vitals.step, self.vitals.rate
        if before is None or self.marked_at is None or running <= self.marked_at or mark.step <= before:
            return rate
        newest = (mark.step - before) / (running - self.marked_at)
        return newest if rate is None else (1 - RATE_WEIGHT) * rate + RATE_WEIGHT * newest


def total_after(vitals: Vitals, mark: Mark) -> float | None:
    """The known total after a mark. One that the steps have run past belonged to another count."""
    if mark.total is not None:
        return mark.total
    return vitals.total if vitals.total is not None and mark.step <= vitals.total else None


def _life(vitals: Vitals, running: float) -> Vitals:
    """A sign of life. A silence that the program had announced teaches nothing."""
    longest = vitals.longest_quiet
    if vitals.started_moving and vitals.quiet is None:
        longest = max(longest, running - vitals.last_life)
    return replace(vitals, last_life=running, longest_quiet=longest, leaving=False)


def said_in(vitals: Vitals, said: Said) -> Vitals:
    """What the progress file says. Its first step begins a count of its own."""
    excused = vitals.excused
    if said.phase is not None and said.quiet is not None and (said.phase in excused or len(excused) < MOST_PHASES):
        excused = {**excused, said.phase: max(said.quiet, excused.get(said.phase, 0.0))}
    if said.mark is not None and not vitals.declared:
        vitals = replace(vitals, declared=True, first_step=None, step=None, best=None, total=None, rate=None)
    return replace(
        vitals, phase=said.phase, quiet=said.quiet, excused=excused, metrics={**vitals.metrics, **said.metrics}
    )


def marked(vitals: Vitals, look: Look, mark: Mark, rate: float | None = None) -> Vitals:
    """The newest mark of a look. `rate`: steps a second, if that is known anew."""
    first = vitals.first_step
    if first is None and look.first is not None:
        first = look.first.step
    best = mark.step if vitals.best is None else max(vitals.best, mark.step)
    return replace(
        vitals, marked=True, first_step=first, step=mark.step, best=best, total=total_after(vitals, mark),
        metrics={**vitals.metrics, **mark.metrics}, rate=vitals.rate if rate is None else rate,
    )  # fmt: skip


def _advance(vitals: Vitals, running: float, starts: bool) -> Vitals:
    """A step beyond all before, a changed checkpoint, or a bar beside the marker; the last is no start of the work."""
    gap = running - vitals.last_advance - sum(vitals.excused.values())
    excused = {} if vitals.phase is None or vitals.quiet is None else {vitals.phase: vitals.quiet}
    return replace(
        vitals, last_advance=running, last_life=running, excused=excused,
        longest_gap=max(vitals.longest_gap, gap) if vitals.started_moving else vitals.longest_gap,
        started_moving=vitals.started_moving or starts,
        moved_at=running if starts and vitals.moved_at is None else vitals.moved_at,
    )  # fmt: skip


class Watches:
    """All watches, by when their next look is due."""

    def __init__(self) -> None:
        self.by_run: dict[RunRef, Watch] = {}
        self._due: list[tuple[float, RunRef]] = []

    def follow(self, ref: RunRef, run: Run, now: Moment) -> None:
        """Begin, go on or end watching, by the run's newest attempt."""
        attempt = run.live_attempt
        watch = self.by_run.get(ref)
        if attempt is None:
            self.by_run.pop(ref, None)
            return
        if watch is None or watch.attempt.n != attempt.n:
            self.by_run[ref] = watch = Watch(attempt, now)
            heapq.heappush(self._due, (watch.due, ref))
            return
        if watch.attempt.started is None and attempt.started is not None:
            watch._started(attempt, now)
        watch.attempt = attempt

    def skip(self, seconds: float) -> None:
        """So many seconds passed in which nobody looked and nothing may be held against a run."""
        for watch in self.by_run.values():
            watch.skipped += seconds

    def looks_due(self, now: Moment) -> Iterator[tuple[RunRef, Watch]]:
        """Watches whose look is due; the caller looks and says `seen`, or `later`."""
        while self._due and self._due[0][0] <= now.mono:
            due, ref = heapq.heappop(self._due)
            watch = self.by_run.get(ref)
            if watch is not None and watch.due == due:
                yield ref, watch

    def later(self, ref: RunRef, watch: Watch, at: float) -> None:
        """The next look of this watch is due then (monotonic seconds)."""
        watch.due = at
        heapq.heappush(self._due, (at, ref))

    def next_due(self) -> float | None:
        """When the next look is due (monotonic seconds)."""
        return self._due[0][0] if self._due else None

    def passed(self, ref: RunRef, run: Run, campaign: Campaign, now: Moment) -> Event | None:
        """A limit that has passed, as an event. Silence counts only where the last looks could see."""
        watch = self.by_run.get(ref)
        attempt = run.live_attempt
        if watch is None or attempt is None or attempt.state != AttemptState.RUNNING or attempt.started is None:
            return None
        running = watch.running(now)
        in_force = core_limits.in_force(run, campaign, watch.vitals)
        blind = watch.problem is not None or (watch.looking is not None and now.mono - watch.looking > LOOK_HANGS)
        if blind:
            in_force = replace(in_force, startup=None, heartbeat=None, progress=None)
        found = core_limits.passed(in_force, watch.vitals, running, watch.quiet_looks)
        if found is None:
            return None
        return LimitReached(now, attempt.n, found.limit, found.seconds, found.observed,
                            replace(watch.vitals, seconds=running))  # fmt: skip

    def after_look(self, ref: RunRef, run: Run, campaign: Campaign, now: Moment) -> Event | None:
        """Among so many that the next look is far away, a silence is seen to its end all the same: the next look comes
        as soon as the limit may pass, another a second after the first silent one beyond it, and what has passed then
        is an event at once."""
        watch = self.by_run[ref]
        if watch.due - now.mono <= core_limits.LOOK_SECONDS or watch.problem is not None:
            return None
        if watch.attempt.started is None or watch.attempt.state != AttemptState.RUNNING:
            return None
        left = core_limits.silence_left(core_limits.in_force(run, campaign, watch.vitals), watch.vitals)
        event = self.passed(ref, run, campaign, now) if left is not None and left <= 0 else None
        if left is not None and event is None:
            at = now.mono + max(left, core_limits.LOOK_SECONDS)
            if at < watch.due:
                self.later(ref, watch, at)
        return event

    def look_interval(self, run: Run, campaign: Campaign, watch: Watch) -> float:
        """Seconds to the next look."""
        in_force = core_limits.in_force(run, campaign, watch.vitals)
        interval = core_limits.look_interval(in_force, len(self.by_run))
        if watch.attempt.started is None:
            interval = min(interval, core_limits.LOOK_SECONDS)
        return interval
