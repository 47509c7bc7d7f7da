"""A small campaign and what may happen to its runs, for tests of the store and of what is read from it."""

from overnight.model.campaign import Campaign, StoryEntry
from overnight.model.classes import Classification, Evidence
from overnight.model.codec import replace
from overnight.model.effects import Effect
from overnight.model.manifest import RunSpec
from overnight.model.policy import Policy, Resources, RowPolicy
from overnight.model.run import Attempt, ExitRecord, Run, Slot, Vitals
from overnight.model.states import AttemptState, EndedBy, RunState
from overnight.model.time import Moment
from overnight.ports import Batch, RunRef

ID = "bat-4k2xq9m1t7"
BOOT = "7a1d4c5e-0000-4000-8000-000000000001"
NO_CAUSE = Classification()


def moment(seconds: float = 0.0) -> Moment:
    """`seconds` after a fixed evening."""
    return Moment(1000.0 + seconds, 1_760_000_000.0 + seconds, BOOT)


def campaign(rows: int, gpus: float = 1, **changes: object) -> Campaign:
    """Of so many pending runs."""
    plain = Campaign(
        id=ID, name="bat", sha256="ab" * 32, created=moment(), policy=Policy(resources=Resources(gpus=gpus)),
        cwd="/home/ada/bat", runs_total=rows, counts={"pending": rows} if rows else {},
    )  # fmt: skip
    return replace(plain, **changes)


def row(index: int, priority: int = 0, unbounded: bool = False) -> RunSpec:
    """The row with that run_id, `r<index>`."""
    return RunSpec(f"r{index}", {"seed": str(index)}, policy=RowPolicy(priority=priority, unbounded=unbounded))


def launch(found: Campaign, rows: list[RunSpec] | None = None) -> Batch:
    """What the supervisor commits for a launch."""
    specs = [row(i) for i in range(found.runs_total)] if rows is None else rows
    return Batch(
        campaigns={found.id: found}, added={found.id: list(enumerate(specs))}, manifests={found.id: b"{}"},
        revisions=[(found.id, 1, b'{"n":1}')], durable=True,
    )  # fmt: skip


def attempt(n: int = 1, *, name: str | None = None, seconds: float = 60.0, **changes: object) -> Attempt:
    """A running one; with a class `name` (`none`: success) one that has ended after `seconds`."""
    plain = Attempt(
        n=n, epoch=1, state=AttemptState.RUNNING, revision=1, slot=Slot("gpu:0", ("gpu-0",), ("0",)),
        planned=moment(100 * n), started=moment(100 * n),
    )  # fmt: skip
    if name is not None:
        ok = name == "none"
        found = (
            NO_CAUSE if ok else Classification(name, f"rule-{name}", f"what {name} said", Evidence("log", 3, "boom"))
        )
        plain = replace(
            plain, state=AttemptState.ENDED, ended=moment(100 * n + seconds), classification=found,
            exit=ExitRecord(code=0 if ok else 1, seconds=seconds, raw=0 if ok else 256),
        )  # fmt: skip
    return replace(plain, **changes)


def stalled(n: int, seconds: float, last_advance: float, **changes: object) -> Attempt:
    """An attempt that was ended for its silence."""
    vitals = Vitals(marked=True, step=50.0, first_step=0.0, total=100.0, last_advance=last_advance, seconds=seconds)
    ended = ExitRecord(signal="SIGTERM", raw=15, seconds=seconds, stopped="request")
    plain = attempt(n, name="stall.output", seconds=seconds, stop=EndedBy.STALL, vitals=vitals, exit=ended)
    return replace(plain, **changes)


def run(
    position: int, state: RunState, *attempts: Attempt, owed: tuple[Effect, ...] = (), cause: str = "", words: str = ""
) -> Run:
    """The run of the row `r<position>` in that state."""
    last = attempts[-1] if attempts else None
    return Run(
        campaign=ID, run_id=f"r{position}", position=position, state=state, attempts=attempts, owed=owed,
        cause=cause, words=words, changed=moment(1000 + position),
        failure=last.classification if state == RunState.FAILED and last is not None else None,
    )  # fmt: skip


def moved(*runs: Run, **parts: object) -> Batch:
    """A turn in which those runs moved, each with a line of story."""
    story = [
        StoryEntry(r.campaign, r.run_id, moment(2000), "Moved", "pending", r.state.value, r.words or "moved")
        for r in runs
    ]
    batch = Batch(runs={RunRef(r.campaign, r.run_id): r for r in runs}, story=story)
    return replace(batch, **parts)
