"""Retry decisions: FAILURES.md's head, rule by rule. Durations are seconds."""

from fnmatch import fnmatchcase

from overnight.core.plan import gpus_of
from overnight.model.campaign import Campaign
from overnight.model.classes import ATTEMPT_CEILING, CLASSES, FREE_RETRIES, RetryRule
from overnight.model.codec import Struct, replace
from overnight.model.policy import Backoff, RetryPolicy
from overnight.model.run import Attempt, Budget, Run
from overnight.model.slot import UNKNOWN_SLOT
from overnight.model.time import Moment, elapsed

_ONCE_MORE = {"oom.gpu": "gpu.shared", "data.missing": "mount.late"}  # class: the flag that earns it one more try
_SHOULD_HAVE_LOADED = frozenset({"checkpoint", "data.corrupt"})


class Retry(Struct, frozen=True):
    """Try again after `delay` seconds, with this budget."""

    delay: float
    budget: Budget
    words: str
    rule: str
    avoid: str | None = None  # the name of a suspect slot
    offline: bool = False
    exclude: str | None = None  # a checkpoint that would not load


class Final(Struct, frozen=True):
    """Never again without a person."""

    budget: Budget
    words: str
    rule: str


def own_limit(policy: RetryPolicy, name: str) -> int | None:
    """`[retry.class]`'s number for a class; the most exact of several patterns wins."""
    if name in policy.by_class:
        return policy.by_class[name]
    matches = [pattern for pattern in policy.by_class if fnmatchcase(name, pattern)]
    return policy.by_class[max(matches, key=len)] if matches else None


def backoff(policy: Backoff, failures: int, roll: float) -> float:
    """Seconds before the retry after so many failures in a row (from 1); `roll` in [0, 1) is the jitter."""
    exponent = min(max(failures - 1, 0), 60)
    base = min(policy.first * policy.factor**exponent, policy.max)
    return base * (1 + policy.jitter * (2 * roll - 1))


def tries(run: Run) -> int:
    """Attempts of this epoch that began, of any kind."""
    return sum(1 for a in run.attempts if a.epoch == run.epoch and not a.never_began)


def advanced(budget: Budget, attempt: Attempt, first: bool) -> bool:
    """Progress beyond the best mark of all earlier attempts. The first attempt has no earlier ones."""
    step, began = attempt.vitals.step, attempt.vitals.first_step
    if first or step is None:
        return False
    # A resumed trainer's first line may lie beyond the last one logged before: that alone is no advance.
    return (budget.best is None or step > budget.best) and (began is None or step > began)


def spend(run: Run, attempt: Attempt, at: Moment) -> tuple[Budget, bool]:
    """The budget after the attempt's mark has been entered, and whether it advanced beyond all earlier ones."""
    budget = run.budget
    first = not any(a.epoch == run.epoch and a.n < attempt.n and not a.never_began for a in run.attempts)
    moved = advanced(budget, attempt, first)
    step = attempt.vitals.step
    if step is not None:
        budget = replace(budget, best=step if budget.best is None else max(budget.best, step))
    if moved:  # a refill, to at most the original; a class's own never or once stays spent
        budget = replace(budget, counted=0, failures=0, outage_since=None)
    return budget, moved


def decide(run: Run, campaign: Campaign, attempt: Attempt, name: str, at: Moment, roll: float) -> Retry | Final:
    """What a failure of class `name` means for the run, of whose attempts `attempt` is the newest."""
    policy = campaign.policy.retry
    budget, moved = spend(run, attempt, at)
    rule = CLASSES[name].retry
    limit = own_limit(policy, name)
    given = budget.by_class.get(name, 0)
    if attempt.vitals.started_moving and attempt.seconds > policy.backoff.max:
        # It worked for longer than we ever wait between two tries: an outage before it was over.
        budget = replace(budget, failures=0, outage_since=None)
    if rule not in (RetryRule.OUTAGE, RetryRule.FREE):
        budget = replace(budget, outage_since=None)  # it got past what was out of reach
    budget = replace(budget, failures=budget.failures + 1)

    if tries(run) >= ATTEMPT_CEILING:
        return Final(budget, f"{name}: {ATTEMPT_CEILING} attempts are the end", "attempt-ceiling")
    excluded = None
    if attempt.resume_from is not None and name in _SHOULD_HAVE_LOADED and attempt.vitals.step is None:
        excluded = attempt.resume_from
    elif limit is not None and given >= limit:
        return Final(budget, f"{name}: [retry.class] allows {limit} retries", "retry-class")
    elif limit is None:
        final = _class_says_no(run, campaign, attempt, name, rule, given, moved)
        if final is not None:
            return Final(budget, *final)

    free = rule in (RetryRule.FREE, RetryRule.OUTAGE)
    if rule == RetryRule.FREE and limit is None:
        if budget.free >= FREE_RETRIES:
            return Final(budget, f"{name}: {FREE_RETRIES} free retries are used up", "free-limit")
        budget = replace(budget, free=budget.free + 1)
    if rule == RetryRule.OUTAGE:
        since = budget.outage_since or at
        budget = replace(budget, outage_since=since)
        lasted = elapsed(since, at)
        if limit is None and lasted >= policy.outage:
            return Final(budget, f"{name}: it has lasted {lasted:.0f} s without an advance", "outage-limit")
    if not free:
        budget = replace(budget, counted=budget.counted + 1)
        if budget.counted >= policy.max_attempts:
            words = f"{name}: {budget.counted} of {policy.max_attempts} attempts are used up"
            return Final(budget, words, "max-attempts")
    budget = replace(budget, by_class={**budget.by_class, name: given + 1})
    return _again(campaign, run, attempt, name, rule, budget, given, roll, excluded)


