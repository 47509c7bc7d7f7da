"""Writing a file so that readers see all of it or none, and a second writing is harmless."""

import contextlib
import os
import time

from overnight.model.manifest import Refusal


def write_whole(path: str, data: bytes, *, mode: int = 0o666, synced: bool = False) -> None:
    """Replace `path` by rename; with `synced`, on the platter before it has its name.

    Raises OSError (a full disk, a read-only file system); then `path` is as it was and nothing is left beside it.
    """
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.{name}.{os.getpid()}.{time.monotonic_ns()}.tmp"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            write_all(fd, data)
            if synced:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if synced:
        sync_folder(folder)


def write_once(path: str, data: bytes) -> None:
    """Write a read-only file that never changes again: synced, mode 0444. The same bytes again are harmless.

    Raises `Refusal` if it exists with other bytes: nobody replaces what a campaign's name stands for. OSError as
    above.
    """
    try:
        with open(path, "rb") as file:
            present = file.read()
    except FileNotFoundError:
        write_whole(path, data, mode=0o444, synced=True)
        return
    if present != data:
        raise Refusal(
            f"{path} exists already with other contents",
            "it is never overwritten; somebody changed it or copied it here: move the campaign's folder away",
        )


def write_all(fd: int, data: bytes) -> None:
    """Write everything; the kernel may take it in parts."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_folder(path: str) -> None:
    """Make names in a folder last. File systems that cannot sync a folder need not."""
    with contextlib.suppress(OSError):
        fd = os.open(path or "/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
