"""Room on a volume: bytes and inodes, as FAILURES' order of evidence wants them."""

import os

from overnight.model.room import LOW_BYTES, LOW_INODES


def no_room(path: str) -> str:
    """Why nothing can be written at `path`, as a sentence; empty: there is room, or nobody can tell."""
    try:
        volume = os.statvfs(path)
    except OSError:
        return ""
    free = volume.f_bavail * volume.f_frsize
    if free < LOW_BYTES:
        return f"the volume of {path} has {free >> 20} MiB left: silence there is no stall"
    if volume.f_files and volume.f_favail < LOW_INODES:
        return f"the volume of {path} has {volume.f_favail} inodes left: silence there is no stall"
    return ""
