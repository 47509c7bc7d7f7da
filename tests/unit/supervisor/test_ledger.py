"""What the supervisor knows between two turns."""

from overnight.model.events import RetryRequested, SetAsideDone
from overnight.model.notices import NoticeState
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


def test_failures_and_the_end_are_owed_to_a_person_in_the_transaction_that_decides_them() -> None:
    """A supervisor killed right after a campaign's end had decided it, and nobody was ever told."""
    campaign = frozen(["r0", "r1"], Policy(), knobs={"seconds": 1, "exit_code": 2})
    simulation = Simulation(1)
    simulation.ask(launch("r1", campaign))
    simulation.run(campaign)
    failed = simulation.store.newest_notice(campaign.campaign, "failed:config")
    end = simulation.store.newest_notice(campaign.campaign, "end")
    assert failed is not None and failed.runs == 2 and failed.state == NoticeState.DROPPED, "the end says it"
    assert end is not None and (end.n, end.what) == (1, "ended: 0 of 2 done, 2 failed")
