"""What the supervisor knows between two turns."""

from overnight.model.events import RetryRequested, SetAsideDone
from overnight.model.policy import Policy
from overnight.model.states import RunState
from overnight.ports import RunRef
from overnight.testing.simulator import Simulation
from overnight.testing.world import frozen, launch


def test_a_retry_starts_only_when_the_old_epoch_is_out_of_the_way() -> None:
    """A `--scratch` retry whose out/ could not be moved at once moved it later, under the live attempt."""
    campaign = frozen(["r0"], Policy(), knobs={"seconds": 1, "exit_code": 2})
    simulation = Simulation(1)
    simulation.ask(launch("r1", campaign))
    simulation.run(campaign)
    ledger = simulation.supervisor.ledger
    ref, now = RunRef(campaign.campaign, "r0"), simulation.clock.now()
    ledger.apply(ref, RetryRequested(now, "person", scratch=True))
    assert ledger.next_queued(campaign.campaign) is None
    ledger.apply(ref, SetAsideDone(now, 1))
    entry = ledger.next_queued(campaign.campaign)
    assert entry is not None and entry[1].state == RunState.PENDING
