"""The ways to a person, from their settings."""

import hashlib
import os
import socket
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from overnight.model.codec import Struct, builtins, to_json
from overnight.model.notices import Delivery, NoticeText
from overnight.model.settings import NotifySettings
from overnight.notify.bounded import Outcome, run

COMMAND_SECONDS = 30.0
WEB_SECONDS = 15.0
APPRISE_SECONDS = 45.0

# Read now: what is installed may be replaced while somebody watches.
_POST = Path(__file__).with_name("post.py").read_text("utf-8")
_APPRISE = Path(__file__).with_name("through_apprise.py").read_text("utf-8")


class Channel(Struct, frozen=True):
    """One way. `name` holds no secret, and stays the same as long as the address does."""

    name: str
    send: Callable[[NoticeText], Outcome]


def channels(settings: NotifySettings, env: Mapping[str, str]) -> list[Channel]:
    """All that are configured."""
    found: list[Channel] = []
    if settings.command:
        words = settings.command
        argv = ["/bin/sh", "-c", words] if isinstance(words, str) else list(words)
        found.append(Channel("command", partial(_command, argv, env)))
    for url in settings.webhook:
        found.append(Channel(_name("webhook", url), partial(_webhook, url, env)))
    for url in settings.apprise:
        found.append(Channel(_name("apprise", url), partial(_apprise, url, env)))
    return found


def deliver(channel: Channel, text: NoticeText) -> Delivery:
    """One try."""
    try:
        outcome = channel.send(text)
    except OSError as problem:  # no descriptor, no process left: what another channel took stays taken
        return Delivery(channel.name, False, f"cannot be tried: {problem.strerror or problem}")
    if outcome.well:
        return Delivery(channel.name, True)
    said = " ".join(outcome.said.split())[:300]
    return Delivery(channel.name, False, said if outcome.code is None else f"exit {outcome.code}: {said or 'no words'}")


def ping(url: str, env: Mapping[str, str]) -> Outcome:
    """Call an address."""
    return _call(url, None, {}, env)


def document(text: NoticeText) -> dict[str, object]:
    """A notice for programs. `text` and `content` are where chat services look for words."""
    words = f"{text.title}\n{text.body}" if text.body else text.title
    return {"schema": 1, **builtins(text), "host": socket.gethostname(), "text": words, "content": words}


def _command(argv: list[str], env: Mapping[str, str], text: NoticeText) -> Outcome:
    own = {
        "OVERNIGHT_NOTICE_KEY": text.key,
        "OVERNIGHT_NOTICE_KIND": text.kind,
        "OVERNIGHT_NOTICE_CAMPAIGN": text.campaign,
        "OVERNIGHT_NOTICE_TITLE": text.title,
        "OVERNIGHT_NOTICE_BODY": text.body,
        "OVERNIGHT_NOTICE_COMMAND": text.command,
        "OVERNIGHT_NOTICE_JSON": to_json(document(text)).decode("utf-8", "replace"),
    }
    return run(argv, f"{text.title}\n\n{text.body}\n", {**env, **own}, COMMAND_SECONDS)


def _webhook(url: str, env: Mapping[str, str], text: NoticeText) -> Outcome:
    headers = {"Content-Type": "application/json", "Idempotency-Key": text.key.encode("ascii", "replace").decode()}
    return _call(url, to_json(document(text)).decode("utf-8", "replace"), headers, env)


def _call(url: str, body: str | None, headers: dict[str, str], env: Mapping[str, str]) -> Outcome:
    order = {"url": url, "body": body, "headers": {"User-Agent": "overnight", **headers}, "seconds": WEB_SECONDS}
    return run([sys.executable, "-I", "-c", _POST], to_json(order).decode(), env, WEB_SECONDS)


def _apprise(url: str, env: Mapping[str, str], text: NoticeText) -> Outcome:
    order = to_json({"url": url, "title": text.title, "body": text.body}).decode("utf-8", "replace")
    return run([sys.executable, "-P", "-c", _APPRISE], order, env, APPRISE_SECONDS)


def _name(kind: str, url: str) -> str:
    parts = urlsplit(url)
    digest = hashlib.sha256(os.fsencode(url)).hexdigest()[:6]
    return f"{kind} {parts.hostname if kind == 'webhook' else parts.scheme} #{digest}"
