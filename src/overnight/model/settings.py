"""A person's own settings: what belongs to them and their machine, never to a campaign."""

from overnight.model.codec import Struct
from overnight.model.notices import NoticeKind

COOLDOWN_SECONDS = 3600.0
PING_SECONDS = 300.0


class NotifySettings(Struct, frozen=True):
    """`[notify]`. `digest`: minutes after midnight, local time. `command`: words, or a line for the shell."""

    tell: tuple[str, ...] = tuple(kind.value for kind in NoticeKind)
    digest: int | None = None
    cooldown: float = COOLDOWN_SECONDS
    command: tuple[str, ...] | str = ()
    webhook: tuple[str, ...] = ()
    apprise: tuple[str, ...] = ()

    @property
    def configured(self) -> bool:
        """Somebody is told at all."""
        return bool(self.command or self.webhook or self.apprise)


class PingSettings(Struct, frozen=True):
    """`[ping]`: the address called each `every` seconds while somebody watches."""

    url: str = ""
    every: float = PING_SECONDS


class Settings(Struct, frozen=True):
    """The whole file."""

    notify: NotifySettings = NotifySettings()
    ping: PingSettings = PingSettings()
