"""What a decision hands back."""

from overnight.model.codec import Struct
from overnight.model.effects import Effect
from overnight.model.run import Run
from overnight.model.time import Moment


class QuietPhase(Struct, frozen=True):
    """Lesson: two attempts of a run stalled at the same place; silence there is taken for work."""

    run_id: str


class Finished(Struct, frozen=True):
    """Lesson: a run succeeded; its gaps (seconds) bound what its siblings may show, its `seconds` of running until
    it had something to keep what they may take."""

    longest_quiet: float
    longest_gap: float
    seconds: float | None


class Failed(Struct, frozen=True):
    """Lesson: a run failed for good."""

    run_id: str


class Shown(Struct, frozen=True):
    """Lesson: an attempt ended with a root that other runs may show, too."""

    run_id: str
    key: str
    name: str
    about: str
    message: str
    at: Moment
    proves: bool  # it counts for the proof; what will pass by itself in a minute does not


class Rooted(Struct, frozen=True):
    """Lesson: an attempt ended with a root that will not pass by itself."""

    run_id: str
    key: str
    name: str
    message: str
    at: Moment
    seconds: float  # that it ran
    step: float | None  # that it reached


class Overcome(Struct, frozen=True):
    """Lesson: a run ended otherwise than with a shared cause. `keys`: of those that it had shown before, if it
    succeeded; `began`: when the attempt did that succeeded."""

    run_id: str
    at: Moment
    keys: tuple[str, ...] = ()
    began: Moment | None = None


class Struck(Struct, frozen=True):
    """Lesson: an attempt failed by the hardware of these GPUs (lock keys). `attempt` names it: `r7 #2`."""

    attempt: str
    keys: tuple[str, ...]


Lesson = QuietPhase | Finished | Failed | Shown | Rooted | Overcome | Struck


class Step(Struct, frozen=True):
    """A run after an event. `effects` are the newly owed ones, in order; `ignored` says why nothing happened."""

    run: Run
    effects: tuple[Effect, ...] = ()
    lessons: tuple[Lesson, ...] = ()
    words: str = ""
    ignored: str | None = None


class IllegalEvent(Exception):
    """An event that cannot happen in this state; carries the run's story for the person who looks."""

    def __init__(self, run: Run, event: object) -> None:
        self.run = run
        self.event = event
        attempt = run.attempt
        where = f"{run.campaign}/{run.run_id} is {run.state.value}"
        if attempt is not None:
            where += f", attempt {attempt.n} {attempt.state.value}"
        super().__init__(f"{type(event).__name__} cannot happen: {where} ({run.words})")
