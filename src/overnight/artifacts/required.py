"""Required artifacts: whether a run left what its campaign says it must."""

import glob
import os
import stat
from collections.abc import Sequence


def missing_artifacts(out_dir: str, required: Sequence[str]) -> list[str]:
    """Those of `required` (paths or globs below `out_dir`) that nothing answers to, as written.

    An empty file is there; a folder is there when something is in it; a link is what it points to. Raises OSError when
    `out_dir` does not answer: unknown is not missing.
    """
    if not required:
        return []
    try:
        os.stat(out_dir)  # glob takes every error for an empty folder
    except (FileNotFoundError, NotADirectoryError):
        return list(required)
    return [pattern for pattern in required if not _there(out_dir, pattern)]


def _there(out_dir: str, pattern: str) -> bool:
    if _counts(os.path.join(out_dir, pattern)):  # a plain name, brackets and all
        return True
    if not glob.has_magic(pattern):
        return False
    found = glob.iglob(pattern, root_dir=out_dir, recursive=True, include_hidden=True)
    return any(_counts(os.path.join(out_dir, path)) for path in found)


def _counts(path: str) -> bool:
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            return True
        with os.scandir(path) as entries:
            return next(entries, None) is not None
    except (FileNotFoundError, NotADirectoryError):
        return False
