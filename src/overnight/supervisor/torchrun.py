"""torchrun's own files of one attempt: what each worker raised, and what it said where its output is redirected.

torchrun names a reply file to each worker (`<log dir>/<run>/attempt_<restart>/<rank>/error.json`, written by workers
whose entry point is decorated with `record`), copies the first failing one's to its own `TORCHELASTIC_ERROR_FILE`,
and takes every option that is not typed from `PET_<OPTION>` (torch.distributed.elastic.multiprocessing.api and
.errors, torch.distributed.argparse_util). Both variables are only set where nobody else has set them.
"""

import contextlib
import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from overnight.failures import ElasticError
from overnight.supervisor.rank_logs import SKEW_SECONDS, rank_logs

ERROR_FILE = "TORCHELASTIC_ERROR_FILE"  # the variable
OWN_FILE, LOG_DIR = "torchelastic-error.json", "torchelastic"  # in the attempt's directory
REPLY = "error.json"
REPLY_BYTES = 2**20  # of one reply file; more of it is not JSON any more, and is left out
REPLIES_MOST = 64
_ENTRIES_MOST = 10_000
_RESTART = re.compile(r"attempt_(\d+)")


def variables(attempt_dir: str) -> dict[str, str]:
    """What an attempt's command is given unless the shell that typed `launch`, or `[env]`, says otherwise."""
    return {ERROR_FILE: f"{attempt_dir}/{OWN_FILE}", "PET_LOG_DIR": f"{attempt_dir}/{LOG_DIR}"}


def worker_logs(attempt_dir: str, shown: str) -> list[tuple[str, Path]]:
    """(name below `shown`, path) of what workers said into files: of the last restart of each launcher."""
    patterns = [f"{glob.escape(folder)}/*/std*.log" for folder in _last_restarts(attempt_dir)]
    return [(f"{shown}/{name}", path) for name, path in rank_logs(patterns, attempt_dir, attempt_dir)]


def errors(
    attempt_dir: str, shown: str, own: str | None, named: Iterable[tuple[str, Path]]
) -> tuple[tuple[ElasticError, ...], list[tuple[str, Path]]]:
    """(the reply files' contents, those of `named` that are none).

    `own`: the file that a person's own `TORCHELASTIC_ERROR_FILE` names; `named`: what globs found. A reply file that an
    earlier attempt wrote is not this one's.
    """
    files = [(f"{shown}/{OWN_FILE}", f"{attempt_dir}/{OWN_FILE}")]
    if own is not None:
        files.append((own, own))
    for folder in _last_restarts(attempt_dir):
        files += [(f"{shown}/{path[len(attempt_dir) + 1 :]}", path) for path in _replies(folder)]
    rest = []
    for name, path in named:
        if path.name == REPLY:
            files.append((name, str(path)))
        else:
            rest.append((name, path))
    return tuple(_read(files[:REPLIES_MOST], attempt_dir)), rest


def _read(files: Sequence[tuple[str, str]], attempt_dir: str) -> Iterator[ElasticError]:
    try:
        begun = os.stat(f"{attempt_dir}/started").st_mtime
    except OSError:
        return  # it never began, so nothing is its
    for name, path in files:
        with contextlib.suppress(OSError):
            seen = os.stat(path)
            if stat.S_ISREG(seen.st_mode) and 0 < seen.st_size <= REPLY_BYTES and seen.st_mtime >= begun - SKEW_SECONDS:
                yield ElasticError(name, Path(path).read_text("utf-8", "replace"))


def _last_restarts(attempt_dir: str) -> list[str]:
    """The folder of the newest restart of each launcher that this attempt started: what the restarts before it
    failed of was overcome."""
    left, found = [_ENTRIES_MOST], []
    for launcher in _folders(f"{attempt_dir}/{LOG_DIR}", left):
        restarts = [(int(match[1]), path) for path in _folders(launcher, left)
                    if (match := _RESTART.fullmatch(os.path.basename(path)))]  # fmt: skip
        if restarts:
            found.append(max(restarts)[1])
    return found


def _replies(folder: str) -> list[str]:
    return [f"{rank}/{REPLY}" for rank in _folders(folder, [_ENTRIES_MOST])]


def _folders(folder: str, left: list[int]) -> list[str]:
    """Folders in a folder, by name, links apart; `left[0]` is how many more entries may be looked at."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                left[0] -= 1
                if left[0] < 0:
                    break
                if entry.is_dir(follow_symlinks=False):
                    found.append(entry.path)
    except OSError:
        return []
    return sorted(found)
