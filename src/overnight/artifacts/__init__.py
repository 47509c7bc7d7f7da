"""The files of a campaign: where they are, who writes them and how they survive being written twice.

Loads on first use: `status` needs only to know where things are.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from overnight.artifacts.files import CampaignFiles
    from overnight.artifacts.finding import KnownRoot, known_roots
    from overnight.artifacts.launch_files import write_launch_env, write_manifest, write_revision
    from overnight.artifacts.layout import Layout
    from overnight.artifacts.publish import publish_attempt
    from overnight.artifacts.required import missing_artifacts
    from overnight.artifacts.roots import attempts_home, find_state_dir, remember_root, state_dir

_HOMES = {
    "files": ("CampaignFiles",),
    "finding": ("KnownRoot", "known_roots"),
    "launch_files": ("write_launch_env", "write_manifest", "write_revision"),
    "layout": ("Layout",),
    "publish": ("publish_attempt",),
    "required": ("missing_artifacts",),
    "roots": ("attempts_home", "find_state_dir", "remember_root", "state_dir"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "CampaignFiles",
    "KnownRoot",
    "Layout",
    "attempts_home",
    "find_state_dir",
    "known_roots",
    "missing_artifacts",
    "publish_attempt",
    "remember_root",
    "state_dir",
    "write_launch_env",
    "write_manifest",
    "write_revision",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
