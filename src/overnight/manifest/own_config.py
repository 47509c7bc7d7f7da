"""A person's own configuration file: where it is, and what it says."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from overnight.manifest.faults import Faults, Source
from overnight.manifest.lines import key_lines
from overnight.manifest.tables import Table, shown
from overnight.model.notices import NoticeKind
from overnight.model.settings import NotifySettings, PingSettings, Settings

KEYS: dict[str, tuple[str, ...]] = {
    "": ("notify", "ping"),
    "notify": ("tell", "digest", "cooldown", "command", "webhook", "apprise"),
    "ping": ("url", "every"),
}
LEAST_EVERY_SECONDS = 10.0
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_BYTES = 1 << 20


_NO_HOME = Path("/nonexistent/.config/overnight")  # which systems promise never to make


def own_config_path(env: Mapping[str, str]) -> Path:
    """$OVERNIGHT_CONFIG, else `config.toml` in the person's configuration directory; it need not exist."""
    named = env.get("OVERNIGHT_CONFIG")
    if named:
        return Path(os.path.abspath(os.path.expanduser(named)))
    from platformdirs import user_config_dir

    try:
        found = Path(user_config_dir("overnight"))
    except RuntimeError:
        found = Path()
    # Who has no home has no configuration. Not one that others might have put where all may write: it names commands.
    return (found if found.is_absolute() else _NO_HOME) / "config.toml"


def read_own_config(path: Path) -> Settings:
    """The settings; defaults where there is no file. Raises `Refusal` with every fault found."""
    faults = Faults()
    try:
        with path.open("rb") as file:
            text = file.read(_BYTES).decode("utf-8")
        data = tomllib.loads(text)
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        faults.add(f"cannot be read: {error.strerror}", file=str(path), hint="it must be a file that you can read")
        text, data = "", {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        faults.add(f"is no TOML: {error}", file=str(path), hint="texts stand in quotes")
        text, data = "", {}
    faults.refuse(str(path))
    top = Table(Source(faults, str(path), key_lines(text)), data, keys=KEYS)
    top.check_keys()
    settings = Settings(_notify(top.table("notify")), _ping(top.table("ping")))
    faults.refuse(str(path))
    return settings


def _notify(table: Table) -> NotifySettings:
    table.check_keys()
    usual = NotifySettings()
    kinds = [kind.value for kind in NoticeKind]
    tell = table.texts("tell", usual.tell)
    for word in tell:
        if word not in kinds:
            table.fault("tell", f"{shown(word)} is not known", f"allowed: {', '.join(kinds)}")
    return NotifySettings(
        tell, _digest(table), table.duration("cooldown", usual.cooldown), _command(table),
        _addresses(table, "webhook", web=True), _addresses(table, "apprise", web=False),
    )  # fmt: skip


def _digest(table: Table) -> int | None:
    value = table.data.get("digest")
    if value is None:
        return None
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        table.fault("digest", f"{shown(value)} is no time of day", 'hours and minutes in quotes: "08:00"')
        return None
    return int(found[1]) * 60 + int(found[2])


def _command(table: Table) -> tuple[str, ...] | str:
    value = table.data.get("command")
    if isinstance(value, list):
        words = table.texts("command", ())
        if not words or not words[0]:
            table.fault("command", "it names no program", '["notify-send", "overnight"] or "a line for the shell"')
        return words
    return table.text("command", None) or ()


def _addresses(table: Table, key: str, *, web: bool) -> tuple[str, ...]:
    """One address or a list. What is wrong with one is said without the rest of it: it may hold a token."""
    value = table.data.get(key)
    found = (value,) if isinstance(value, str) else table.texts(key, ())
    for address in found:
        try:
            parts = urlsplit(address)
        except ValueError:
            table.fault(key, "an address cannot be read", "https://host/path")
            continue
        if web and (parts.scheme not in ("http", "https") or not parts.hostname):
            table.fault(key, f"{shown(address[:12])}… is no web address", "https://host/path")
        elif not parts.scheme:
            table.fault(key, f"{shown(address[:12])}… is no address", "ntfy://topic, mailto://…, …")
    return tuple(found)


def _ping(table: Table) -> PingSettings:
    table.check_keys()
    usual = PingSettings()
    found = _addresses(table, "url", web=True)
    if len(found) > 1:
        table.fault("url", f"{len(found)} addresses", "one")
    every = table.duration("every", usual.every)
    if every < LEAST_EVERY_SECONDS:
        table.fault("every", "too often", f'at least "{LEAST_EVERY_SECONDS:g}s"')
    return PingSettings(found[0] if found else "", max(every, LEAST_EVERY_SECONDS))
