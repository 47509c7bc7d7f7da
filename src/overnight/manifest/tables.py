"""A table of the campaign file, read key by key. Each key that is wrong is a fault; reading goes on."""

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

from overnight.manifest.durations import EXAMPLES, DurationFault, parse_duration
from overnight.manifest.faults import Path, Source, nearest
from overnight.manifest.rows import Written, toml_text
from overnight.manifest.sizes import SizeFault, parse_size
from overnight.model.policy import AUTO

Auto = Literal["auto"]

# Which keys each table knows. "" is the top of the file.
KEYS: dict[str, tuple[str, ...]] = {
    "": (
        "name", "command", "runs", "fail_fast", "cwd", "executor", "resources", "limits", "progress", "checkpoint",
        "retry", "failures", "env", "artifacts", "results", "code", "stop", "run", "matrix", "zip", "fake",
    ),
    "resources": ("gpus", "slots"),
    "limits": (
        "timeout", "attempt_timeout", "startup", "heartbeat", "progress", "grace", "deadline", "disk_free", "log",
    ),
    "progress": ("pattern",),
    "checkpoint": ("path", "complete", "resume"),
    "retry": ("max_attempts", "outage", "backoff", "class"),
    "retry.backoff": ("first", "factor", "max", "jitter"),
    "failures": ("rules", "logs"),
    "artifacts": ("required", "exclude"),
    "results": ("file",),
    "code": ("on_change",),
    "stop": ("command", "timeout"),
}  # fmt: skip

# Words of the design that this version does not know yet: said so, rather than "did you mean …".
OWN = frozenset({"notify", "ping"})  # of a person's own configuration file
NOT_YET = frozenset({"tracker", "gate", "gates", "slurm", "ray", "remote", "tasks"})


