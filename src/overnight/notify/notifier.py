"""`ports.Notifier` by a person's own settings."""

import os
from collections.abc import Callable

from overnight.model.notices import Delivery, NoticeText
from overnight.model.settings import NotifySettings, Settings
from overnight.notify.channels import channels, deliver, ping


class OwnNotifier:
    """`read` gives the settings as they are now, or raises `Refusal`."""

    def __init__(self, read: Callable[[], Settings]) -> None:
        self._read = read

    def settings(self) -> Settings:
        return self._read()

    def deliver(self, settings: NotifySettings, text: NoticeText, told: tuple[str, ...]) -> tuple[Delivery, ...]:
        if text.kind not in settings.tell:
            return ()
        return tuple(deliver(each, text) for each in channels(settings, os.environ) if each.name not in told)

    def ping(self, url: str) -> str:
        outcome = ping(url, os.environ)
        return "" if outcome.well else outcome.said or "no words"
