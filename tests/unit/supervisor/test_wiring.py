"""What the supervisor is made of."""

import subprocess
import sys

_PROBE = """
import sys
from overnight.supervisor import wiring
wiring.preload()
before = set(sys.modules)
from overnight import failures
from overnight.failures import Outcome
log = b"Traceback (most recent call last):\\n  File 'x', line 1\\nValueError: x\\n" * 3
failures.classify(log, Outcome(exit_code=1))
from overnight.manifest import code_identity, code_patch, load_manifest, revision_bytes, difference
from overnight.artifacts import CampaignFiles, missing_artifacts, publish_attempt
from overnight.probes import FileProbe, whole
print(sorted(name for name in set(sys.modules) - before if name.startswith("overnight")))
"""


def test_nothing_of_ours_is_imported_after_the_start() -> None:
    """`pip install -U overnight` under a running supervisor mixed two versions in one process."""
    found = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
