"""Taking a root over: from the files, from a database that came along, and after a death on the way."""

import json
import os
from pathlib import Path

import pytest

from overnight.artifacts import CampaignFiles, layout
from overnight.artifacts.lease import Lease, my_lease, read_lease, take_lease
from overnight.manifest import Revision, revision_bytes
from overnight.model.manifest import Refusal
from overnight.model.policy import CodeIdentity, Policy
from overnight.model.states import RunState
from overnight.shim.shim import host_identity
from overnight.store import SqliteStore
from overnight.supervisor import takeover
from overnight.supervisor.keep import holder_of
from overnight.supervisor.ledger import Ledger
from overnight.supervisor.lock import Lock
from overnight.supervisor.rebuild import Rebuild
from overnight.supervisor.tenure import META
from overnight.supervisor.wiring import SystemClock
from overnight.testing.world import frozen

GONE = Lease(1, "alpha", "a" * 32, "/var/alpha")
ELSEWHERE = {"hostname": "alpha", "boot": "a boot of alpha", "pidns": "4026531836", "init_start": 7}


class Volume:
    """A root that alpha led: r0 is done, r1 was running, r2 had left its record, r3 never began."""

    def __init__(self, base: Path) -> None:
        self.root, self.state = base / "root", base / "state"
        self.state.mkdir()
        self.campaign = frozen([f"r{n}" for n in range(4)], Policy())
        name = self.campaign.campaign
        files = CampaignFiles(self.root, self.state)
        files.write_manifest(name, self.campaign.manifest_bytes)
        document = revision_bytes(Revision(
            n=1, at="2026-03-01T00:00:00Z", by="ann@alpha", why="launch", policy=Policy(), code=CodeIdentity("c", 1),
        ))  # fmt: skip
        files.write_revision(name, 1, document)
        for run_id in ("r0", "r1", "r2"):
            self.claimed(run_id)
        self.write(self.attempt("r2") / "exit", {"code": 0, "raw": 0, "seconds": 5.0})
        self.write(
            Path(layout.run_dir(str(self.root), name, "r0")) / "summary.json", {"state": "succeeded", "attempts": []}
        )
        self.write(self.attempt("r0") / "exit", {"code": 0, "raw": 0, "seconds": 5.0})
        assert take_lease(str(self.root), GONE)

    def attempt(self, run_id: str, n: int = 1) -> Path:
        return Path(layout.attempt_in(layout.run_dir(str(self.root), self.campaign.campaign, run_id), n))

    def claimed(self, run_id: str) -> None:
        self.attempt(run_id).mkdir(parents=True)
        self.write(self.attempt(run_id) / "started", {"by": "shim", "pid": 1, "start_ticks": 5, "host": ELSEWHERE})

    def write(self, path: Path, document: object) -> None:
        path.write_text(json.dumps(document))

    def take(self) -> takeover.TakenOver:
        leader = read_lease(str(self.root))
        assert leader is not None
        return takeover.take_over(self.root, self.state, leader, SystemClock())

    def states(self) -> dict[str, tuple[RunState, str | None]]:
        store = SqliteStore(self.state / "overnight.db")
        runs = [store.run_at(self.campaign.campaign, n) for n in range(4)]
        found = {r.run_id: (r.state, r.attempts[-1].cause if r.attempts else None) for r in runs if r is not None}
        term = store.meta(META)
        store.close()
        leader = read_lease(str(self.root))
        assert leader is not None and term == str(leader.term) and leader.same_ground(my_lease(str(self.state)))
        return found


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


AFTER = {
    "r0": (RunState.SUCCEEDED, None),
    "r1": (RunState.VERIFYING, "node.lost"),
    "r2": (RunState.VERIFYING, None),
    "r3": (RunState.PENDING, None),
}


def test_everything_from_the_files(volume: Volume) -> None:
    """The pod and its disk are gone, the volume is all there is: what was done stays done, what ran is lost, and an
    attempt that had left its record ended by it."""
    taken = volume.take()
    assert (taken.term, taken.rebuilt, taken.lost, taken.problems) == (2, True, 1, ())
    assert volume.states() == AFTER
    assert takeover.unfinished(volume.state, GONE) is False
    assert holder_of(volume.state) is None, "whoever took it over is nobody who watches"


@pytest.mark.parametrize("where", ["before the claim", "after the claim", "before the database", "before the end"])
def test_killed_on_the_way_it_is_done_again(volume: Volume, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The person who took over was impatient and pressed Ctrl-C: a term without a database led to nothing."""

    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    def claim_and_die(root: str, lease: Lease) -> bool:
        assert take_lease(root, lease)
        raise Killed

    place = {
        "before the claim": ("take_lease", die), "after the claim": ("take_lease", claim_and_die),
        "before the database": ("set_aside_database", die), "before the end": ("_end_the_others", die),
    }[where]  # fmt: skip
    with monkeypatch.context() as planted:
        planted.setattr(takeover, *place)
        with pytest.raises(Killed):
            volume.take()
    leader = read_lease(str(volume.root))
    assert leader is not None
    assert takeover.unfinished(volume.state, leader) == (where != "before the claim")
    assert volume.take().term == 2
    assert volume.states() == AFTER


def test_a_database_that_came_along_is_gone_on_with(volume: Volume) -> None:
    """A volume with the state in it, mounted by a new pod: stories and budgets are kept, only what lived is lost."""
    store, clock = SqliteStore(volume.state / "overnight.db"), SystemClock()
    Rebuild(volume.root, volume.state, store, clock).all()
    ledger = Ledger(store)
    ledger.load()
    ledger.batch.meta[META] = "1"
    ledger.commit()
    store.close()
    taken = volume.take()
    assert (taken.rebuilt, taken.lost) == (False, 1)
    assert volume.states() == AFTER


def test_an_attempt_that_lives_here_is_no_other_hosts(volume: Volume) -> None:
    """The lease was lost, not the host: what runs here is adopted, not given up."""
    (volume.attempt("r1") / "started").unlink()
    here = host_identity()
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    claim = {"by": "shim", "pid": os.getpid(), "start_ticks": int(stat[19]), "host": here}
    volume.write(volume.attempt("r1") / "started", claim)
    assert volume.take().lost == 0
    assert volume.states()["r1"] == (RunState.RUNNING, None)


def test_one_whose_files_are_on_the_other_hosts_disk_is_lost(volume: Volume) -> None:
    """A root on NFS: the attempt's folder was never here, only its number is."""
    number = Path(layout.number_file(str(volume.attempt("r3").parent.parent), 1))
    number.parent.mkdir(parents=True)
    number.write_text("alpha /var/alpha/…\n")
    assert volume.take().lost == 2
    assert volume.states()["r3"] == (RunState.VERIFYING, "node.lost")


def test_a_living_supervisor_is_not_pushed_aside(volume: Volume) -> None:
    """Two shells on the same host."""
    lock = Lock(volume.state)
    with pytest.raises(Refusal):
        volume.take()
    leader = read_lease(str(volume.root))
    assert leader is not None and leader.same_ground(GONE)
    lock.resign()
    volume.take()
