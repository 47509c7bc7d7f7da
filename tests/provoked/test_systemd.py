"""What systemd itself says of the unit that `supervisor install` writes."""

import os
import subprocess
from pathlib import Path

from overnight.supervisor import units


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """Guards against a path with a space, a quote, a dollar or a percent sign that systemd reads as something else."""
    root = tmp_path / 'my "runs" 50% $HOME'
    path = tmp_path / f"{units.name_of(root)}.service"
    path.write_text(units.unit(root, root / ".state", {"OVERNIGHT_CONFIG": "/etc/my %h.toml"}, "host"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", str(path)], capture_output=True, text=True, check=False,
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}, timeout=60,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if path.name in line]
    assert done.returncode == 0 and said == [], done.stderr