class Table:
    """A table at `path`. Readers return `default` for an absent key and for one that is wrong."""

    def __init__(
        self, source: Source, data: Mapping[str, object], path: Path = (), keys: Mapping[str, tuple[str, ...]] = KEYS
    ) -> None:
        self.source = source
        self._keys = keys
        self.data = data
        self.path = path

    @property
    def name(self) -> str:
        """Dotted; empty for the top."""
        return ".".join(self.path)

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def check_keys(self) -> None:
        """Report the keys that nobody knows."""
        known = self._keys[self.name]
        for key in self.data:
            if key not in known:
                self._unknown(key, known)

    def _unknown(self, key: str, known: Collection[str]) -> None:
        what = f"{self._dotted(key)} is not known"
        if not self.path and key in OWN and self._keys is KEYS:
            hint = "write it into your own config.toml: `overnight doctor` names the file"
            self.source.fault((key,), f"[{key}] belongs to a person, not to a campaign", hint)
            return
        if not self.path and key in NOT_YET:
            self.source.fault((key,), f"[{key}] is not part of this version", "take it out of the file for now")
            return
        if self.path and key in self._keys[""] and key not in ("progress", "limits"):
            hint = f"{key} belongs at the top of the file, before any [table]"
            self.source.fault((*self.path, key), what, hint)
            return
        near = nearest(key, known)
        homes = [table for table, keys in self._keys.items() if key in keys and table != self.name]
        if near is not None:
            hint = f"did you mean {near}?"
        elif homes:
            hint = f"{key} belongs in [{homes[0]}]"
        else:
            hint = f"allowed here: {', '.join(known)}"
        self.source.fault((*self.path, key), what, hint)

    def _dotted(self, key: str) -> str:
        return ".".join((*self.path, key))

    def fault(self, key: str, found: str, allowed: str | None = None) -> None:
        """Note that the value of `key` is wrong."""
        self.source.fault((*self.path, key), f"{self._dotted(key)}: {found}", allowed)

    def table(self, key: str) -> "Table":
        """The table of this name; an empty one when absent or wrong."""
        value = self.data.get(key, {})
        if not isinstance(value, dict):
            self.fault(key, f"{shown(value)} is no table", f"write a [{self._dotted(key)}] section")
            value = {}
        return Table(self.source, value, (*self.path, key), self._keys)

    def text(self, key: str, default: str | None) -> str | None:
        """A string that is not empty."""
        value = self.data.get(key)
        if value is None:
            return default
        if not isinstance(value, str) or not value:
            self.fault(key, f"{shown(value)} is no text", "a string is allowed")
            return default
        return value

    def choice(self, key: str, allowed: Iterable[str], default: str) -> str:
        """One of a few words."""
        words = list(allowed)
        value = self.data.get(key, default)
        if not isinstance(value, str) or value not in words:
            near = nearest(value, words) if isinstance(value, str) else None
            hint = f"allowed: {', '.join(words)}" + (f" (did you mean {near}?)" if near else "")
            self.fault(key, f"{shown(value)} is not known", hint)
            return default
        return value

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self.data.get(key, default)
        if not isinstance(value, bool):
            self.fault(key, f"{shown(value)} is neither true nor false", "true or false, without quotes")
            return default
        return value

    def texts(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """A list of strings."""
        value = self.data.get(key)
        if value is None:
            return default
        if not isinstance(value, list):
            self.fault(key, f"{shown(value)} is no list", 'a list of strings is allowed: ["…"]')
            return default
        found = [toml_text(entry) for entry in value]
        texts = tuple(text for text in found if text is not None)
        if len(texts) != len(found):
            self.fault(key, "a list or a table among the values", 'a list of strings is allowed: ["…"]')
            return default
        return texts

    def whole(self, key: str, default: int, least: int, most: int | None = None) -> int:
        """A whole number within bounds."""
        value = self.data.get(key)
        if value is None:
            return default
        bounds = f"a whole number from {least}" + (f" to {most}" if most is not None else "")
        if not isinstance(value, int) or isinstance(value, bool):
            self.fault(key, f"{shown(value)} is no whole number", bounds)
            return default
        if value < least or (most is not None and value > most):
            self.fault(key, f"{value} is out of bounds", bounds)
            return default
        return value

    def number(self, key: str, default: float, least: float, most: float) -> float:
        """A number within bounds."""
        value = self.data.get(key)
        if value is None:
            return default
        bounds = f"a number from {least:g} to {most:g}"
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            self.fault(key, f"{shown(value)} is no number", bounds)
            return default
        if not least <= value <= most:
            self.fault(key, f"{shown(value)} is out of bounds", bounds)
            return default
        return float(value)

    def duration(self, key: str, default: float) -> float:
        """Seconds; always some."""
        value = self.data.get(key)
        if value is None:
            return default
        seconds = self._seconds(key, value, none_allowed=False)
        return default if seconds is None else seconds

    def limit(self, key: str, default: float | None) -> float | None:
        """Seconds, or None for the word "none"."""
        value = self.data.get(key)
        if value is None:
            return default
        if value == "none":
            return None
        seconds = self._seconds(key, value, none_allowed=True)
        return default if seconds is None else seconds

    def auto_limit(self, key: str, default: float | Auto | None) -> float | Auto | None:
        """Seconds, None for the word "none", or `AUTO`."""
        value = self.data.get(key)
        if value is None:
            return default
        if value == AUTO:
            return AUTO
        if value == "none":
            return None
        seconds = self._seconds(key, value, none_allowed=True)
        return default if seconds is None else seconds

    def size(self, key: str, default: int | None) -> int | None:
        """Bytes, or None for the word "none"."""
        value = self.data.get(key)
        if value is None:
            return default
        if value == "none":
            return None
        try:
            return parse_size(toml_text(value) or shown(value))
        except SizeFault as error:
            self.fault(key, str(error), error.hint)
            return default

    def _seconds(self, key: str, value: object, *, none_allowed: bool) -> float | None:
        text = toml_text(value)
        if text is None or isinstance(value, bool):
            self.fault(key, f"{shown(value)} is no duration", f"a duration with its unit: {EXAMPLES}")
            return None
        try:
            return parse_duration(text, none_allowed=none_allowed)
        except DurationFault as error:
            self.fault(key, str(error), error.hint)
            return None


def shown(value: object) -> str:
    """A value as its writer would know it again."""
    if isinstance(value, Written):
        return value.text
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 120 else f'"{value[:120]}…"'
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return str(value)
