"""Revisions: each dated change of policy, code or rows, decided with the turn that makes it and written after it."""

from datetime import UTC, datetime

from overnight.manifest import Revision, digest, revision_bytes
from overnight.model.campaign import Campaign
from overnight.model.codec import replace
from overnight.model.manifest import RunSpec
from overnight.model.policy import CodeIdentity
from overnight.model.time import Moment
from overnight.supervisor.ledger import Ledger


class Revisions:
    """Makes them. `unwritten`: (campaign, number, document) of those that `scribe` has yet to write to the root."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.unwritten: list[tuple[str, int, bytes]] = []

    def recover(self, campaign: str) -> None:
        """The last supervisor may not have come to write those of this campaign."""
        documents = self._ledger.store.revisions(campaign)
        self.unwritten += [(campaign, n, document) for n, document in enumerate(documents, start=1)]

    def of_code(self, campaign: Campaign, code: CodeIdentity, patch: str | None, now: Moment) -> Campaign:
        """The revision that changed code makes."""
        return self.make(campaign, "supervisor", "the code changed", code, now, patch=patch)

    def make(
        self, campaign: Campaign, by: str, why: str, code: CodeIdentity, now: Moment, *,
        added: tuple[RunSpec, ...] = (), changed: tuple[RunSpec, ...] = (), dropped: tuple[str, ...] = (),
        patch: str | None = None,
    ) -> Campaign:  # fmt: skip
        """The campaign with one more revision, of the policy it has now."""
        n = campaign.revision + 1
        document = revision_bytes(
            Revision(
                n=n,
                at=datetime.fromtimestamp(now.wall, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
                by=by,
                why=why,
                policy=campaign.policy,
                code=code,
                added=added,
                changed=changed,
                dropped=dropped,
                devices=campaign.devices,
                patch=patch,
                previous=campaign.revision_digest,
            )
        )
        self._ledger.batch.revisions.append((campaign.id, n, document))
        self.unwritten.append((campaign.id, n, document))
        return replace(campaign, revision=n, revision_digest=digest(document), code=code.digest or campaign.code)
