"""Attempts that lived in the state directory (a root on no local file system), copied to the root as they end."""

import contextlib
import os
import shutil


def publish_attempt(source: str, target: str, *, keep: bool = False) -> bool:
    """Copy an ended attempt's directory to the root, whole or not at all, and then remove the source unless it is to
    be kept.

    True when `target` is there afterwards. Twice is harmless: a target that is there is complete, because it came by
    rename; a source that is gone was published. Raises OSError when the root cannot be written; the source stays.
    """
    if not os.path.isdir(source) or os.path.realpath(source) == os.path.realpath(target):
        return os.path.isdir(target)
    if not os.path.isdir(target):
        parent, name = os.path.split(target)
        os.makedirs(parent, exist_ok=True)
        beside = os.path.join(parent, f".{name}.tmp")
        shutil.rmtree(beside, ignore_errors=True)
        try:
            shutil.copytree(source, beside, symlinks=True)
            os.rename(beside, target)
        except (OSError, shutil.Error) as error:
            shutil.rmtree(beside, ignore_errors=True)
            if isinstance(error, shutil.Error):  # an OSError that carries a list
                raise OSError(f"cannot copy {source} to {target}: {error.args[0][0][2]}") from error
            raise
    with contextlib.suppress(OSError):
        os.unlink(f"{target}.elsewhere")
    if not keep:
        with contextlib.suppress(OSError):
            shutil.rmtree(source)
    return True
