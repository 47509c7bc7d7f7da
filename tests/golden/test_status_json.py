"""The documents that `status`, `why`, `results` and `report` print with `--json`: a contract with people's scripts.

A change here is a change of that contract: say so in the change log. `OVERNIGHT_BLESS=1` rewrites the files.
"""

import os
from pathlib import Path

import pytest

from overnight.model.campaign import Campaign, Device, StoryEntry
from overnight.model.classes import Classification, Evidence
from overnight.model.codec import pretty
from overnight.model.manifest import RunSpec
from overnight.model.policy import Policy, Resources
from overnight.model.reports import SupervisorReport
from overnight.model.run import Attempt, ExitRecord, Run, Slot, Vitals
from overnight.model.states import AttemptState, EndedBy, RunState
from overnight.model.time import Moment
from overnight.ports import Batch, RunRef
from overnight.queries import campaigns, status, why
from overnight.queries.report import Ground, report
from overnight.queries.results import Source, results
from overnight.store import SqliteStore

DATA = Path(__file__).parent / "data"
ID = "bat-4k2xq9m1t7"
ROWS = ("bat-hc-s0", "bat-hc-s1", "bat-hc-s2", "bat-hc-s3", "bat-hc-s4")


def moment(seconds):
    return Moment(1000.0 + seconds, 1_760_000_000.0 + seconds, "boot")


def attempt(n, **changes):
    base = {
        "n": n, "epoch": 1, "state": AttemptState.ENDED, "revision": 1, "code": "c0de",
        "slot": Slot("gpu:0,1", ("gpu-a", "gpu-b"), ("0", "1")), "planned": moment(n), "started": moment(n),
    }  # fmt: skip
    return Attempt(**{**base, **changes})


def stalled_then_fine():
    silent = attempt(
        1, ended=moment(3601), stop=EndedBy.STALL, stop_class="stall.progress",
        exit=ExitRecord(signal="SIGKILL", raw=9, seconds=3600.0, stopped="request"),
        vitals=Vitals(first_step=0.0, step=4200.0, total=5000.0, marked=True, last_advance=1800.0),
        classification=Classification("stall.progress", "supervisor-stall", "no advance for 1800.0 s"),
    )  # fmt: skip
    good = attempt(
        2, ended=moment(4501), exit=ExitRecord(code=0, raw=0, seconds=900.0), resume_from="out/ckpt-4000.pt",
        vitals=Vitals(first_step=4000.0, step=5000.0, total=5000.0, metrics={"val_loss": 3.28}, marked=True),
        classification=Classification(),
    )  # fmt: skip
    return Run(
        ID, ROWS[0], 0, RunState.SUCCEEDED, attempts=(silent, good), cause="none", words="succeeded on attempt 2",
        changed=moment(4502),
    )  # fmt: skip


def failed():
    found = Classification(
        "oom.gpu", "torch-cuda-oom", "CUDA out of memory: tried to allocate 2.00 GiB",
        Evidence("attempts/1/output.log", 812, "torch.OutOfMemoryError: CUDA out of memory."), ("nccl.timeout",),
    )  # fmt: skip
    ended = attempt(1, ended=moment(61), exit=ExitRecord(code=1, raw=256, seconds=60.0), classification=found)
    return Run(
        ID, ROWS[1], 1, RunState.FAILED, attempts=(ended,), cause="oom.gpu", words="oom.gpu is never tried again",
        failure=found, changed=moment(62),
    )  # fmt: skip


def running():
    live = attempt(1, state=AttemptState.RUNNING)
    return Run(ID, ROWS[2], 2, RunState.RUNNING, attempts=(live,), cause="planned", words="attempt 1 runs on gpu:0,1")


def held():
    return Run(ID, ROWS[3], 3, RunState.HELD, cause="auth", words="huggingface.co answers 401", changed=moment(70))


def night():
    """A store after a night in which a bit of everything has happened."""
    store = SqliteStore(":memory:")
    campaign = Campaign(
        ID, "bat", "ab" * 32, moment(0), Policy(resources=Resources(gpus=2)), "/home/ada/bat", runs_total=5,
        counts={"pending": 1, "running": 1, "held": 1, "succeeded": 1, "failed": 1},
        devices=tuple(Device(str(i), f"GPU-{i}") for i in range(4)), recovered=1,
    )  # fmt: skip
    runs = (stalled_then_fine(), failed(), running(), held())
    vitals = Vitals(step=300.0, total=5000.0, rate=2.5, metrics={"loss": 4.1}, seconds=130.0, last_life=128.0)
    store.commit(Batch(
        campaigns={ID: campaign},
        added={ID: [(i, RunSpec(name, {"seed": str(i)})) for i, name in enumerate(ROWS)]},
        runs={RunRef(ID, run.run_id): run for run in runs},
        vitals={RunRef(ID, ROWS[2]): vitals},
        story=[
            StoryEntry(ID, ROWS[1], moment(1), "RunPlanned", "pending", "running", "attempt 1 on gpu:0,1", 1),
            StoryEntry(ID, ROWS[1], moment(62), "AttemptVerified", "verifying", "failed", "never tried again", 1),
        ],
        durable=True,
    ))  # fmt: skip
    return store


@pytest.mark.parametrize("name", ["status", "status_page", "why", "campaigns", "results", "report"])
def test_documents(name):
    """Guards against a key that scripts read changing its name, type or meaning unnoticed."""
    store = night()
    watched = SupervisorReport(alive=True, pid=4242)
    options = {"supervisor": watched, "root": "/data/overnight-runs", "at": moment(9000)}
    document = {
        "status": lambda: status(store, ID, **options),
        "status_page": lambda: status(store, ID, **{**options, "supervisor": SupervisorReport(False)}, limit=2),
        "why": lambda: why(store, ID, ROWS[1]),
        "campaigns": lambda: campaigns(store, "/data/overnight-runs"),
        "results": lambda: results([Source(store, "/data/overnight-runs", ID)], all=True),
        "report": lambda: report([Ground(store, "/data/overnight-runs")], by="class", since=moment(0)),
    }[name]()
    store.close()
    file = DATA / f"{name}.json"
    if os.environ.get("OVERNIGHT_BLESS"):
        file.write_bytes(pretty(document))
    assert pretty(document).decode() == file.read_text("utf-8")
