"""`ports.Files` on disk: what people and tools read of a campaign."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from overnight.artifacts import launch_files, layout
from overnight.artifacts.inventory import write_inventory
from overnight.artifacts.prepare import prepare as prepare_attempt
from overnight.artifacts.publish import publish_attempt
from overnight.artifacts.roots import attempts_home
from overnight.artifacts.summary import attempt_document, readable, summary
from overnight.artifacts.times import when
from overnight.artifacts.whole import write_whole
from overnight.model.campaign import Campaign
from overnight.model.room import Room
from overnight.ports import AttemptRef, FinishOrder, StartOrder

# Below this much running a run is cheaper to repeat than its summary is to sync: a fast queue of short runs would
# otherwise wait for the platter twice a run.
SYNCED_SECONDS = 10.0


class CampaignFiles:
    """The files of all campaigns below one root. Thread-safe; every call may come twice. All raise OSError when
    the disk is full or read-only."""

    def __init__(self, root: Path, state: Path) -> None:
        self.layout = layout.Layout(str(root), str(attempts_home(root, state)))
        self._state = str(state)

    def prepare(self, order: StartOrder) -> bool:
        """See `prepare.prepare`."""
        return prepare_attempt(order)

    def room(self) -> Sequence[Room]:
        """What is left on the volumes of root and state."""
        found = []
        for path in (self.layout.root, self._state):
            volume = os.statvfs(path)
            found.append(Room(path, volume.f_bavail * volume.f_frsize, volume.f_blocks * volume.f_frsize))
        return found

    def publish(self, target: AttemptRef) -> None:
        """Another host that takes the root over finds it there. The source stays until the run is finished: whoever
        verifies the attempt once more reads it."""
        if self.layout.elsewhere:
            ref = target.ref
            published = self.layout.published_dir(ref.campaign, ref.run_id, target.attempt.n)
            publish_attempt(target.attempt_dir, published, keep=True)

    def finish(self, order: FinishOrder) -> None:
        """Publish the attempts, write their attempt.json, then inventory.jsonl, and summary.json last: who sees it sees
        the rest."""
        run, run_dir = order.run, order.run_dir
        synced = run.ran_seconds >= SYNCED_SECONDS
        saved: dict[int, tuple[str, ...]] = {}
        for attempt in run.attempts:
            target = layout.attempt_in(run_dir, attempt.n)
            if self.layout.elsewhere:
                publish_attempt(self.layout.attempt_dir(run.campaign, run.run_id, attempt.n), target)
            if attempt.never_began or attempt.live:
                continue
            saved[attempt.n] = layout.evidence_names(target)
            document = readable(attempt_document(run, attempt, saved[attempt.n]))
            with contextlib.suppress(FileNotFoundError):  # a person removed it, or it was lost with its host
                write_whole(target + "/attempt.json", document, synced=synced)
        if not os.path.isdir(run_dir):  # cancelled before its first start, or the command removed it
            os.makedirs(run_dir, exist_ok=True)
        write_inventory(run_dir, synced=synced)
        document = readable(summary(run, order.spec, order.campaign, saved))
        write_whole(run_dir + "/summary.json", document, synced=synced)

    def set_aside(self, run_dir: str, epoch: int, scratch: bool) -> None:
        """summary.json becomes summary.<epoch>.json, inventory.jsonl likewise; with `scratch` out/ becomes
        out.<epoch>/ and an empty out/ takes its place. What has been moved already stays as it is."""
        for name, aside in (
            ("summary.json", f"summary.{epoch}.json"),
            ("inventory.jsonl", f"inventory.{epoch}.jsonl"),
        ):
            _move(f"{run_dir}/{name}", f"{run_dir}/{aside}")
        if scratch:
            _move(f"{run_dir}/out", f"{run_dir}/out.{epoch}")
            with contextlib.suppress(FileNotFoundError):  # it never started: prepare makes all
                os.makedirs(f"{run_dir}/out", exist_ok=True)

    def write_manifest(self, campaign: str, data: bytes) -> None:
        """See `launch_files.write_manifest`."""
        launch_files.write_manifest(self.layout.root, campaign, data)

    def write_revision(self, campaign: str, n: int, data: bytes) -> None:
        """See `launch_files.write_revision`."""
        launch_files.write_revision(self.layout.root, campaign, n, data)

    def write_launch_env(self, campaign: str, env: dict[str, str]) -> None:
        """See `launch_files.write_launch_env`."""
        launch_files.write_launch_env(self._state, campaign, env)

    def write_campaign(self, campaign: Campaign) -> None:
        """Replace campaign.json."""
        folder = layout.campaign_dir(self.layout.root, campaign.id)
        os.makedirs(folder, exist_ok=True)
        write_whole(folder + "/campaign.json", readable(campaign_document(campaign)))


def campaign_document(campaign: Campaign) -> dict[str, object]:
    """campaign.json (schema 1). The database knows more; this is what outlives it and what tools may poll."""
    return {
        "schema": 1,
        "campaign": campaign.id,
        "name": campaign.name,
        "manifest_sha256": campaign.sha256,
        "state": campaign.state.value,
        "words": campaign.words,
        "paused": campaign.paused,
        "revision": campaign.revision,
        "code": campaign.code,
        "cwd": campaign.cwd,
        "runs_total": campaign.runs_total,
        "counts": {state: count for state, count in campaign.counts.items() if count},
        "classes": campaign.classes,
        "gpu_hours": {"useful": round(campaign.gpu_useful / 3600, 4), "lost": round(campaign.gpu_lost / 3600, 4)},
        "created_at": when(campaign.created),
        "ended_at": when(campaign.ended),
    }


def _move(source: str, target: str) -> None:
    if os.path.lexists(target):  # moved before; what stands at `source` now is newer
        return
    with contextlib.suppress(FileNotFoundError):
        os.rename(source, target)
