"""Notices: what a person is told without having asked. Owed state, like effects: kept until delivered."""

from enum import StrEnum

from overnight.model.codec import Struct
from overnight.model.time import Moment


class NoticeKind(StrEnum):
    """What of; a person chooses by it (`[notify] tell`)."""

    NEEDS_YOU = "needs-you"
    END = "end"
    DIGEST = "digest"


class NoticeState(StrEnum):
    """Where a notice is on its way."""

    OWED = "owed"
    TOLD = "told"
    DROPPED = "dropped"  # cured, or said by another notice, before it went out; or nobody wanted it
    GIVEN_UP = "given up"  # no channel took it, for too long


class Telling(Struct, frozen=True):
    """Something to be told. `cause` names it within the campaign (empty: the root): what shows the same cause
    while a notice is owed joins it, and a new one comes only when the cool-down is over. `what` stands alone when
    `runs` is 0, else behind the count of runs: `failed: oom.gpu`. `delay`: seconds in which it may cure itself."""

    campaign: str
    cause: str
    kind: NoticeKind
    what: str
    why: str = ""
    command: str = ""
    runs: int = 0
    delay: float = 0.0
    cools: bool = True  # False: every one is news, however soon


class Untelling(Struct, frozen=True):
    """`runs` no longer show the cause, or nobody need know any more (`runs` 0); `cause` may end in `*`."""

    campaign: str
    cause: str
    runs: int = 0


class Notice(Struct, frozen=True):
    """One notice. `n` counts those of the same campaign and cause. `told`: channels that took it."""

    campaign: str
    cause: str
    n: int
    kind: NoticeKind
    at: Moment
    due: Moment
    what: str
    why: str = ""
    command: str = ""
    runs: int = 0
    state: NoticeState = NoticeState.OWED
    tries: int = 0
    told: tuple[str, ...] = ()
    settled: Moment | None = None
    words: str = ""  # what came of the last try

    @property
    def key(self) -> str:
        """Unique; goes along with every delivery, so that a receiver can tell a repetition."""
        return f"{self.campaign or 'root'}/{self.cause}/{self.n}"


class NoticeText(Struct, frozen=True):
    """A notice as it goes out: it fits a lock screen."""

    key: str
    kind: str
    campaign: str
    title: str
    body: str
    command: str
    at: float  # Unix time of what happened


class Delivery(Struct, frozen=True):
    """What came of one channel. `channel` names it without its secrets."""

    channel: str
    took: bool
    words: str = ""
