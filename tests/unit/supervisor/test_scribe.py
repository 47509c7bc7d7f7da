"""What of a campaign is written for people and tools, off the loop."""

from collections.abc import Callable, Sequence
from typing import Any

from overnight.model.codec import replace
from overnight.model.policy import Policy
from overnight.model.time import after
from overnight.ports import RunRef
from overnight.supervisor.scribe import Scribe
from overnight.supervisor.workers import Done
from overnight.testing.simulator import Simulation
from overnight.testing.world import frozen, launch


class Slow:
    """Workers whose jobs are done when a test says so, in the order that it says."""

    def __init__(self) -> None:
        self.jobs: list[tuple[object, Callable[[], Any]]] = []

    def submit(self, tag: object, job: Callable[[], Any], ref: RunRef | None = None) -> None:
        self.jobs.append((tag, job))

    def results(self) -> Sequence[Done]:
        return ()

    def fileno(self) -> int | None:
        return None

    def waiting(self) -> bool:
        return False


def test_a_slow_write_does_not_come_after_the_next_one() -> None:
    """A disk was slow for a second: the campaign.json of before was renamed over that of a campaign's end, and scripts
    waited for it all night."""
    campaign = frozen(["r0"], Policy())
    simulation = Simulation(1)
    simulation.ask(launch("r1", campaign))
    simulation.run(campaign)
    ledger, files, now = simulation.supervisor.ledger, simulation.files, simulation.clock.now()
    workers, name = Slow(), campaign.campaign
    scribe = Scribe(ledger, workers, files, files, simulation.supervisor.revisions)
    for words in ("before", "after"):
        ledger.put(replace(ledger.campaigns[name], words=words))
        scribe.changed((name,))
        now = after(now, 5.0)
        scribe.write(now)
    (tag, job), *others = workers.jobs
    assert not others and scribe.next_due() is None, "one at a time, and nothing to wake up for"
    assert scribe.done(Done(tag, job()), now)
    due = scribe.next_due()
    assert due is not None and due <= now.mono
    scribe.write(now)
    workers.jobs[1][1]()
    assert files.campaigns[name].words == "after"
