"""Says what this lane lacks here, and how to get it. Exit code 1 if anything is missing: nothing is skipped."""

import ctypes.util
import os
import shutil
import sys


def missing() -> list[str]:
    """One line each."""
    found = []
    if os.geteuid() != 0:
        found.append("it mounts file systems: run it as root (sudo make ground)")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        found.append(
            "there is no /dev/fuse here: load the fuse module, or give it to the container (--device /dev/fuse)"
        )
    if ctypes.util.find_library("fuse") is None:
        found.append("libfuse is missing: apt-get install libfuse2")
    for program, package in (("mkfs.ext4", "e2fsprogs"), ("findmnt", "util-linux"), ("prlimit", "util-linux")):
        if shutil.which(program) is None and not os.path.exists(f"/sbin/{program}"):
            found.append(f"{program} is missing: apt-get install {package}")
    return found


if __name__ == "__main__":
    for line in missing():
        print(f"error: {line}", file=sys.stderr)
    sys.exit(1 if missing() else 0)
