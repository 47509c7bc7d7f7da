"""Writing a file so that readers see all of it or none, and a second writing is harmless."""

import contextlib
import errno
import os
import time

from overnight.model.manifest import Refusal

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


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


def write_first(path: str, data: bytes) -> bool:
    """Make `path`, whole, unless somebody has: then False, and nothing is changed. Of several hosts that try at once
    one succeeds, also on NFS. Raises OSError."""
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.{name}.{os.uname().nodename}.{os.getpid()}.{time.monotonic_ns()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        write_all(fd, data)
        os.fsync(fd)
        try:
            os.link(temporary, path)
        except FileExistsError:
            # NFS may have made the link, lost the answer and asked again: two names on our file mean it is ours.
            return os.fstat(fd).st_nlink > 1
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _first_without_links(path, data)
    finally:
        os.close(fd)
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    sync_folder(folder)
    return True


def _first_without_links(path: str, data: bytes) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        return False
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    return True
