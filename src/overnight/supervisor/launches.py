"""Launches: a campaign is committed once its manifest lies in the root, and the loop does not wait for the root."""

from collections.abc import Callable
from typing import Protocol

from overnight.manifest import difference, load_manifest
from overnight.model import requests as r
from overnight.model.campaign import Campaign
from overnight.model.manifest import Refusal
from overnight.model.policy import RowPolicy
from overnight.model.states import OVER
from overnight.model.time import Moment
from overnight.supervisor.deadlines import with_deadline
from overnight.supervisor.ledger import Ledger
from overnight.supervisor.revisions import Revisions
from overnight.supervisor.workers import Done, Workers


class LaunchFiles(Protocol):
    """The files of a campaign that are written before it is committed; each call may come twice."""

    def write_manifest(self, campaign: str, data: bytes) -> None: ...

    def write_revision(self, campaign: str, n: int, data: bytes) -> None: ...

    def write_launch_env(self, campaign: str, env: dict[str, str]) -> None: ...


class Launches:
    """Takes launches in. One manifest is written at a time, so that of two campaigns of one name the second is refused
    before anything of it is on disk; the other launches wait in the inbox, as they do while the root hangs."""

    def __init__(
        self, ledger: Ledger, workers: Workers, files: LaunchFiles, revisions: Revisions,
        code_known: Callable[[str, Moment], None],
    ) -> None:  # fmt: skip
        self._ledger = ledger
        self._workers = workers
        self._files = files
        self._revisions = revisions
        self._code_known = code_known
        self._writing = ""  # the launch whose manifest is being written

    def take(self, request: r.Launch, now: Moment, written: Done | None) -> r.Answer | None:
        """None: its manifest is being written, and a `Done` with the request in its tag follows. `written` is that.
        Raises `Refusal`; OSError where the files could not be written."""
        if written is not None:
            self._writing = ""
        elif self._writing == request.id:  # judged again when that is done, not with every turn
            return None
        frozen = request.frozen
        known = self._ledger.campaigns.get(frozen.campaign)
        if known is not None:
            words = f"{known.id} is {known.state.value} already; nothing is started twice"
            return r.Answer(True, words, campaign=known.id)
        if not request.fresh:
            self._refuse_namesake(request)
        if written is None:
            self._write(request)
            return None
        if written.problem is not None:
            raise written.problem
        shell = request.shell
        campaign = Campaign(
            id=frozen.campaign, name=frozen.manifest.name, sha256=frozen.sha256, created=now, policy=frozen.policy,
            cwd=shell.cwd, umask=shell.umask, rlimits=shell.rlimits, required=frozen.manifest.required,
            command=frozen.manifest.command, env=frozen.manifest.env, devices=request.devices, revision=0,
        )  # fmt: skip
        self._files.write_launch_env(campaign.id, shell.env)
        self._ledger.batch.manifests[campaign.id] = frozen.manifest_bytes
        # The manifest holds no policy: rows that bring their own are kept with the first revision, for `rebuild`.
        own = tuple(spec for spec in frozen.runs if spec.policy != RowPolicy())
        campaign = with_deadline(campaign, shell.env, now)
        campaign = self._revisions.make(
            campaign, request.by, "launch", request.code, now, added=own, patch=request.patch
        )  # fmt: skip
        self._ledger.add_runs(campaign, frozen.runs)
        self._code_known(campaign.id, now)
        return r.Answer(True, counted(len(frozen.runs), "run"), campaign=campaign.id, created=True)

    def _write(self, request: r.Launch) -> None:
        if not self._writing:
            self._writing = request.id
            frozen, files = request.frozen, self._files
            self._workers.submit(
                ("manifest", request), lambda: files.write_manifest(frozen.campaign, frozen.manifest_bytes)
            )

    def _refuse_namesake(self, request: r.Launch) -> None:
        frozen = request.frozen
        for other in self._ledger.campaigns.values():
            if other.name != frozen.manifest.name or other.state in OVER:
                continue
            data = self._ledger.store.manifest(other.id) or self._ledger.batch.manifests.get(other.id)
            words = difference(load_manifest(data), frozen.manifest) if data is not None else []
            raise Refusal(
                f"{other.id} of the same name is {other.state.value}, and this is a different manifest: "
                + ("; ".join(words) or "see manifest.json"),
                f"overnight amend {other.id} …, or launch --fresh to start this one beside it",
            )


def counted(count: int, what: str) -> str:
    """ "1 run", "2,000 runs"."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")