def _class_says_no(
    run: Run, campaign: Campaign, attempt: Attempt, name: str, rule: RetryRule, given: int, moved: bool
) -> tuple[str, str] | None:
    """The class's own default, where it ends the run: (words, rule)."""
    flags = attempt.classification.flags if attempt.classification is not None else ()
    if given == 0 and _ONCE_MORE.get(name) in flags:
        return None
    if name in ("timeout.attempt", "timeout.host"):
        if attempt.vitals.step is not None and (moved or run.budget.best is None):
            return None
        return f"{name}: it made no advance, the same would happen again", "class-never"
    if name == "gpu.driver":
        if given == 0 and _elsewhere(campaign, run, attempt.slot.name):
            return None
        return f"{name}: there is no other slot to try", "class-never"
    if rule in (RetryRule.NEVER, RetryRule.NONE, RetryRule.HELD):
        return f"{name}: the same would happen again", "class-never"
    if rule == RetryRule.ONCE and given >= 1:
        return f"{name}: one more try was given", "class-once"
    return None


def waits_for_another(campaign: Campaign, run: Run, now: Moment) -> bool:
    """Whether a run that avoids the free slots rather waits for others, which are taken: as long as the longest
    backoff, if there are any."""
    if run.changed is None or not run.avoid or elapsed(run.changed, now) >= campaign.policy.retry.backoff.max:
        return False
    return _elsewhere(campaign, run, run.avoid[-1])


def _elsewhere(campaign: Campaign, run: Run, slot: str) -> bool:
    """Whether some slot is left when all suspect ones are avoided. `--slots` says how many attempts run side by
    side, not on how many GPUs they may; a share is as suspect as its whole GPU."""
    gpus = gpus_of(campaign, run.policy)
    suspects = {name.partition("#")[0] for name in (*run.avoid, slot)}
    places = campaign.slots if gpus <= 0 else len(campaign.devices) // max(1, int(gpus))
    return places > len(suspects)


def _again(
    campaign: Campaign, run: Run, attempt: Attempt, name: str, rule: RetryRule, budget: Budget, given: int,
    roll: float, excluded: str | None,
) -> Retry:  # fmt: skip
    policy = campaign.policy.retry
    delay = backoff(policy.backoff, budget.failures, roll)
    avoid = None
    suspect = rule == RetryRule.ELSEWHERE or name == "node.lost" or (name in ("nccl.error", "disk.io") and given >= 1)
    if suspect:
        if attempt.slot != UNKNOWN_SLOT and _elsewhere(campaign, run, attempt.slot.name):
            avoid = attempt.slot.name
        elif name != "node.lost":
            delay = policy.backoff.max
    offline = name == "tracker" and given >= 1
    what = "after an outage" if rule == RetryRule.OUTAGE else "uncounted" if rule == RetryRule.FREE else None
    count = what or f"{budget.counted} of {policy.max_attempts} attempts used"
    words = f"{name}: again in {delay:.0f} s ({count})"
    if excluded is not None:
        words += f", without checkpoint {excluded.rsplit('/', 1)[-1]}, which would not load"
    if avoid is not None:
        words += f", away from {avoid}"
    return Retry(delay, budget, words, f"class-{rule.value}", avoid, offline, excluded)
