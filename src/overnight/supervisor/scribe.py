"""The scribe: what of a campaign is on disk for people and for `rebuild`, written off the loop once it is committed.

The root's file system may hang for hours, or be full; nothing here waits for it, and what could not be written is
tried again.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from overnight.model.campaign import Campaign
from overnight.model.manifest import Refusal
from overnight.model.time import Moment
from overnight.ports import Files
from overnight.supervisor.launches import LaunchFiles
from overnight.supervisor.ledger import Ledger
from overnight.supervisor.revisions import Revisions
from overnight.supervisor.workers import Done, Workers

log = logging.getLogger(__name__)

CAMPAIGN_FILE_SECONDS = 1.0  # campaign.json is replaced at most this often
AGAIN_SECONDS = 5.0  # until revisions that could not be written are tried again


class Scribe:
    """campaign.json of what has changed, and revisions/<n>.json of what was decided."""

    def __init__(
        self, ledger: Ledger, workers: Workers, files: Files, launch_files: LaunchFiles, revisions: Revisions
    ) -> None:
        self._ledger, self._workers, self._revisions = ledger, workers, revisions
        self._files, self._launch_files = files, launch_files
        self._changed: set[str] = set()
        self._written: dict[str, float] = {}
        self._writing: set[str] = set()  # one at a time: of two, the older could come last and stay
        self._revisions_due: float | None = float("-inf")  # None: they are being written

    def changed(self, campaigns: Iterable[str]) -> None:
        """These are no longer as campaign.json says."""
        self._changed.update(campaigns)

    def write(self, now: Moment) -> None:
        """Hand over what is due; only after a commit."""
        if self._revisions.unwritten and self._revisions_due is not None and now.mono >= self._revisions_due:
            self._revisions_due = None
            self._workers.submit(("revisions",), _revisions(self._launch_files, tuple(self._revisions.unwritten)))
        for name in sorted(self._changed - self._writing):
            if now.mono - self._written.get(name, float("-inf")) >= CAMPAIGN_FILE_SECONDS:
                self._written[name] = now.mono
                self._changed.discard(name)
                self._writing.add(name)
                self._workers.submit(("file", name), self._campaign(self._ledger.campaigns[name]))

    def done(self, done: Done, now: Moment) -> bool:
        """A job is back; False: it is not one of ours."""
        match done.tag:
            case ("file", str() as campaign):
                self._writing.discard(campaign)
                if done.problem is not None:
                    log.warning("campaign.json of %s: %s", campaign, done.problem)
                    self._changed.add(campaign)
            case ("revisions",):
                self._revised(done, now)
            case _:
                return False
        return True

    def next_due(self) -> float | None:
        """When something is to be written (monotonic seconds)."""
        times = [self._written.get(name, 0.0) + CAMPAIGN_FILE_SECONDS for name in self._changed - self._writing]
        if self._revisions.unwritten and self._revisions_due is not None:
            times.append(self._revisions_due)
        return min(times, default=None)

    def _revised(self, done: Done, now: Moment) -> None:
        if done.problem is not None:
            log.warning("revisions: %s", done.problem)
            self._revisions_due = now.mono + AGAIN_SECONDS
            return
        self._revisions_due = now.mono
        count, wrong = done.value
        del self._revisions.unwritten[:count]
        for words in wrong:
            log.error("%s", words)

    def _campaign(self, campaign: Campaign) -> Callable[[], Any]:
        return lambda: self._files.write_campaign(campaign)


def _revisions(files: LaunchFiles, given: tuple[tuple[str, int, bytes], ...]) -> Callable[[], tuple[int, list[str]]]:
    """A job: write these. Returns how many there were, and what is wrong with single ones; raises OSError where the
    root cannot be written: then all of them are still to be written."""

    def write() -> tuple[int, list[str]]:
        wrong = []
        for campaign, n, document in given:
            try:
                files.write_revision(campaign, n, document)
            except Refusal as refusal:  # somebody put another file there: no reason to keep the others back
                wrong.append(refusal.message)
        return len(given), wrong

    return write
