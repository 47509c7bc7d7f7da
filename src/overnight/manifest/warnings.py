"""What is allowed and probably not meant: said at launch, and shown by `status` where it lasts."""

import re
from collections.abc import Sequence

from overnight.manifest.placeholders import is_word, names_out_dir, templates_of, words
from overnight.model.manifest import Manifest, RunSpec
from overnight.model.policy import Policy

_SET_BY_US = ("CUDA_VISIBLE_DEVICES", "MASTER_PORT", "PET_MASTER_PORT")


def warnings_of(manifest: Manifest, runs: Sequence[RunSpec], policy: Policy, devices: int) -> tuple[str, ...]:
    """One sentence each."""
    return (
        *_out_dir(manifest, policy),
        *_unbounded(runs, policy),
        *_no_gpu(manifest, devices),
        *_one_word(manifest),
        *_placeholders(manifest, runs),
        *_env(manifest),
    )


def _out_dir(manifest: Manifest, policy: Policy) -> list[str]:
    if policy.executor == "fake" or names_out_dir(manifest.command, manifest.env):
        return []
    if manifest.rows and all(
        any("{out_dir}" in value for value in (*row.values.values(), *row.env.values())) for row in manifest.rows
    ):
        return []
    ending = "rows may overwrite each other" if len(manifest.rows) > 1 else "its results are not kept with the campaign"
    return [f"neither command nor [env] names {{out_dir}}: {ending}"]


def _unbounded(runs: Sequence[RunSpec], policy: Policy) -> list[str]:
    found = []
    limits = policy.limits
    if limits.timeout is None:
        found.append('limits.timeout is "none": these runs may go on for ever')
    alone = sum(run.policy.unbounded for run in runs)
    if alone and limits.timeout is not None:
        found.append(f'@timeout is "none" for {alone:,} run{"s" if alone > 1 else ""}: they may go on for ever')
    for key in ("startup", "heartbeat"):
        if getattr(limits, key) is None:
            found.append(f'limits.{key} is "none": a silent hang is ended by the timeout alone')
    return found


def _no_gpu(manifest: Manifest, devices: int) -> list[str]:
    command = manifest.command
    if devices == 0 and "gpus" in words([command] if isinstance(command, str) else command):
        return ["no GPU is visible here, so {gpus} in the command is 0"]
    return []


def _one_word(manifest: Manifest) -> list[str]:
    """`launch -- "python train.py"`: to the system that is the name of one program."""
    command = manifest.command
    if isinstance(command, str) or len(command) != 1 or not re.search(r"\s", command[0].strip()):
        return []
    return [
        "the command is a single argument with blanks in it: leave its quotes out, or let a shell read it: sh -c '…'"
    ]


def _placeholders(manifest: Manifest, runs: Sequence[RunSpec]) -> list[str]:
    """A column whose name is no word cannot be a placeholder; braces around it stay."""
    if not runs:
        return []
    templates = templates_of(manifest.command, manifest.env)
    return [
        f"{{{column}}} stays as it is, since a placeholder is one word: rename the column"
        for column in runs[0].params
        if not is_word(column) and any(f"{{{column}}}" in template for template in templates)
    ]


def _env(manifest: Manifest) -> list[str]:
    named = {*manifest.env, *(name for row in manifest.rows for name in row.env)}
    found = [
        f"{name} is set for each attempt; the value in [env] has no effect" for name in _SET_BY_US if name in named
    ]
    found.extend(
        f"{name} in [env] looks like a secret, and the manifest is a readable file: set it in the shell instead"
        for name in sorted(named)
        if re.search(r"(?:TOKEN|SECRET|PASSWORD|API_?KEY)$", name)
    )
    return found
