"""The lease of a root that several hosts mount."""

import errno
import os
import threading
from pathlib import Path

import pytest
from test_prepare import order_for

from overnight.artifacts import layout, publish, whole
from overnight.artifacts.lease import CLAIM, WORD, Lease, my_lease, read_lease, renew_lease, take_lease, told
from overnight.artifacts.prepare import prepare
from overnight.model.codec import replace
from overnight.supervisor.tenure import LeaseTenure

ALPHA, BETA = Lease(1, "alpha", "a" * 32), Lease(2, "beta", "b" * 32)


def test_of_many_who_take_a_term_one_has_it(tmp_path: Path) -> None:
    """Two new pods came up with the same volume in the same second, and both led."""
    took: list[Lease] = []
    gate = threading.Barrier(8)

    def take(n: int) -> None:
        lease = Lease(5, f"host-{n}", str(n))
        gate.wait()
        if take_lease(str(tmp_path), lease):
            took.append(lease)

    threads = [threading.Thread(target=take, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(took) == 1
    leader = read_lease(str(tmp_path))
    assert leader is not None and leader.same_ground(took[0])


def test_without_hard_links_one_has_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems have no links."""

    def no_links(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    assert whole.write_first(str(tmp_path / "x"), b"one")
    assert not whole.write_first(str(tmp_path / "x"), b"two")
    assert (tmp_path / "x").read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["x"]


@pytest.fixture
def leads(tmp_path: Path) -> tuple[str, LeaseTenure]:
    """A root, and who leads it."""
    root, state = tmp_path / "volume", tmp_path / "state"
    root.mkdir()
    state.mkdir()
    return str(root), LeaseTenure(root, state)


def test_a_claim_that_was_removed_is_made_again(leads: tuple[str, LeaseTenure]) -> None:
    """Somebody tidied up hidden files of the volume: the next host took the same term, and both led for good."""
    root, tenure = leads
    for name in (f"{CLAIM}1", WORD):
        os.unlink(f"{root}/{name}")
    assert tenure.renew(0) == ""
    assert not take_lease(root, replace(ALPHA, term=1))
    os.unlink(f"{root}/{CLAIM}1")
    assert take_lease(root, replace(ALPHA, term=1))  # quicker than us
    assert "host alpha leads" in tenure.renew(0)


@pytest.mark.parametrize("term", [1, 7])
def test_a_claim_without_a_name_ends_nobodys_runs(term: int, leads: tuple[str, LeaseTenure]) -> None:
    """An empty `.lease.7`, of a copy that was broken off: the supervisor ended what it had alive and went."""
    root, tenure = leads
    Path(root, f"{CLAIM}{term}").write_bytes(b"")
    Path(root, WORD).write_bytes(b"junk")
    assert tenure.renew(0) == ""
    Path(root, WORD).unlink()
    assert LeaseTenure(Path(root), Path(root).parent / "state", 1).superseded == ""
    assert take_lease(root, replace(BETA, term=8)) and "host beta leads" in tenure.renew(0)


def test_a_root_that_does_not_answer_is_led_by_what_is_known(
    tmp_path: Path, leads: tuple[str, LeaseTenure], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor died while the file server was down, and none came up: its lease could not be read."""
    root, _ = leads
    answers = threading.Event()
    monkeypatch.setattr("overnight.supervisor.tenure.read_lease", lambda root: answers.wait(60) and None)
    tenure = LeaseTenure(Path(root), tmp_path / "state", 1, within_seconds=0.05)
    assert (tenure.term, tenure.superseded) == (1, "")
    with pytest.raises(TimeoutError, match="has not answered"):
        LeaseTenure(Path(root), tmp_path / "state", within_seconds=0.05)
    answers.set()


def test_the_highest_term_leads_whatever_an_old_leader_writes(tmp_path: Path) -> None:
    """The old host woke up and wrote its word over the new one's: it must not become the leader by that."""
    root = str(tmp_path)
    assert take_lease(root, ALPHA) and take_lease(root, BETA)
    renew_lease(root, told(ALPHA, 900, 1.0))
    leader = read_lease(root)
    assert leader is not None and leader.same_ground(BETA) and leader.beat == 0
    renew_lease(root, told(BETA, 7, 2.0, live=3))
    leader = read_lease(root)
    assert leader is not None and (leader.beat, leader.live) == (7, 3)


def test_a_torn_word_is_no_change_of_leader(tmp_path: Path) -> None:
    """A reader met the word half written and took the root for nobody's."""
    root = str(tmp_path)
    assert read_lease(root) is None
    take_lease(root, ALPHA)
    (tmp_path / WORD).write_bytes(b'{"term": 1, "ho')
    leader = read_lease(root)
    assert leader is not None and leader.same_ground(ALPHA)
    (tmp_path / f"{CLAIM}2").write_bytes(b"")  # a claim that is being written, where there are no links
    leader = read_lease(root)
    assert leader is not None and leader.term == 2 and not leader.same_ground(ALPHA)


def test_a_word_takes_no_new_space(tmp_path: Path) -> None:
    """A full volume must not cost a healthy host its root: the word is written in place, at one size."""
    root = str(tmp_path)
    take_lease(root, ALPHA)
    before = os.stat(tmp_path / WORD)
    renew_lease(root, told(ALPHA, 123_456, 1_700_000_000.5, live=10_000, stopped=True))
    after = os.stat(tmp_path / WORD)
    assert (before.st_ino, before.st_size, before.st_blocks) == (after.st_ino, after.st_size, after.st_blocks)


def test_a_tenure_begins_goes_on_and_ends(tmp_path: Path) -> None:
    """A supervisor that is respawned goes on with its host's term; one that finds another host leads nothing."""
    root, state = tmp_path / "root", tmp_path / "state"
    root.mkdir()
    state.mkdir()
    first = LeaseTenure(root, state, wall=lambda: 1.0)
    assert (first.term, first.superseded, first.renew(2)) == (1, "", "")
    again = LeaseTenure(root, state, wall=lambda: 2.0)
    assert (again.term, again.superseded) == (1, "")
    assert again.renew(2) == ""
    leader = read_lease(str(root))
    assert leader is not None and (leader.beat, leader.live, leader.stopped) == (2, 2, False)  # it counts on
    again.leave(1)
    leader = read_lease(str(root))
    assert leader is not None and (leader.stopped, leader.live) == (True, 1)
    take_lease(str(root), BETA)
    assert "beta" in again.renew(2) and "term 2" in again.superseded
    leader = read_lease(str(root))
    assert leader is not None and leader.same_ground(BETA)  # who has been superseded writes nothing more
    assert LeaseTenure(root, state).superseded
    other = tmp_path / "other"
    other.mkdir()
    assert my_lease(str(other)).ground != my_lease(str(state)).ground == my_lease(str(state)).ground


def test_a_root_that_cannot_be_read_is_led_as_before(tmp_path: Path) -> None:
    """The volume was away for a minute while the supervisor was respawned: what lives must go on being watched."""
    root, state = tmp_path / "root", tmp_path / "state"
    state.mkdir()
    root.write_text("no folder just now")
    tenure = LeaseTenure(root, state, 4)
    assert (tenure.term, tenure.superseded) == (4, "")
    with pytest.raises(OSError):
        tenure.renew(1)  # nothing is known: the loop says so and goes on
    with pytest.raises(OSError):
        LeaseTenure(root, state)
    root.unlink()
    root.mkdir()
    take_lease(str(root), replace(BETA, term=5))
    assert "beta" in tenure.renew(1)


def test_a_number_is_taken_for_every_host(tmp_path: Path) -> None:
    """Attempts of a root on NFS live on their host's disk: the next host numbered its first one 1 again, and the two
    were mixed up in the root."""
    order = order_for(tmp_path / "root")
    here = replace(order, attempt_dir=str(tmp_path / "state" / "attempts" / "1"))
    assert prepare(here)
    taken = layout.number_file(order.run_dir, 1)
    assert os.path.exists(taken)
    there = replace(order, attempt_dir=str(tmp_path / "state of another host" / "attempts" / "1"))
    assert not prepare(there)
    assert not os.path.exists(there.attempt_dir)
    target = layout.attempt_in(order.run_dir, 1)
    assert publish.publish_attempt(here.attempt_dir, target, keep=True)
    assert os.path.exists(here.attempt_dir) and os.path.exists(target + "/env.json") and not os.path.exists(taken)
    assert publish.publish_attempt(here.attempt_dir, target)
    assert not os.path.exists(here.attempt_dir)
