"""Rebuild: a lost or damaged database is made anew from the files of a root.

Files become events for the same `core.step` that ran the campaign. Every campaign comes back paused: nothing
starts until a person says `resume`. Attempts that still live are adopted by the next supervisor, ended ones that
nobody verified are verified by it.
"""

import logging
import os
import time
from pathlib import Path
from typing import Any

from overnight.artifacts import layout
from overnight.artifacts.roots import attempts_home
from overnight.core.limits import LimitName
from overnight.executors.records import DamagedRecord, read_claim, read_exit
from overnight.manifest import Revision, digest, load_manifest, load_revision
from overnight.model import events as e
from overnight.model.campaign import Campaign
from overnight.model.classes import CLASSES, Classification, Evidence
from overnight.model.codec import from_json, replace
from overnight.model.manifest import Manifest, Refusal, RunSpec
from overnight.model.policy import Policy, RowPolicy
from overnight.model.run import Attempt, ExitRecord, Run, Slot
from overnight.model.slot import UNKNOWN_SLOT
from overnight.model.states import ENDED, RunState
from overnight.model.time import Moment
from overnight.ports import Clock, RunRef, Store
from overnight.supervisor.ledger import Ledger
from overnight.supervisor.petitions import ASKED_TO_GO

log = logging.getLogger(__name__)

BY = "rebuild"
_COMMIT_EVERY = 2000  # runs
_ELSEWHERE = "it lived in the state directory of a host that is gone"


def set_aside_database(state: Path) -> Path | None:
    """Rename the database (and its journal) out of the way; its new name, or None if there was none.

    A journal alone goes, too: sqlite would take it for the new database's.
    """
    old = state / "overnight.db"
    aside = state / f"overnight.db.{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}"
    there = old.exists()
    for suffix in ("-wal", "-shm", ""):
        piece = old.with_name(old.name + suffix)
        if piece.exists():
            piece.rename(aside.with_name(aside.name + suffix))
    return aside if there else None


_LIMIT_OF: dict[str, LimitName] = {
    "timeout.wall": "timeout",
    "timeout.attempt": "attempt_timeout",
    "stall.startup": "startup",
    "stall.output": "heartbeat",
    "stall.progress": "progress",
}


