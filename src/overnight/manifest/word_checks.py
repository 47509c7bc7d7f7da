"""Checks of the placeholders in a campaign file: each names something, and splits only where that means something."""

from collections.abc import Collection

from overnight.manifest.faults import guess
from overnight.manifest.placeholders import RESERVED, split_words, words
from overnight.manifest.tables import Table


def check_words(
    table: Table, key: str, templates: Collection[str], columns: Collection[str] | None, *, split_allowed: bool
) -> None:
    """Report placeholders of `key` that name nothing, and `{x...}` where nothing splits."""
    if columns is not None:
        known = {*columns, *RESERVED}
        for word in sorted(words(templates) - known):
            table.fault(key, *unknown_word(word, known))
    if not split_allowed:
        for word in sorted(split_words(templates)):
            table.fault(
                key, f"{{{word}...}} does not split here", f"it does in command and checkpoint.resume; write {{{word}}}"
            )


def unknown_word(word: str, known: Collection[str]) -> tuple[str, str]:
    """Message and hint for a placeholder that names nothing."""
    near = guess(word, known) or ""
    return (
        f"{{{word}}} is neither a column nor a reserved placeholder",
        f"{near}{'' if near.endswith('?') else ';'} braces that are meant as such are doubled: {{{{{word}}}}}",
    )
