"""A file system that passes everything on to a folder, and hangs when told: `python hanging_fs.py FOLDER MOUNT HANG`.

While the file HANG exists, every operation on what bears its text in its path waits: its callers sleep in the kernel,
uninterruptibly once the request has reached us. The first that waits makes the file HANG.waits.
"""

import errno
import os
import sys
import time
from pathlib import Path
from typing import Any

import mfusepy as fuse


class HangingFs(fuse.Operations):
    """Paths below `folder`, as they are."""

    def __init__(self, folder: str, hang: str) -> None:
        self._folder, self._hang = folder, Path(hang)

    def _at(self, path: str) -> str:
        while True:
            try:
                word = self._hang.read_text().strip()
            except OSError:
                break
            if word not in path:
                break
            Path(f"{self._hang}.waits").touch()
            time.sleep(0.05)
        return self._folder + path

    def access(self, path: str, amode: int) -> int:
        if not os.access(self._at(path), amode):
            raise fuse.FuseOSError(errno.EACCES)
        return 0

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        found = os.lstat(self._at(path))
        names = ("st_atime", "st_ctime", "st_gid", "st_mode", "st_mtime", "st_nlink", "st_size", "st_uid", "st_blocks")
        return {name: getattr(found, name) for name in names}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *os.listdir(self._at(path))]

    def readlink(self, path: str) -> str:
        return os.readlink(self._at(path))

    def mkdir(self, path: str, mode: int) -> int:
        os.mkdir(self._at(path), mode)
        return 0

    def rmdir(self, path: str) -> int:
        os.rmdir(self._at(path))
        return 0

    def unlink(self, path: str) -> int:
        os.unlink(self._at(path))
        return 0

    def rename(self, old: str, new: str) -> int:
        os.rename(self._at(old), self._folder + new)
        return 0

    def link(self, target: str, source: str) -> int:
        os.link(self._folder + source, self._folder + target)
        return 0

    def symlink(self, target: str, source: str) -> int:
        os.symlink(source, self._folder + target)
        return 0

    def chmod(self, path: str, mode: int) -> int:
        os.chmod(self._at(path), mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        os.chown(self._at(path), uid, gid)
        return 0

    def utimens(self, path: str, times: tuple[float, float] | None = None) -> int:
        os.utime(self._at(path), times)
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._at(path))
        names = ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_flag", "f_frsize")
        return {name: getattr(found, name) for name in (*names, "f_namemax")}

    def open(self, path: str, flags: int) -> int:
        return os.open(self._at(path), flags)

    def create(self, path: str, mode: int, fi: object = None) -> int:
        return os.open(self._at(path), os.O_RDWR | os.O_CREAT, mode)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._at(path)
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._at(path)
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        os.truncate(self._at(path), length)
        return 0

    def flush(self, path: str, fh: int) -> int:
        return 0

    def fsync(self, path: str, datasync: bool, fh: int) -> int:
        os.fsync(fh)
        return 0

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0


if __name__ == "__main__":
    folder, mount, hang = sys.argv[1:]
    fuse.FUSE(
        HangingFs(folder, hang),
        mount,
        foreground=True,
        nothreads=False,
        attr_timeout=0,
        entry_timeout=0,
        fsname="hanging",
    )
