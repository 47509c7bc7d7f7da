"""A campaign on the real loop, told in short words: rows r0, r1, … and what happens to them."""

from collections.abc import Callable, Sequence
from functools import partial

from overnight.model import requests as r
from overnight.model.campaign import Campaign
from overnight.model.manifest import Frozen
from overnight.model.policy import Backoff, CodeIdentity, Limits, Policy, Resources, RetryPolicy
from overnight.model.run import Run
from overnight.model.states import CampaignState
from overnight.testing.simulator import Faults, Simulation
from overnight.testing.world import SHELL, frozen, launch

POLICY = Policy(
    resources=Resources(slots=2),
    limits=Limits(timeout=72_000.0, startup=6000.0, heartbeat=3000.0, progress=9000.0, grace=5.0),
    retry=RetryPolicy(backoff=Backoff(first=30.0, max=120.0, jitter=0.0)),
)
CODE_ERROR, NETWORK, AUTH, MISSING, IMPORT, AWS = 1, 3, 7, 8, 10, 13  # exit codes: testing.world


def rows(runs: int, *rules: dict[str, object], policy: Policy = POLICY, seconds: float = 20) -> Frozen:
    """Rows that succeed unless a rule says otherwise; later rules win."""
    return frozen([f"r{i}" for i in range(runs)], policy, knobs={"seconds": seconds, "rule": list(rules)})


class Story:
    """A campaign that has been launched."""

    def __init__(self, what: Frozen, seed: int = 1, faults: Faults | None = None) -> None:
        self.what = what
        self.simulation = Simulation(seed, faults)
        self._asked = 0
        self.simulation.ask(launch("launch", what))

    # --- what happens --------------------------------------------------------------------------------------

    def until(self, condition: Callable[[], bool], most_turns: int = 30_000) -> None:
        """Turn until it holds and everything is committed."""
        for _ in range(most_turns):
            self.simulation.turn()
            if self.launched and not self.simulation.supervisor.ledger.batch and condition():
                return
        raise AssertionError(f"seed {self.simulation.seed}: never: {self.record}")

    def seconds(self, count: float) -> None:
        """So much time passes."""
        until = self.simulation.clock.mono + count
        self.until(lambda: self.simulation.clock.mono >= until)

    def end(self) -> dict[str, Run]:
        """Until it is over or held, and what is said then is what happened."""
        return self.simulation.run(self.what)

    def type(self, *requests: r.Request) -> None:
        """Somebody types these, one after the other."""
        for request in requests:
            self.simulation.ask(request)
            self.until(partial(self._answered, request.id))

    def _answered(self, request_id: str) -> bool:
        return self.simulation.store.answer(request_id) is not None

    @property
    def who(self) -> tuple[str, str, str]:
        """A fresh request's name, its author and the campaign."""
        self._asked += 1
        return f"ask-{self._asked}", "person@host", self.what.campaign

    def resume(self, *run_ids: str) -> None:
        self.type(r.Resume(*self.who, SHELL, self.code, run_ids))

    def retry(self, *run_ids: str, failure_class: str | None = None) -> None:
        self.type(r.Retry(*self.who, SHELL, self.code, run_ids, failure_class))

    def cancel(self, *run_ids: str) -> None:
        self.type(r.Cancel(*self.who, run_ids))

    # --- what is -------------------------------------------------------------------------------------------

    @property
    def code(self) -> CodeIdentity:
        """As a client would find it now."""
        return CodeIdentity(self.simulation.code.digest, 1)

    @property
    def launched(self) -> bool:
        return bool(self.simulation.store.campaigns())

    @property
    def record(self) -> Campaign:
        return self.simulation.store.campaigns()[0]

    @property
    def state(self) -> CampaignState:
        return self.record.state

    @property
    def counts(self) -> dict[str, int]:
        return self.record.counts

    @property
    def runs(self) -> dict[str, Run]:
        return self.simulation.runs(self.what)

    def said(self, words: str) -> list[str]:
        """What was said of the campaign that contains these words."""
        store = self.simulation.store
        return [entry.words for entry in store.recent(self.what.campaign, 10_000)
                if entry.event == "Said" and words in entry.words]  # fmt: skip

    def begun(self, run_id: str) -> int:
        """How many of its attempts began."""
        return sum(not a.never_began for a in self.runs[run_id].attempts)

    def order(self) -> Sequence[str]:
        """Runs by their first start."""
        started = [(a.started.mono, run.run_id) for run in self.runs.values() for a in run.attempts[:1] if a.started]
        return [run_id for _, run_id in sorted(started)]
