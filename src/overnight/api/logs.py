"""Where a run's output is, and following it as it grows, across attempts."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from overnight.api.errors import NotFound
from overnight.model.codec import Struct
from overnight.model.states import ENDED

if TYPE_CHECKING:
    from overnight.api.campaign import Campaign
    from overnight.model.run import Run

FOLLOW_SECONDS = 0.2
_CHUNK = 1 << 16


class Log(Struct, frozen=True):
    """The output of one attempt. `final`: the run has ended, nothing will be added."""

    run_id: str
    attempt: int
    path: Path
    final: bool


def newest_log(campaign: "Campaign", run_id: str, attempt: int | None = None) -> Log:
    """The log of a run's newest attempt that has one, or of the attempt named. Raises `NotFound`."""
    run = _run(campaign, run_id)
    numbers = [known.n for known in run.attempts]
    if attempt is not None and attempt not in numbers:
        there = f"it has {', '.join(map(str, numbers))}" if numbers else "it has not started"
        raise NotFound(f"{run_id} has no attempt {attempt}: {there}", f"overnight why {campaign.id} {run_id}")
    for n in [attempt] if attempt is not None else reversed(numbers):
        path = _path(campaign, run_id, n)
        if path is not None:
            return Log(run_id, n, path, run.ended)
    if not numbers:
        raise NotFound(f"{run_id} has not started yet", f"overnight why {campaign.id} {run_id}")
    words = "left no output" if run.ended else "has no output yet"
    raise NotFound(f"{run_id} {words} (attempt {numbers[-1]})", f"overnight why {campaign.id} {run_id}")


def follow(campaign: "Campaign", run_id: str) -> Iterator[bytes | Log]:
    """The output as it comes, from the newest attempt's beginning until the run has ended. A `Log` comes
    before the first bytes of each attempt."""
    current: int | None = None
    offset = 0
    while True:
        run = _run(campaign, run_id)  # before reading: what is written before the end is read after it
        numbers = [known.n for known in run.attempts]
        for n in numbers if current is not None else numbers[-1:]:
            if current is not None and n < current:
                continue
            path = _path(campaign, run_id, n)
            if path is None:
                continue
            if n != current:
                current, offset = n, 0
                yield Log(run_id, n, path, run.ended)
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:  # it moves to the root as it ends
                offset = offset if file.seek(0, os.SEEK_END) >= offset else 0  # shorter: its program began it anew
                file.seek(offset)
                while chunk := file.read(_CHUNK):
                    offset += len(chunk)
                    yield chunk
        if run.state in ENDED:
            return
        time.sleep(FOLLOW_SECONDS)


def _run(campaign: "Campaign", run_id: str) -> "Run":
    from overnight.ports import RunRef

    with campaign.reading() as store:
        run = store.run(RunRef(campaign.id, run_id))
    if run is None:
        raise NotFound(f"no run {run_id} in {campaign.id}", f"overnight status {campaign.id} lists its runs")
    return run


def saved_evidence(campaign: "Campaign", run_id: str, n: int) -> tuple[str, ...]:
    """Names of the files that were saved of an attempt before it was ended."""
    from overnight.artifacts.layout import evidence_names

    return next((names for folder in _folders(campaign, run_id, n) if (names := evidence_names(folder))), ())


def _path(campaign: "Campaign", run_id: str, n: int) -> Path | None:
    """The attempt's output."""
    for folder in _folders(campaign, run_id, n):
        path = Path(folder) / "output.log"
        if path.is_file():
            return path
        if path.exists():
            raise NotFound(f"{path} is no regular file any more", "somebody has put something else in its place")
    return None


def _folders(campaign: "Campaign", run_id: str, n: int) -> Iterator[str]:
    """Where the attempt's files may be: under the root, or, where that is no local file system, under the state."""
    from overnight.artifacts.layout import Layout
    from overnight.artifacts.roots import attempts_home

    layout = Layout(str(campaign.root), str(attempts_home(campaign.root, campaign.place.state)))
    yield layout.attempt_dir(campaign.id, run_id, n)
    yield layout.published_dir(campaign.id, run_id, n)
