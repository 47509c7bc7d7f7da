"""A stand-in for the supervisor: a thread that reads the inbox and answers through the store. It decides
nothing; tests tell it what becomes of runs."""

import json
import os
import select
import threading
import time
from pathlib import Path

from overnight.manifest import revision_bytes
from overnight.model import requests as r
from overnight.model.campaign import Campaign, StoryEntry
from overnight.model.classes import Classification, Evidence
from overnight.model.codec import replace
from overnight.model.revision import Revision
from overnight.model.run import Attempt, ExitRecord, Run, Slot
from overnight.model.states import AttemptState, CampaignState, RunState
from overnight.model.time import Moment
from overnight.ports import Batch, RunRef
from overnight.shim.shim import host_identity, process_start_ticks
from overnight.store import SqliteStore
from overnight.supervisor.inbox import FileInbox


def now() -> Moment:
    """This machine's."""
    return Moment(time.monotonic(), time.time(), "boot")


def write_lock(state: Path, beat: int = 1, pid: int | None = None, ticks: int | None = None) -> None:
    """Say that a process (default: this one) holds the root."""
    pid = os.getpid() if pid is None else pid
    line = json.dumps(
        {
            **host_identity(),
            "pid": pid,
            "start_ticks": process_start_ticks(pid) if ticks is None else ticks,
            "term": 1,
            "beat": beat,
        }
    )
    (state / "lock").write_bytes(line.ljust(511).encode() + b"\n")


class StandIn:
    """Use as a context manager. `answers`: what to say to requests of a kind, instead of yes."""

    def __init__(self, root: Path) -> None:
        self.state = root / ".state"
        self.state.mkdir(parents=True)
        self.requests: list[r.Request] = []
        self.answers: dict[type, r.Answer] = {}
        self.silent = False
        self._work: list[tuple[Batch, threading.Event]] = []
        self._inbox = FileInbox(self.state)
        self._up = threading.Event()
        self._going = True
        self._thread = threading.Thread(target=self._live, daemon=True)

    def __enter__(self) -> "StandIn":
        self._thread.start()
        assert self._up.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._going = False
        self._wake()
        self._thread.join(60)
        (self.state / "lock").unlink(missing_ok=True)
        self._inbox.close()

    def commit(self, batch: Batch) -> None:
        """Through the one writer; returns when it is done."""
        done = threading.Event()
        self._work.append((batch, done))
        self._wake()
        assert done.wait(60)

    def campaign(self) -> Campaign:
        """The one that was launched."""
        return self._campaigns[-1]

    def ends(
        self, *, failing: dict[str, str] | None = None, output: bytes = b"", root: Path | None = None,
        said: str = "RuntimeError: boom",
    ) -> None:  # fmt: skip
        """Every run ends: those in `failing` with that class and these words, the rest well."""
        failing = failing or {}
        campaign = self.campaign()
        batch = Batch()
        for position, run_id in enumerate(self._runs):
            run = _ended(campaign.id, run_id, position, failing.get(run_id), said)
            batch.runs[RunRef(campaign.id, run_id)] = run
            state = run.state.value
            batch.story.append(StoryEntry(campaign.id, run_id, now(), "AttemptVerified", "verifying", state, run.words))
            if root is not None:
                folder = root / "campaigns" / campaign.id / "runs" / run_id / "attempts" / "1"
                folder.mkdir(parents=True)
                (folder / "output.log").write_bytes(output)
        counts = {"failed": len(failing), "succeeded": len(self._runs) - len(failing)}
        ended = replace(
            campaign,
            state=CampaignState.FAILED if failing else CampaignState.SUCCEEDED,
            counts={state: count for state, count in counts.items() if count},
            ended=now(),
        )
        self._campaigns[-1] = batch.campaigns[campaign.id] = ended
        self.commit(batch)

    def _wake(self) -> None:
        with (self.state / "wake").open("wb") as wake:
            wake.write(b"\n")

    def _live(self) -> None:
        self._campaigns: list[Campaign] = []
        store = SqliteStore(self.state / "overnight.db")
        write_lock(self.state)
        self._up.set()
        while self._going:
            for request in self._inbox.read():
                self.requests.append(request)
                batch = self._taken(request)
                if not self.silent:
                    store.commit(batch)
                self._inbox.delete([request.id])
            while self._work:
                batch, done = self._work.pop(0)
                store.commit(batch)
                done.set()
            select.select([self._inbox.fileno()], [], [], 1)
            self._inbox.drain()
        store.close()

    def _taken(self, request: r.Request) -> Batch:
        answer = self.answers.get(type(request))
        if answer is not None or not isinstance(request, r.Launch):
            return Batch(answers={request.id: answer or r.Answer(True, "done")})
        frozen = request.frozen
        self._runs = [spec.run_id for spec in frozen.runs]
        campaign = Campaign(
            id=frozen.campaign,
            name=frozen.manifest.name,
            sha256=frozen.sha256,
            created=now(),
            policy=frozen.policy,
            cwd=request.shell.cwd,
            command=frozen.manifest.command,
            devices=request.devices,
            runs_total=len(frozen.runs),
            counts={"pending": len(frozen.runs)},
            code=request.code.digest,
        )
        known = any(old.id == campaign.id for old in self._campaigns)
        if known:
            return Batch(answers={request.id: r.Answer(True, "known", campaign=campaign.id)})
        self._campaigns.append(campaign)
        first = Revision(n=1, at="2026-01-01T00:00:00Z", by="t", why="launch", policy=frozen.policy, code=request.code)
        return Batch(
            campaigns={campaign.id: campaign},
            added={campaign.id: list(enumerate(frozen.runs))},
            manifests={campaign.id: frozen.manifest_bytes},
            revisions=[(campaign.id, 1, revision_bytes(first))],
            answers={request.id: r.Answer(True, "launched", campaign=campaign.id, created=True)},
        )


def _ended(campaign: str, run_id: str, position: int, failure: str | None, said: str) -> Run:
    found = Classification()
    if failure is not None:
        found = Classification(failure, "python-traceback", said, Evidence("attempts/1/output.log", 3, said))
    attempt = Attempt(
        n=1,
        epoch=1,
        state=AttemptState.ENDED,
        revision=1,
        slot=Slot("cpu:0"),
        planned=now(),
        started=now(),
        ended=now(),
        exit=ExitRecord(code=1 if failure else 0, seconds=60.0),
        classification=found,
    )
    return Run(
        campaign=campaign,
        run_id=run_id,
        position=position,
        state=RunState.FAILED if failure else RunState.SUCCEEDED,
        attempts=(attempt,),
        failure=found if failure else None,
        cause=failure or "",
        words=found.message or "succeeded",
        changed=now(),
    )
