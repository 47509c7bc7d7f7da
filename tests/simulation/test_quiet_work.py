"""Hours of quiet work under the real loop, on a clock that moves when told."""

from overnight.executors.fake import FakeProbe
from overnight.model.codec import replace
from overnight.model.policy import Policy, RetryPolicy
from overnight.model.run import Run
from overnight.model.states import RunState
from overnight.ports import Look, LookOrder, Said
from overnight.testing.simulator import Simulation
from overnight.testing.world import frozen, launch

STEPS = {"steps": 50, "step_seconds": 10.0}  # trained after 500 s
TRAINED, MINUTE = 500.0, 60.0


class Speaking(FakeProbe):
    """Sees a progress file too: `words` are (second, what it says from then on)."""

    def __init__(self, simulation: Simulation, words: list[tuple[float, Said]]) -> None:
        super().__init__(simulation.world)
        self._lives, self._clock, self._words = simulation.world.lives, simulation.clock, words

    def look(self, order: LookOrder) -> Look:
        look = super().look(order)
        life = self._lives.get(order.attempt_dir)
        at = -1.0 if life is None else life.elapsed(self._clock.mono)
        said = sum(second <= at for second, _ in self._words)
        cursor = replace(look.cursor, progress=said)
        if said == order.cursor.progress:
            return replace(look, cursor=cursor)
        return replace(look, cursor=cursor, life=True, said=self._words[said - 1][1])


def lived(knobs: dict[str, object], words: list[tuple[float, Said]] | None = None) -> Run:
    """One run at the defaults, tried once, to its end."""
    campaign = frozen(["r"], Policy(retry=RetryPolicy(max_attempts=1)), knobs=knobs)
    simulation = Simulation(1)
    if words is not None:
        simulation.supervisor._probe = Speaking(simulation, words)
    simulation.ask(launch("launch", campaign))
    return simulation.run(campaign)["r"]


def test_an_evaluation_of_ninety_minutes_after_the_last_step_is_work() -> None:
    """It printed a score every ten minutes and no step; at the sixtieth it was ended as standing still."""
    scores = [[TRAINED + 10 * MINUTE * n, "task 3: accuracy 0.61"] for n in range(1, 9)]
    run = lived({**STEPS, "seconds": TRAINED + 90 * MINUTE, "output": scores})
    assert (run.state, len(run.attempts)) == (RunState.SUCCEEDED, 1)
    assert run.attempts[0].exit is not None and run.attempts[0].exit.seconds == TRAINED + 90 * MINUTE


def test_a_silent_upload_of_twenty_minutes_after_the_last_step_is_work() -> None:
    """Not a byte was printed for twenty minutes; at the fifteenth it was ended, and the upload began anew."""
    run = lived({**STEPS, "seconds": TRAINED + 20 * MINUTE})
    assert run.state == RunState.SUCCEEDED


def test_a_hang_after_the_last_step_still_ends() -> None:
    """A limit that rests for work after the last step must not rest for ever."""
    run = lived({**STEPS, "seconds": 1e6})
    attempt = run.attempts[0]
    assert attempt.stop_class == "stall.output"
    assert attempt.exit is not None and TRAINED + 60 * MINUTE <= attempt.exit.seconds < TRAINED + 61 * MINUTE


def test_an_evaluation_of_ninety_minutes_between_two_steps_is_work_where_it_says_so() -> None:
    """`with phase("eval", quiet="2h")` in the middle of a training, and not a byte for ninety minutes."""
    knobs: dict[str, object] = {**STEPS, "startup_seconds": 90 * MINUTE}
    lines = [[float(second), "compiled a kernel"] for second in range(10)]
    silent = {**knobs, "output": lines}
    words = [(20.0, Said(phase="eval", quiet=7200.0)), (90 * MINUTE, Said(phase=None))]
    assert lived(silent, words).state == RunState.SUCCEEDED
    assert lived(silent).attempts[0].stop_class == "stall.output"


def test_a_phase_that_is_quiet_for_ever_still_ends() -> None:
    """The evaluation hung in the phase that had excused it: noticed when its own two hours were over."""
    words = [(TRAINED / 2, Said(phase="eval", quiet=7200.0))]
    run = lived({**STEPS, "hangs_after": TRAINED / 2}, words)
    attempt = run.attempts[0]
    assert attempt.stop_class == "stall.output" and "in its phase eval" in attempt.stop_words
    assert attempt.exit is not None and attempt.exit.seconds < TRAINED / 2 + 121 * MINUTE