class Rebuild:
    """Reads the campaigns of one root into an empty store. What cannot be read is named in `problems`."""

    def __init__(self, root: Path, state: Path, store: Store, clock: Clock) -> None:
        self._root = root
        self._layout = layout.Layout(str(root), str(attempts_home(root, state)))
        self._clock = clock
        self._ledger = Ledger(store, telling=False)
        self.problems: list[str] = []
        self.campaigns: list[tuple[str, int]] = []  # (name, runs)

    def all(self) -> None:
        """Every campaign that has a manifest. One that cannot be read is left out and named."""
        folder = Path(layout.campaigns_dir(str(self._root)))
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if not (path / "manifest.json").is_file():
                continue
            try:
                self._campaign(path)
            except (Refusal, OSError, ValueError) as problem:
                self.problems.append(f"{path.name}: {problem}")

    def _campaign(self, path: Path) -> None:
        data = (path / "manifest.json").read_bytes()
        manifest = load_manifest(data)
        name, now = path.name, self._clock.now()
        documents, revisions = self._revisions(path)
        last = revisions[-1] if revisions else None
        created = Moment(now.mono, path.joinpath("manifest.json").stat().st_mtime, now.boot)
        campaign = Campaign(
            id=name, name=manifest.name, sha256=digest(data), created=created, cwd=self._cwd(path),
            policy=last.policy if last is not None else Policy(), command=manifest.command, env=manifest.env,
            required=manifest.required, devices=last.devices if last is not None else (),
            revision=len(revisions), revision_digest=digest(documents[-1]) if documents else None,
            code=next((r.code.digest for r in reversed(revisions) if r.code.digest), None),
            paused=True, paused_why="rebuilt from its files; `overnight resume` lets it go on",
        )  # fmt: skip
        specs = self._specs(manifest, revisions, path)
        self._ledger.batch.meta[ASKED_TO_GO] = BY
        self._ledger.batch.manifests[name] = data
        self._ledger.batch.revisions.extend((name, n, document) for n, document in enumerate(documents, start=1))
        self._ledger.add_runs(campaign, specs)
        self._commit(now)
        for number, spec in enumerate(specs, start=1):
            run_dir = path / "runs" / spec.run_id
            if run_dir.is_dir():
                try:
                    self._run(RunRef(name, spec.run_id), run_dir)
                except (OSError, ValueError, DamagedRecord) as problem:
                    self.problems.append(f"{name}/{spec.run_id}: {problem}")
            if number % _COMMIT_EVERY == 0:
                self._commit(now)
        dropped = {run_id for revision in revisions for run_id in revision.dropped}
        for run_id in sorted(dropped):
            self._ledger.apply(RunRef(name, run_id), e.CancelRequested(now, BY, "dropped by a revision"))
        self._commit(now)
        self.campaigns.append((name, len(specs)))

    def _commit(self, now: Moment) -> None:
        self._ledger.settle(now)
        self._ledger.commit()

    def _revisions(self, path: Path) -> tuple[list[bytes], list[Revision]]:
        documents: list[bytes] = []
        revisions: list[Revision] = []
        while (file := path / "revisions" / f"{len(documents) + 1}.json").is_file():
            document = file.read_bytes()
            revisions.append(load_revision(document, previous=documents[-1] if documents else None))
            documents.append(document)
        return documents, revisions

    def _specs(self, manifest: Manifest, revisions: list[Revision], path: Path) -> list[RunSpec]:
        specs = {row.run_id: RunSpec(row.run_id, dict(row.values), dict(row.env), RowPolicy()) for row in manifest.rows}
        for revision in revisions:
            specs.update((spec.run_id, spec) for spec in (*revision.added, *revision.changed))
        for run_id, spec in specs.items():
            known = _document(path / "runs" / run_id / "run.json").get("params")
            if isinstance(known, dict):
                specs[run_id] = replace(spec, params={**spec.params, **known})
        return list(specs.values())

    def _cwd(self, path: Path) -> str:
        known = _document(path / "campaign.json").get("cwd")
        return known if isinstance(known, str) else str(self._root.parent)

    # --- one run -------------------------------------------------------------------------------------------

    def _run(self, ref: RunRef, run_dir: Path) -> None:
        summary = _document(run_dir / "summary.json")
        home = Path(self._layout.attempt_dir(ref.campaign, ref.run_id, 0)).parent
        numbers = _numbers(run_dir / "attempts") | _numbers(home)
        entries = {entry.get("n"): entry for entry in summary.get("attempts", ()) if isinstance(entry, dict)}
        for n in sorted(numbers):
            if not self._may_begin(ref):
                break
            folder = home / str(n) if (home / str(n)).is_dir() else run_dir / "attempts" / str(n)
            self._attempt(ref, n, folder, entries.get(n, {}), last=n == max(numbers))
        self._conclude(ref, summary)

    def _may_begin(self, ref: RunRef) -> bool:
        """An attempt followed the one before: whatever was decided then, the run went on."""
        run = self._state(ref)
        now = self._clock.now()
        if run.state in ENDED:
            self._ledger.apply(ref, e.RetryRequested(now, BY))
            self._ledger.apply(ref, e.SetAsideDone(now, self._state(ref).epoch - 1))
        elif run.state == RunState.WAITING:
            self._ledger.apply(ref, e.RetryDue(now))
        elif run.state == RunState.HELD:
            self._ledger.apply(ref, e.ResumeRequested(now, BY))
        return self._state(ref).state == RunState.PENDING

    def _attempt(self, ref: RunRef, n: int, folder: Path, entry: dict[str, Any], *, last: bool) -> None:
        now, apply = self._clock.now(), self._ledger.apply
        revision = entry.get("revision") or self._ledger.campaigns[ref.campaign].revision
        slot = Slot(entry["slot"]) if entry.get("slot") else UNKNOWN_SLOT
        apply(ref, e.RunPlanned(now, n, slot, revision, entry.get("code")))
        elsewhere = Path(layout.number_file(str(folder.parent.parent), n)).exists() and not folder.is_dir()
        if elsewhere:
            apply(ref, e.AttemptStarted(now, n, None, now))
            if not last:
                apply(ref, e.AttemptEnded(now, n, ExitRecord(recorded=False), cause="node.lost", words=_ELSEWHERE))
                self._verified(ref, n, Classification("node.lost", BY, _ELSEWHERE))
            return
        claim = read_claim(str(folder))
        if claim is None or claim.by != "shim":
            if not last or claim is not None:
                apply(ref, e.AttemptNeverBegan(now, n, "nobody had begun it"))
            return  # the newest one: its owed start is performed, or found done, by the next supervisor
        record = read_exit(str(folder))
        if record is None and last:
            apply(ref, e.AttemptStarted(now, n, claim.process, claim.moment))
            return
        if entry.get("class") in _LIMIT_OF:
            apply(ref, e.AttemptStarted(now, n, claim.process, claim.moment))
            apply(ref, e.LimitReached(now, n, _LIMIT_OF[entry["class"]], 0.0, float(entry.get("seconds") or 0.0)))
        apply(ref, e.AttemptEnded(now, n, record or ExitRecord(recorded=False), claim.process, claim.moment))
        if not last:
            self._verified(ref, n, _class_of(entry))

    def _verified(self, ref: RunRef, n: int, found: Classification) -> None:
        attempt = self._newest(ref)
        self._ledger.apply(ref, e.AttemptVerified(self._clock.now(), n, found, attempt.vitals))

    def _conclude(self, ref: RunRef, summary: dict[str, Any]) -> None:
        """A summary that is there is the run's end, as it was decided then."""
        run = self._state(ref)
        state = summary.get("state")
        if state not in {s.value for s in ENDED} or run.live_attempt is not None:
            return
        failure = summary.get("failure")
        found = _failure(failure) if isinstance(failure, dict) else Classification()
        attempts = run.attempts
        if attempts and not attempts[-1].never_began:
            attempts = (*attempts[:-1], replace(attempts[-1], classification=found))
        now = self._clock.now()
        ended = RunState(state)
        self._ledger.record(
            ref,
            replace(
                run, state=ended, attempts=attempts, owed=(), due=None, cause=found.name, changed=now,
                words=str(summary.get("words") or f"{state}, as its summary says"),
                failure=found if ended == RunState.FAILED else None,
            ),
            e.RunFinished(now, run.epoch),
        )  # fmt: skip

    def _state(self, ref: RunRef) -> Run:
        run = self._ledger.get(ref)
        if run is None:
            raise ValueError("it is in no manifest and no revision")
        return run

    def _newest(self, ref: RunRef) -> Attempt:
        return self._state(ref).attempts[-1]


def _numbers(folder: Path) -> set[int]:
    names = [p.name.removesuffix(".elsewhere") for p in folder.iterdir()] if folder.is_dir() else []
    return {int(name) for name in names if name.isdecimal()}


def _document(path: Path) -> dict[str, Any]:
    """A JSON file of ours; empty where it is missing or torn."""
    try:
        return from_json(path.read_bytes(), dict[str, Any])
    except (OSError, ValueError):
        return {}


def _class_of(entry: dict[str, Any]) -> Classification:
    """An earlier attempt's class, as far as a file says; it did not end the run, whatever it was."""
    name = entry.get("class")
    return Classification(name if name in CLASSES else "preempted", BY, "as its files say")


def _failure(failure: dict[str, Any]) -> Classification:
    evidence = failure.get("evidence")
    name = failure.get("class")
    return Classification(
        name if name in CLASSES else "unknown", failure.get("rule"), str(failure.get("message") or ""),
        Evidence(evidence.get("file"), evidence.get("line"), str(evidence.get("text") or ""))
        if isinstance(evidence, dict) else None,
        tuple(str(name) for name in failure.get("consequences") or ()),
    )  # fmt: skip
