"""`[stop]`: how work is ended that lives elsewhere than in the command's own processes."""

from collections.abc import Collection, Sequence

from overnight.manifest.rows import toml_text, unfit
from overnight.manifest.tables import Table, shown
from overnight.manifest.word_checks import check_words
from overnight.model.policy import Stop

_ALLOWED = 'a list of strings, one string for bash, or "none": ["docker", "stop", "{attempt_id}"]'


def read_stop(table: Table, base: Stop, columns: Collection[str] | None) -> Stop:
    """The table's word on top of `base`."""
    table.check_keys()
    command = _command(table, base)
    check_words(table, "command", stop_templates(Stop(command)), columns, split_allowed=True)
    if not command and "timeout" in table and not base.command:
        table.fault("timeout", "there is no stop.command to go with it", 'command = ["docker", "stop", "{attempt_id}"]')
    return Stop(command, table.duration("timeout", base.timeout))


def stop_templates(stop: Stop) -> Sequence[str]:
    """The texts that may hold placeholders."""
    return [stop.command] if isinstance(stop.command, str) else stop.command


def _command(table: Table, base: Stop) -> tuple[str, ...] | str:
    value = table.data.get("command")
    if value is None:
        return base.command
    if value == "none":
        return ()
    found = [toml_text(entry) for entry in value] if isinstance(value, list) else [toml_text(value)]
    texts = [text for text in found if text is not None]
    if not isinstance(value, list | str) or len(texts) != len(found):
        table.fault("command", f"{shown(value)} is no command", _ALLOWED)
    elif not texts or not texts[0].strip():
        table.fault("command", "it is empty", _ALLOWED)
    elif problem := next((problem for text in texts if (problem := unfit(text))), None):
        table.fault("command", f"it holds {problem}")
    else:
        return texts[0] if isinstance(value, str) else tuple(texts)
    return base.command
