"""Limits: how long silence and running may last, and when one has passed. All in seconds."""

from collections.abc import Iterator
from typing import Literal

from overnight.model.campaign import Campaign
from overnight.model.codec import Struct
from overnight.model.policy import AUTO
from overnight.model.run import Run, Vitals

LimitName = Literal["timeout", "attempt_timeout", "startup", "heartbeat", "progress", "log"]

AUTO_FACTOR = 10.0  # times the longest gap that this run or a succeeded sibling has shown
HEARTBEAT_RANGE = (15 * 60.0, 2 * 3600.0)
PROGRESS_RANGE = (60 * 60.0, 6 * 3600.0)
QUIET_PHASE_FACTOR = 4.0
LOOK_SECONDS = 1.0
LOOK_SECONDS_MANY = 10.0  # beyond MANY_LIVE live attempts
MANY_LIVE = 2000
LOOKS_BEFORE_KILL = 2
SHORTEST_LOOK = 0.05


class LimitsInForce(Struct, frozen=True):
    """What binds one live attempt now. None: unbounded. `timeout` is what is left of the run's."""

    timeout: float | None
    attempt_timeout: float | None
    startup: float | None
    heartbeat: float | None
    progress: float | None
    peek: float | None = None  # after so much silence its stacks may prove that it is done and cannot end
    log: float | None = None  # bytes


class Passed(Struct, frozen=True):
    """A limit that has passed. In seconds; `log` in bytes."""

    limit: LimitName
    seconds: float
    observed: float


def run_timeout(run: Run, campaign: Campaign) -> float | None:
    """The run's timeout: the row's own, else the campaign's."""
    if run.policy.unbounded:
        return None
    return run.policy.timeout if run.policy.timeout is not None else campaign.policy.limits.timeout


def attempt_timeout(run: Run, campaign: Campaign) -> float | None:
    """The bound of one attempt. Where nobody set it apart from the run's it is the run's, also a row's own."""
    limits = campaign.policy.limits
    of_its_row = run.policy.timeout is not None or run.policy.unbounded
    apart = limits.attempt_timeout != limits.timeout
    return run_timeout(run, campaign) if of_its_row and not apart else limits.attempt_timeout


def bound_seconds(run: Run, campaign: Campaign) -> float | None:
    """Seconds that the live (or next) attempt may run: what is left of the run's timeout, and its own."""
    whole = run_timeout(run, campaign)
    left = None if whole is None else max(0.0, whole - run.ran_seconds)
    own = attempt_timeout(run, campaign)
    if left is None or own is None:
        return own if left is None else left
    return min(left, own)


def _auto(longest: float, factor: float, bounds: tuple[float, float]) -> float:
    low, high = bounds
    return min(max(AUTO_FACTOR * longest, low), high) * factor


def in_force(run: Run, campaign: Campaign, vitals: Vitals) -> LimitsInForce:
    """The limits of the live attempt, `auto` worked out from the gaps of this run and succeeded siblings.

    A quiet phase that the program has declared stretches them, those written by hand too: silence may last as long as
    the phase says, and each phase's seconds are added once between two advances. After the last step of a known total
    nothing more is known of its gaps: the automatic heartbeat is that of a quiet phase, unless its stacks have shown
    that it only leaves. Where no marker is known, lines of output were no proof of a start: silence is not called a
    stall automatically before `startup` is over.
    """
    limits = campaign.policy.limits
    whole = run_timeout(run, campaign)
    earlier = [a.vitals for a in run.attempts if not a.live]
    quiet = max([campaign.longest_quiet, vitals.longest_quiet, *(v.longest_quiet for v in earlier)])
    gap = max([campaign.longest_gap, vitals.longest_gap, *(v.longest_gap for v in earlier)])
    heartbeat, progress = limits.heartbeat, limits.progress
    usual: float | None = None
    if heartbeat == AUTO:
        heartbeat = _auto(quiet, campaign.quiet_factor, HEARTBEAT_RANGE)
        if done(vitals) and not vitals.leaving:
            usual = None if vitals.quiet is not None else heartbeat
            heartbeat *= QUIET_PHASE_FACTOR
        if not vitals.marked:
            heartbeat = max(heartbeat, (limits.startup or 0.0) - vitals.last_life)
    if progress == AUTO:
        progress = _auto(gap, campaign.quiet_factor, PROGRESS_RANGE)
    excused = sum(vitals.excused.values())
    return LimitsInForce(
        timeout=None if whole is None else max(0.0, whole - run.ran_seconds),
        attempt_timeout=attempt_timeout(run, campaign),
        startup=None if limits.startup is None else limits.startup + excused,
        heartbeat=None if heartbeat is None else max(heartbeat, vitals.quiet or 0.0),
        progress=None if progress is None else progress + excused,
        peek=usual,
        log=limits.log,
    )


def passed(limits: LimitsInForce, vitals: Vitals, running: float, quiet_looks: int) -> Passed | None:
    """The first limit that has passed for an attempt that has been `running` so many seconds (suspensions
    taken out). `quiet_looks`: looks in a row that saw no change; silence needs two, running time needs none.
    Silence lasts until the last look (`vitals.seconds`): of what came after it nobody knows anything yet, and a
    look that is late, or a supervisor that was away, kills nothing.
    """
    looked = min(running, vitals.seconds)
    if limits.timeout is not None and running >= limits.timeout:
        return Passed("timeout", limits.timeout, running)
    if limits.attempt_timeout is not None and running >= limits.attempt_timeout:
        return Passed("attempt_timeout", limits.attempt_timeout, running)
    if limits.log is not None and vitals.size > limits.log:
        return Passed("log", limits.log, vitals.size)
    for limit, seconds, observed in _silences(limits, vitals, looked):
        if observed >= seconds and (limit != "heartbeat" or quiet_looks >= LOOKS_BEFORE_KILL):
            return Passed(limit, seconds, observed)
    return None


def silence_left(limits: LimitsInForce, vitals: Vitals) -> float | None:
    """Seconds from the last look until a limit of silence passes if nothing more comes; at most 0: one has, by that
    look. None: none binds."""
    return min((seconds - past for _, seconds, past in _silences(limits, vitals, vitals.seconds)), default=None)


def _silences(limits: LimitsInForce, vitals: Vitals, looked: float) -> Iterator[tuple[LimitName, float, float]]:
    """The limits of silence that bind, and how much of each had passed by the last look. In seconds."""
    if not vitals.started_moving:
        if limits.startup is not None:  # who writes its results has begun, whatever it prints
            yield "startup", limits.startup, looked - vitals.last_grown
        return
    if limits.heartbeat is not None:
        yield "heartbeat", limits.heartbeat, looked - vitals.last_life
    if vitals.marked and limits.progress is not None and not done(vitals):
        yield "progress", limits.progress, looked - vitals.last_advance


def done(vitals: Vitals) -> bool:
    """The last step of a known total has been seen (counted from 0 or from 1): evaluation and upload are work."""
    return vitals.total is not None and vitals.step is not None and vitals.step >= vitals.total - 1


def shortest(limits: LimitsInForce) -> float:
    """The shortest limit that a look serves."""
    known = [v for v in (limits.startup, limits.heartbeat, limits.progress) if v is not None]
    return min(known, default=10 * LOOK_SECONDS)


def look_interval(limits: LimitsInForce, live: int) -> float:
    """Seconds between two looks: one, or a tenth of the shortest limit; ten beyond 2,000 live attempts."""
    if live > MANY_LIVE:
        return LOOK_SECONDS_MANY
    return max(SHORTEST_LOOK, min(LOOK_SECONDS, shortest(limits) / 10))
