"""Watching the lease of the host that leads a root."""

from pathlib import Path

import pytest

from overnight.api import taking_over
from overnight.api.errors import Refused
from overnight.artifacts.lease import Lease, my_lease, renew_lease, take_lease, told


def test_two_who_take_over_at_once(tmp_path: Path) -> None:
    """The second `resume` of one host was sent to "host beta", which was itself, to stop its supervisor there."""
    root, state = tmp_path / "root", tmp_path / "root" / ".state"
    state.mkdir(mode=0o700, parents=True)
    leader = Lease(1, "alpha", "elsewhere")
    assert take_lease(str(root), leader)
    mine = my_lease(str(state), 2)
    with pytest.raises(Refused) as refusal:
        taking_over.take_over(root, leader, lambda words: None, silent_seconds=2.0, clock=_Taking(root, mine))
    assert "another command here" in refusal.value.message and "overnight resume" in str(refusal.value.hint)


def test_a_host_that_renews_its_lease_leads(tmp_path: Path) -> None:
    """A root taken away from a host whose file server was slow for a minute."""
    root = tmp_path / "root"
    root.mkdir()
    leader = Lease(1, "alpha", "elsewhere")
    assert take_lease(str(root), leader)
    with pytest.raises(Refused, match="alpha leads"):
        taking_over.take_over(
            root, leader, lambda words: None, silent_seconds=2.0, clock=_Taking(root, told(leader, 1, 1.0))
        )


class _Taking:
    """A clock; at its second look somebody writes a lease."""

    def __init__(self, root: Path, lease: Lease) -> None:
        self._root, self._lease, self._now = root, lease, 0.0

    def __call__(self) -> float:
        self._now += 0.01
        if self._now > 0.015 and not take_lease(str(self._root), self._lease):
            renew_lease(str(self._root), self._lease)
        return self._now
