"""The files of a campaign: where they are, who writes them and how they survive being written twice."""

from overnight.artifacts.files import CampaignFiles
from overnight.artifacts.launch_files import write_launch_env, write_manifest, write_revision
from overnight.artifacts.layout import Layout
from overnight.artifacts.publish import publish_attempt
from overnight.artifacts.required import missing_artifacts
from overnight.artifacts.roots import (
    KnownRoot,
    attempts_home,
    find_state_dir,
    known_roots,
    other_hosts,
    remember_root,
    state_dir,
)

__all__ = [
    "CampaignFiles",
    "KnownRoot",
    "Layout",
    "attempts_home",
    "find_state_dir",
    "known_roots",
    "missing_artifacts",
    "other_hosts",
    "publish_attempt",
    "remember_root",
    "state_dir",
    "write_launch_env",
    "write_manifest",
    "write_revision",
]
