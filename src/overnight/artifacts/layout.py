"""Where everything lives. docs/reference/files.md is the page for people.

Plain strings: these are called for every attempt. `root` and `state` are absolute; IDs are safe as names of
files (the manifest room refuses others).
"""

import os

from overnight.model.codec import Struct

CAMPAIGNS = "campaigns"


def of_root(root: str | os.PathLike[str]) -> str:
    """`--root DIR` as a shell takes it: what is said to be typed works from any folder, whatever roots there are."""
    from shlex import quote  # only where something is to be typed: `status` is to start quickly

    return f"--root {quote(os.fspath(root))}"


def campaigns_dir(root: str) -> str:
    """The folder whose entries are the campaigns of a root."""
    return f"{root}/{CAMPAIGNS}"


def campaign_dir(root: str, campaign: str) -> str:
    """A campaign's folder; its name is the campaign's."""
    return f"{root}/{CAMPAIGNS}/{campaign}"


def manifest_file(root: str, campaign: str) -> str:
    """The canonical manifest, read-only."""
    return f"{root}/{CAMPAIGNS}/{campaign}/manifest.json"


def revision_file(root: str, campaign: str, n: int) -> str:
    """One revision, read-only."""
    return f"{root}/{CAMPAIGNS}/{campaign}/revisions/{n}.json"


def run_dir(root: str, campaign: str, run_id: str) -> str:
    """A run's folder."""
    return f"{root}/{CAMPAIGNS}/{campaign}/runs/{run_id}"


def attempt_in(run_folder: str, n: int) -> str:
    """An attempt's folder below its run's."""
    return f"{run_folder}/attempts/{n}"


def number_file(run_folder: str, n: int) -> str:
    """Beside where an attempt's folder will be, while the attempt lives in its host's state directory: its number is
    taken, whichever host looks."""
    return f"{run_folder}/attempts/{n}.elsewhere"


def evidence_names(attempt_folder: str) -> tuple[str, ...]:
    """What was saved of an attempt before it was ended; nothing for most."""
    try:
        names = os.listdir(f"{attempt_folder}/evidence")
    except OSError:
        return ()
    return tuple(sorted(name for name in names if not name.endswith(".tmp")))


class Layout(Struct, frozen=True):
    """Where attempts are written while they live. `attempts` is the root itself where its file system is local, else
    a folder of the state directory, from where `publish_attempt` copies them as they end."""

    root: str
    attempts: str

    def attempt_dir(self, campaign: str, run_id: str, n: int) -> str:
        """Where a live attempt's files are."""
        return attempt_in(run_dir(self.attempts, campaign, run_id), n)

    def published_dir(self, campaign: str, run_id: str, n: int) -> str:
        """Where an ended attempt's files are."""
        return attempt_in(run_dir(self.root, campaign, run_id), n)

    @property
    def elsewhere(self) -> bool:
        """Live attempts are not below the root."""
        return self.attempts != self.root


def launch_env_file(state: str, campaign: str) -> str:
    """What runs inherit: mode 0600, the only copy."""
    return f"{state}/launch/{campaign}.env"
