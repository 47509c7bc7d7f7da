"""What a launch leaves on disk before anything runs: manifest, revisions, the shell's environment."""

import json
import os
from collections.abc import Mapping

from overnight.artifacts import layout
from overnight.artifacts.whole import write_once, write_whole


def write_manifest(root: str, campaign: str, data: bytes) -> str:
    """Freeze the canonical bytes as manifest.json (0444); its path. Twice is harmless; raises `Refusal` if another
    manifest stands there, OSError if it cannot be written."""
    os.makedirs(layout.campaign_dir(root, campaign) + "/runs", exist_ok=True)
    path = layout.manifest_file(root, campaign)
    write_once(path, data)
    return path


def write_revision(root: str, campaign: str, n: int, data: bytes) -> str:
    """Write revisions/<n>.json (0444); its path. Raises like `write_manifest`."""
    path = layout.revision_file(root, campaign, n)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_once(path, data)
    return path


def write_launch_env(state: str, campaign: str, env: Mapping[str, str]) -> str:
    """Replace what the campaign's runs inherit: a JSON object, mode 0600 in a folder of mode 0700; its path.

    Values may hold bytes that are no text (`surrogateescape`); they are kept. Attempts that run are not touched:
    they read it once, at their start. Raises OSError.
    """
    path = layout.launch_env_file(state, campaign)
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    write_whole(path, json.dumps(dict(env)).encode() + b"\n", mode=0o600, synced=True)
    return path
