"""What lasts and who is told: files, the store, the inbox, the lease, notices."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from overnight.model.campaign import Campaign, StoryEntry
from overnight.model.codec import Struct, field
from overnight.model.manifest import RunSpec
from overnight.model.notices import Delivery, Notice, NoticeText
from overnight.model.policy import CodeIdentity
from overnight.model.requests import Answer, Request
from overnight.model.room import Room
from overnight.model.run import Run, Vitals
from overnight.model.settings import NotifySettings, Settings
from overnight.ports.executing import AttemptRef, RunRef, StartOrder


class FinishOrder(Struct, frozen=True):
    """Write what remains of a run that has ended."""

    run: Run
    spec: RunSpec
    campaign: Campaign
    run_dir: str
    devices: int = 0


class Files(Protocol):
    """The files of a campaign that people and tools read. Called off the loop; every call may come twice."""

    def prepare(self, order: StartOrder) -> bool:
        """Make the attempt's directory and what its shim reads. False: the directory exists already."""

    def room(self) -> Sequence[Room]:
        """Of root and state. Raises OSError."""

    def publish(self, target: AttemptRef) -> None:
        """Copy an attempt that has ended to the root, if it lived elsewhere."""

    def finish(self, order: FinishOrder) -> None:
        """Write inventory.jsonl and summary.json."""

    def set_aside(self, run_dir: str, epoch: int, scratch: bool) -> None:
        """Move an earlier epoch's summary (and, for scratch, its out/) out of the way."""

    def write_campaign(self, campaign: Campaign) -> None:
        """Replace campaign.json."""


class CodeWatch(Protocol):
    """Tells which code a campaign would run now; may block (bounded), called off the loop."""

    def identity(self, cwd: str) -> CodeIdentity: ...

    def patch(self, cwd: str) -> str | None: ...


class Notifier(Protocol):
    """Tells a person. May block (bounded), called off the loop."""

    def settings(self) -> Settings:
        """What the person wants now. Raises `Refusal` where it cannot be read."""

    def deliver(self, settings: NotifySettings, text: NoticeText, told: tuple[str, ...]) -> tuple[Delivery, ...]:
        """Try every channel that has not taken it. Nothing: nobody wants it."""

    def ping(self, url: str) -> str:
        """Call an address; the words of what went wrong, empty if nothing did."""


class Tenure(Protocol):
    """Our term as the leader of a root that other hosts may mount, too."""

    def renew(self, live: int) -> str:
        """Say that we still lead, with so many live attempts; words if somebody else does by now. May block; raises
        OSError, and then nothing is known."""


class PendingRun(Struct, frozen=True):
    """A queue entry."""

    position: int
    priority: int


class Batch(Struct):
    """All that one turn changes; committed whole or not at all."""

    campaigns: dict[str, Campaign] = field(default_factory=dict)
    added: dict[str, list[tuple[int, RunSpec]]] = field(default_factory=dict)  # campaign: (position, row)
    changed: dict[str, list[tuple[int, RunSpec]]] = field(default_factory=dict)  # of their rows, another policy
    revisions: list[tuple[str, int, bytes]] = field(default_factory=list)  # campaign, n, document
    manifests: dict[str, bytes] = field(default_factory=dict)
    runs: dict[RunRef, Run] = field(default_factory=dict)
    story: list[StoryEntry] = field(default_factory=list)
    vitals: dict[RunRef, Vitals] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)  # by request id
    meta: dict[str, str] = field(default_factory=dict)
    notices: dict[str, Notice] = field(default_factory=dict)  # by key
    durable: bool = False  # an attempt starts or a run ends in it: on the platter before anything is done

    def __bool__(self) -> bool:
        return bool(
            self.campaigns or self.added or self.changed or self.revisions or self.runs or self.story or self.vitals
            or self.answers or self.meta or self.notices
        )  # fmt: skip


class Store(Protocol):
    """The database, as its one writer sees it. Called from the loop's thread alone."""

    def commit(self, batch: Batch) -> None:
        """Apply the batch in one transaction; raises `StoreError` and changes nothing if it cannot."""

    def campaigns(self) -> list[Campaign]: ...

    def unfinished_runs(self) -> Iterable[Run]:
        """Runs that are neither pending nor ended, and those that owe effects: all that recovery needs."""

    def pending(self, campaign: str) -> list[PendingRun]:
        """The queue, in planner's order: priority, then position."""

    def run_at(self, campaign: str, position: int) -> Run | None: ...

    def run(self, ref: RunRef) -> Run | None: ...

    def spec(self, ref: RunRef) -> RunSpec | None: ...

    def positions(
        self,
        campaign: str,
        *,
        states: Sequence[str] = (),
        failure_class: str | None = None,
        run_ids: Sequence[str] = (),
    ) -> list[int]:
        """Positions of the runs that match all that is given, in file order."""  # fmt: skip

    def manifest(self, campaign: str) -> bytes | None: ...

    def revisions(self, campaign: str) -> list[bytes]: ...

    def answer(self, request_id: str) -> Answer | None: ...

    def meta(self, key: str) -> str | None: ...

    def owed_notices(self) -> list[Notice]:
        """Notices that are not settled, oldest first."""

    def newest_notice(self, campaign: str, cause: str) -> Notice | None:
        """The last one of that cause, settled or not."""

    def close(self) -> None: ...


class StoreError(Exception):
    """The database could not be read or written; the message says why."""


class Inbox(Protocol):
    """Requests of clients."""

    def read(self) -> Sequence[Request]:
        """Whole requests, oldest first. Files that cannot be read are moved aside and named in the log."""

    def delete(self, request_ids: Sequence[str]) -> None: ...
