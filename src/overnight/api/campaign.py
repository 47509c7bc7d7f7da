"""A campaign in hand: look at it, ask for changes, wait for it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from overnight.api.errors import NotFound, in_words
from overnight.api.places import Place, check_leader, find, nearest_active, root_name

if TYPE_CHECKING:
    from pathlib import Path

    from overnight.api.arguments import Settings
    from overnight.model.reports import StatusReport, WhyReport
    from overnight.model.requests import Answer
    from overnight.store import ReadStore


def open(campaign: str, root: "str | Path | None" = None) -> "Campaign":
    """The campaign of that name: an ID, a name or any unique prefix of one, or its folder.

    Raises `NotFound` if there is none, or several.
    """
    place, name = find(campaign, root)
    return Campaign(name, place)


def the_active_one(root: "str | Path | None" = None) -> "Campaign":
    """The one campaign that has not ended. Raises `NotFound` if there is none, or several."""
    found = nearest_active(root)
    if len(found) == 1:
        return Campaign(found[0][1].campaign, found[0][0])
    if not found:
        check_leader(root_name(root))
        raise NotFound("no campaign is active", "name one that has ended, or start one: overnight launch")
    names = ", ".join(line.campaign for _, line in found[:5])
    raise NotFound(f"{len(found)} campaigns are active: {names}", "name the one you mean")


class Campaign:
    """One campaign. Reading needs no supervisor; asking for a change, and waiting, bring a dead one back."""

    def __init__(
        self, id: str, place: Place, *, known: bool = False, words: str = "", warnings: Sequence[str] = ()
    ) -> None:
        self.id = id
        self.place = place
        self.known = known  # of a launch: it was there already
        self.words = words  # of a launch: what the supervisor said
        self.warnings = tuple(warnings)  # of a launch

    def __repr__(self) -> str:
        return f"<overnight campaign {self.id} in {self.root}>"

    @property
    def root(self) -> "Path":
        """The directory of campaigns it is in."""
        return self.place.root

    @property
    def path(self) -> "Path":
        """Its folder."""
        return self.place.root / "campaigns" / self.id

    # --- looking -------------------------------------------------------------------------------------------

    def status(
        self,
        *,
        limit: int = 1000,
        after: str | None = None,
        state: str | None = None,
        all: bool = False,
    ) -> "StatusReport":
        """The campaign and a page of its runs, in the order of the manifest. `after`: the run_id that the
        last page ended with (`next_after`); `state`: only runs in that state; `all`: no page limit."""
        from overnight import queries

        with self.reading() as store:
            return queries.status(
                store,
                self.id,
                limit=limit,
                after=after,
                state=state,
                all=all,
                supervisor=queries.supervisor_report(self.place.state_name),
                root=self.place.root_name,
            )

    def why(self, run_id: str | None = None) -> "WhyReport":
        """Why the campaign, or one run of it, is as it is. Raises `NotFound` for an unknown run."""
        from overnight import queries

        with self.reading() as store:
            if run_id is None:
                return queries.why_campaign(store, self.id)
            report = queries.why(store, self.id, run_id)
        from overnight.api.logs import saved_evidence
        from overnight.model.codec import replace

        attempts = (replace(each, saved=saved_evidence(self, run_id, each.n)) for each in report.attempts)
        return replace(report, attempts=tuple(attempts))

    def logs(self, run_id: str, attempt: int | None = None) -> str:
        """The whole output of a run's newest (or given) attempt."""
        from overnight.api.logs import newest_log

        log = newest_log(self, run_id, attempt)
        return log.path.read_text("utf-8", "replace")

    def results(self, *, all: bool = False, metric: str | None = None) -> list[dict[str, Any]]:
        """A dictionary for every succeeded run (`all`: for every run), in the order of the manifest: `run_id state
        class code params metrics seconds gpu_hours ended_at path`, as `overnight results --json` prints it.

        `metric`: sorted by that metric, smallest first, without the others. Raises `Refused` if no run has it.
        """
        from overnight.api.results import results
        from overnight.model.codec import builtins

        return [builtins(row) for row in results([self], all=all, metric=metric).results]

    # --- asking --------------------------------------------------------------------------------------------

    def retry(self, *runs: str, failure_class: str | None = None, scratch: bool = False) -> "Answer":
        """Try ended runs again: those named, or all failed and cancelled ones (of `failure_class`)."""
        from overnight.api import changes

        return changes.retry(self, runs, failure_class, scratch)

    def amend(
        self,
        file: "str | Path | None" = None,
        *,
        settings: "Settings" = (),
        runs: "str | Path | None" = None,
        drop: Sequence[str] = (),
        env: bool = False,
        why: str = "",
    ) -> "Answer":
        """A new revision: policy (`settings`: "limits.heartbeat=45m", or {"limits.heartbeat": "45m"}; or a whole
        campaign `file`), rows added from a file or dropped by name, or (`env`) this shell's environment for attempts
        from now on."""
        from overnight.api import changes

        return changes.amend(self, file, settings=settings, runs=runs, drop=drop, env=env, why=why)

    def pause(self, now: bool = False) -> "Answer":
        """Start nothing new; with `now` also end live attempts, uncounted."""
        from overnight.api import changes

        return changes.pause(self, now)

    def resume(self, *runs: str) -> "Answer":
        """Let a paused campaign and its held runs (or those named) go on."""
        from overnight.api import changes

        return changes.resume(self, runs)

    def cancel(self, *runs: str) -> "Answer":
        """End the runs named, or the whole campaign."""
        from overnight.api import changes

        return changes.cancel(self, runs)

    def wait(
        self,
        timeout: float | None = None,
        *,
        tell: Callable[[str], None] | None = None,
    ) -> "StatusReport":
        """Wait until nothing can move without a person (or `timeout` seconds have passed); returns the status, as
        `status()` does.

        `tell` gets a line for every run that ends and for every change worth a line. A dead supervisor is
        brought back meanwhile. Raises `Unreachable` when that does not succeed.
        """
        from overnight.api.waiting import wait

        return wait(self, timeout, tell or (lambda line: None))

    # --- for the other modules of this package -------------------------------------------------------------

    @contextmanager
    def reading(self) -> "Iterator[ReadStore]":
        """Its store, open for reading; what goes wrong inside comes out in words."""
        from overnight.store import ReadStore

        with in_words():
            store = ReadStore(self.place.database)
            try:
                yield store
            finally:
                store.close()
