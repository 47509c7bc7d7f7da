"""Orders: names that must not be another's."""

from pathlib import Path

from overnight.model.campaign import Campaign
from overnight.model.policy import Policy
from overnight.model.run import Attempt, Run, Slot
from overnight.model.states import AttemptState, RunState
from overnight.model.time import Moment
from overnight.supervisor.orders import Orders

AT = Moment(1.0, 2.0, "boot")


def test_the_same_campaign_under_two_roots_has_attempts_of_different_names() -> None:
    """One sweep launched from two folders of a host: what ended the tree or the container of the one, by its ID,
    ended the other's too."""
    attempt = Attempt(1, 1, AttemptState.RUNNING, 1, Slot("cpu:0"), AT)
    campaign = Campaign("bat-1", "bat", "0" * 64, AT, Policy(), "/")
    run = Run("bat-1", "r0", 0, state=RunState.RUNNING, attempts=(attempt,))

    def name(root: Path) -> str:
        return Orders(root, root / ".state").reserved(run, campaign, attempt)["attempt_id"]

    one, other = name(Path("/one")), name(Path("/other"))
    assert one != other and one == name(Path("/one"))
    assert one.startswith("bat-1.r0.1.") and other.startswith("bat-1.r0.1.")
