"""What would run: commands expanded as an attempt would get them, without an attempt."""

import shlex
from typing import TYPE_CHECKING

from overnight.api.errors import in_words

if TYPE_CHECKING:
    from overnight.api.launching import Prepared


def first_commands(prepared: "Prepared", most: int) -> list[tuple[str, str]]:
    """(run_id, shell-quoted command) of the first rows. What only an attempt knows (its slot, its port, its
    checkpoint) stays a `<word>`."""
    from overnight.artifacts import layout
    from overnight.manifest import RESERVED, expand_command

    frozen = prepared.frozen
    found = []
    with in_words():
        for spec in frozen.runs[:most]:
            folder = layout.run_dir(str(prepared.place.root), frozen.campaign, spec.run_id)
            reserved = {word: f"<{word}>" for word in RESERVED} | {
                "run_id": spec.run_id,
                "campaign": frozen.campaign,
                "attempt": "1",
                "run_dir": folder,
                "out_dir": f"{folder}/out",
                "gpus": f"{spec.policy.gpus if spec.policy.gpus is not None else frozen.policy.resources.gpus:g}",
            }
            argv = expand_command(frozen.manifest.command, spec.params, reserved)
            found.append((spec.run_id, shlex.join(argv)))
    return found
