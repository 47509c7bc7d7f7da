"""What ended badly in all campaigns."""

import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Literal

from overnight.api.errors import NotFound, Refused, Unreachable, in_words
from overnight.api.places import Silent, place_of, places_to_look, root_name
from overnight.manifest.durations import DurationFault, parse_duration
from overnight.model.codec import replace
from overnight.model.reports import LossReport
from overnight.model.time import Moment
from overnight.queries.report import Ground
from overnight.queries.report import report as _report
from overnight.store import ReadStore

if TYPE_CHECKING:
    from pathlib import Path


def report(
    by: Literal["class", "host", "slot", "rule"] = "class",
    *,
    since: str | None = None,
    root: "str | Path | None" = None,
) -> LossReport:
    """Attempts that ended badly, by what they have in common, costliest first, over all campaigns under `root`;
    without one, under every root that `status` lists. `since`: only those of the last `7d`, `12h`, ….

    A database that cannot be opened is named in `unread` and keeps nobody from the others; only if none answers is it
    an error (`Unreachable`). Raises `Refused` for a `since` that is no duration, `NotFound` if nothing was ever
    launched under the `root` that was given.
    """
    start = _start(since)
    if root is not None and not place_of(root_name(root)).begun:
        raise NotFound(f"nothing has been launched under {root_name(root)}", "--root names the directory of campaigns")
    grounds: list[Ground] = []
    hint = None
    with ExitStack() as opened:
        silent = Silent()
        for place in places_to_look(root, silent):
            try:
                with in_words():
                    store = opened.enter_context(closing(ReadStore(place.database)))
            except Unreachable as problem:
                silent.unread(place.root_name, problem.message)
                hint = problem.hint
                continue
            grounds.append(Ground(store, place.root_name))
        unread = silent.left_out
        if unread and not grounds:
            raise Unreachable(unread[0].why, hint)
        with in_words():
            return replace(_report(grounds, by=by, since=start), unread=tuple(unread))


def _start(since: str | None) -> Moment | None:
    if since is None:
        return None
    try:
        return Moment(0.0, time.time() - parse_duration(since), "")
    except DurationFault as fault:
        raise Refused(f"--since: {fault}", fault.hint) from fault
