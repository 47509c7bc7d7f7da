"""Files that people write to a canonical manifest, its name, its revisions, and the identity of the code.

Loads on first use: `overnight --version` and `status` need none of it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from overnight.manifest.amend import Amendment, amend_campaign, amend_policy, read_rows
    from overnight.manifest.campaign_file import read_campaign
    from overnight.manifest.canonical import (
        campaign_id,
        difference,
        digest,
        load_manifest,
        manifest_bytes,
        manifest_of,
    )
    from overnight.manifest.code import CodeCache, code_identity
    from overnight.manifest.deadlines import deadline_seconds
    from overnight.manifest.durations import DurationFault, parse_duration
    from overnight.manifest.patch import code_patch
    from overnight.manifest.placeholders import (
        RESERVED,
        UnknownPlaceholder,
        expand_command,
        expand_env,
        expand_text,
        expand_words,
        names_out_dir,
        uses,
    )
    from overnight.manifest.revisions import Revision, load_revision, revision_bytes

_HOMES = {
    "amend": ("Amendment", "amend_campaign", "amend_policy", "read_rows"),
    "campaign_file": ("read_campaign",),
    "canonical": ("campaign_id", "difference", "digest", "load_manifest", "manifest_bytes", "manifest_of"),
    "code": ("CodeCache", "code_identity"),
    "deadlines": ("deadline_seconds",),
    "durations": ("DurationFault", "parse_duration"),
    "patch": ("code_patch",),
    "placeholders": (
        "RESERVED",
        "UnknownPlaceholder",
        "expand_command",
        "expand_env",
        "expand_text",
        "expand_words",
        "names_out_dir",
        "uses",
    ),
    "revisions": ("Revision", "load_revision", "revision_bytes"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "RESERVED",
    "Amendment",
    "CodeCache",
    "DurationFault",
    "Revision",
    "UnknownPlaceholder",
    "amend_campaign",
    "amend_policy",
    "campaign_id",
    "code_identity",
    "code_patch",
    "deadline_seconds",
    "difference",
    "digest",
    "expand_command",
    "expand_env",
    "expand_text",
    "expand_words",
    "load_manifest",
    "load_revision",
    "manifest_bytes",
    "manifest_of",
    "names_out_dir",
    "parse_duration",
    "read_campaign",
    "read_rows",
    "revision_bytes",
    "uses",
]


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'overnight.manifest' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"overnight.manifest.{module}"), name)
