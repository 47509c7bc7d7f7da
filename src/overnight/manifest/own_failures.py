"""`[failures]` of a campaign file: a person's own rules, and where further logs lie."""

import hashlib
from collections.abc import Collection
from pathlib import Path

from overnight.manifest.tables import Table, shown
from overnight.manifest.word_checks import check_words
from overnight.model.policy import Failures, OwnRules

RULES_BYTES = 64 * 1024  # the text is part of the policy, which is kept with every revision
LOGS_MOST = 16
_HOMES = ("{out_dir}/", "{run_dir}/")


def read_failures(table: Table, base: Failures, columns: Collection[str] | None, folder: Path) -> Failures:
    """The table's values; what it leaves out is as in `base`. `folder`: what a relative `rules` is relative to.

    The rules are only read here: whoever knows what a rule is must check them.
    """
    table.check_keys()
    rules = base.rules
    written = table.text("rules", None)
    if written == "none":
        rules = None
    elif written is not None:
        rules = _rules(table, written, folder) or base.rules
    return Failures(rules=rules, logs=_logs(table, base.logs, columns))


def _rules(table: Table, written: str, folder: Path) -> OwnRules | None:
    try:
        with (folder / written).open("rb") as file:
            raw = file.read(RULES_BYTES + 1)
    except OSError as error:
        table.fault("rules", f"{shown(written)} cannot be read: {error.strerror}", f"a file, relative to {folder}")
        return None
    if len(raw) > RULES_BYTES:
        table.fault("rules", f"{shown(written)} is too large", f"at most {RULES_BYTES // 1024} KiB of rules")
        return None
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        table.fault("rules", f"line {line} of {shown(written)} is not UTF-8", "a file of rules is TOML, saved as UTF-8")
        return None
    name = written
    if table.source.file is not None and not Path(written).is_absolute():
        name = str(Path(table.source.file).parent / written)
    return OwnRules(file=name, sha256=hashlib.sha256(text.encode()).hexdigest(), text=text)


def _logs(table: Table, base: tuple[str, ...], columns: Collection[str] | None) -> tuple[str, ...]:
    """Globs that begin with `{out_dir}/` or `{run_dir}/`; a relative one is in `{out_dir}`."""
    if "logs" not in table:
        return base
    found = []
    for written in table.texts("logs", ()):
        pattern = written if written.startswith(_HOMES) else f"{_HOMES[0]}{written}"
        parts = pattern.split("/")[1:]
        elsewhere = written.startswith(("/", "~")) or written in ("{out_dir}", "{run_dir}")
        if elsewhere or ".." in parts or not any(part.strip(".") for part in parts):
            table.fault(
                "logs",
                f"{shown(written)} is no file of the run",
                "logs lie in {out_dir} or {run_dir}; globs are allowed",
            )
        else:
            found.append(pattern)
    if len(found) > LOGS_MOST:
        table.fault("logs", f"{len(found)} patterns are too many", f"at most {LOGS_MOST}")
    check_words(table, "logs", found, columns, split_allowed=False)
    return tuple(dict.fromkeys(found))
