"""Scouts: before a campaign's first success, three runs that end alike are taken for a fault of all of them.

Then nothing is started but scouts: of the runs that wait, the one whose row differs most from those that failed, after
1, 2, 4 … minutes. The first success lets all go, and so does a run that gets well past where the others failed: a
success may take a night.
"""

from collections.abc import Sequence

from overnight.core.causes import passed
from overnight.core.result import Rooted
from overnight.model.campaign import Campaign, Hold, Root
from overnight.model.classes import CLASSES, Classification
from overnight.model.codec import replace
from overnight.model.manifest import RunSpec
from overnight.model.run import Vitals
from overnight.model.states import MOVING, RunState
from overnight.model.time import Moment, after

PROOF = 3  # distinct runs
NAMES = frozenset({"config", "code", "import", "oom.gpu"})
MOST_ROOTS = 32  # that are remembered
MOST_RUNS = 12  # that are named of each: those that a scout is to differ from
FIRST_SECONDS = 60.0
MAX_SECONDS = 3600.0
PAST_FACTOR = 2.0  # running so many times as long as the failed ones …
PAST_SECONDS = 60.0  # … and at least this long is well past where they failed


def root_of(found: Classification) -> str | None:
    """What names a root that will not pass by itself; two runs with the same one failed alike."""
    if found.name not in NAMES:
        return None
    return found.name if found.name == "oom.gpu" else f"{found.name}:{found.about or found.message}"


def watching(campaign: Campaign) -> bool:
    """Whether failures may still hold the campaign: none has succeeded yet, and one failure does not end it."""
    succeeded = campaign.proven or campaign.counts.get(RunState.SUCCEEDED.value)
    return not succeeded and not campaign.policy.fail_fast and not campaign.cancelling


def rooted(campaign: Campaign, lesson: Rooted) -> tuple[Campaign, str | None]:
    """A run has failed; the third that failed alike holds the campaign."""
    if not watching(campaign):
        return campaign, None
    root = campaign.roots.get(lesson.key) or Root(lesson.name, lesson.message)
    if lesson.run_id not in root.runs and len(root.runs) < MOST_RUNS:
        root = replace(root, runs=(*root.runs, lesson.run_id))
    steps = [step for step in (root.furthest, lesson.step) if step is not None]
    root = replace(root, longest=max(root.longest, lesson.seconds), furthest=max(steps, default=None))
    roots = {**campaign.roots, lesson.key: root}
    for key in [k for k in roots if k != lesson.key and (campaign.hold is None or k != campaign.hold.root)]:
        if len(roots) > MOST_ROOTS:
            del roots[key]
    campaign = replace(campaign, roots=roots)
    left = sum(campaign.counts.get(state.value, 0) for state in MOVING)
    if campaign.hold is not None or len(root.runs) < PROOF or not left:
        return campaign, None
    campaign = replace(campaign, hold=Hold(lesson.key, lesson.at, after(lesson.at, FIRST_SECONDS)))
    remedy = CLASSES[root.name].remedy
    return campaign, (
        f"{', '.join(root.runs)} failed alike before anything succeeded: {root.name}: {root.message}; nothing is "
        f"started but scouts, the first in {FIRST_SECONDS:.0f} s. To do: {remedy}; overnight resume {campaign.id} "
        f"lets all go"
    )


def let_go(campaign: Campaign, why: str, *, proven: bool = False) -> tuple[Campaign, str | None]:
    """Everything may start again, and three more runs would have to fail alike; `proven`: not even then."""
    held = campaign.hold is not None
    if not held and not campaign.roots and campaign.proven >= proven:
        return campaign, None
    campaign = replace(campaign, hold=None, roots={}, proven=campaign.proven or proven)
    return campaign, f"{why}: all runs go on, no more scouts" if held else None


def got_past(campaign: Campaign, vitals: Vitals, running: float) -> bool:
    """Whether a live attempt is well past where the failed ones ended. `running`: seconds."""
    root = campaign.roots.get(campaign.hold.root) if campaign.hold is not None else None
    if root is None:
        return False
    moved = vitals.step is not None and vitals.step > (vitals.first_step or 0.0)
    if moved and (root.furthest is None or (vitals.step or 0.0) > root.furthest):
        return True
    return running > max(PAST_SECONDS, PAST_FACTOR * root.longest)


def due(campaign: Campaign, now: Moment) -> bool:
    """Whether the next scout may start."""
    return campaign.hold is not None and passed(campaign.hold.due, now)


def started(campaign: Campaign, at: Moment) -> Campaign:
    """A scout is on its way; the next one follows after twice the time."""
    hold = campaign.hold
    assert hold is not None
    delay = min(FIRST_SECONDS * 2.0 ** min(hold.scouts + 1, 20), MAX_SECONDS)
    return replace(campaign, hold=replace(hold, scouts=hold.scouts + 1, due=after(at, delay)))


def failed_runs(campaign: Campaign) -> list[str]:
    """The runs that a scout is to differ from."""
    return list(dict.fromkeys(run_id for root in campaign.roots.values() for run_id in root.runs))


def most_different(rows: Sequence[RunSpec], failed: Sequence[RunSpec]) -> int:
    """Index of the row that differs most from all failed ones: in the most columns from the nearest of them, and
    among equals with the most values that none of them has. The first of equals."""
    seen: dict[str, set[str]] = {}
    for spec in failed:
        for name, value in _columns(spec).items():
            seen.setdefault(name, set()).add(value)

    def distance(spec: RunSpec) -> tuple[int, int]:
        row = _columns(spec)
        nearest = min((_differing(row, _columns(other)) for other in failed), default=0)
        return nearest, sum(value not in seen.get(name, ()) for name, value in row.items())

    return max(range(len(rows)), key=lambda i: (*distance(rows[i]), -i))


def _columns(spec: RunSpec) -> dict[str, str]:
    """What could make the difference; names differ always."""
    columns = {name: value for name, value in spec.params.items() if name not in ("run_id", "notes")}
    columns |= {f"@env.{name}": value for name, value in spec.env.items()}
    if spec.policy.gpus is not None:
        columns["@gpus"] = str(spec.policy.gpus)
    return columns


def _differing(a: dict[str, str], b: dict[str, str]) -> int:
    return sum(a.get(name) != b.get(name) for name in a.keys() | b.keys())
