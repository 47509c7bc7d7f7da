"""The slots of this host, from any shell: look at them, set GPUs aside, let them go. No supervisor is needed."""

import os
import time
from collections.abc import Callable, Sequence
from functools import partial

from overnight.api.errors import NotFound, Refused, Unreachable
from overnight.executors.slot_files import MARKS, Mark, SlotFiles, slots_home
from overnight.manifest.deadlines import next_time_of_day
from overnight.manifest.durations import EXAMPLES, DurationFault, parse_duration
from overnight.model.reports import SlotLine, SlotsReport
from overnight.queries.slots import slots as _slots


def slots() -> SlotsReport:
    """Every GPU of this host and the CPU slots in use: who holds them, since when, what is set aside and why."""
    try:
        return _slots(os.environ)
    except OSError as problem:
        raise _unusable(problem) from problem


def drain(names: Sequence[str], until: str | None = None, why: str = "") -> SlotsReport:
    """Give these GPUs to nobody any more; what runs on them goes on. `until`: a time of day (`08:00`: the next one) or
    a duration (`2h`), after which the drain is over by itself.

    Raises `NotFound` for a GPU that is not there, `Refused` for an `until` that is none; then nothing is changed.
    """
    ends = None if until is None else _ends(until)
    chosen = _chosen(names)
    for line in chosen:
        if line.slot.startswith("cpu:"):
            hint = "overnight pause CAMPAIGN keeps a campaign from starting more"
            raise Refused(f"{line.slot} cannot be drained: CPU slots have no fixed number", hint)
    files = SlotFiles(slots_home(os.environ))
    for line in chosen:
        _allowed(files, line, partial(files.mark, "drain", line.key, line.slot, why, ends))
    return slots()


def release(names: Sequence[str]) -> SlotsReport:
    """End drains and quarantines of these slots; one that is in neither stays as it is. Raises `NotFound`, and
    `Refused` for a mark that is another user's: then those named before it are released."""
    files = SlotFiles(slots_home(os.environ))
    for line in _chosen(names):
        for kind in MARKS:
            _allowed(files, line, partial(files.unmark, kind, line.key))
    return slots()


def _allowed(files: SlotFiles, line: SlotLine, act: Callable[[], object]) -> None:
    try:
        act()
    except PermissionError as problem:
        marks: list[Mark] = [mark for kind in MARKS if (mark := files.marked(kind, line.key)) is not None]
        by = marks[0].by if marks else "another user"
        raise Refused(f"{line.slot} was set aside by {by}", f"only {by} or root can change that") from problem
    except OSError as problem:
        raise _unusable(problem) from problem


def _chosen(names: Sequence[str]) -> list[SlotLine]:
    known = [line for line in slots().slots if "#" not in line.slot]
    found: dict[str, SlotLine] = {}
    for name in (part.strip() for each in names for part in each.removeprefix("gpu:").split(",")):
        lines = [line for line in known if _is(line, name)]
        if len(lines) != 1:
            there = ", ".join(line.slot for line in known) or "none"
            what = f"{name!r} is the beginning of several UUIDs" if lines else f"this host has no slot {name!r}"
            raise NotFound(what, f"there are: {there}")
        found[lines[0].key] = lines[0]
    return list(found.values())


def _is(line: SlotLine, name: str) -> bool:
    exact = name in (line.slot, line.slot.removeprefix("gpu:"), line.key, line.uuid)
    return exact or (len(name) > 4 and name.startswith(("GPU-", "MIG-")) and line.key.startswith(f"gpu-{name}"))


def _ends(until: str) -> float:
    """Unix seconds."""
    now = time.time()
    ends = next_time_of_day(until, now)
    if ends is not None:
        return ends
    try:
        return now + parse_duration(until)
    except DurationFault as fault:
        raise Refused(f"--until: {fault}", f'a time of day ("08:00"), or {EXAMPLES}') from fault


def _unusable(problem: OSError) -> Unreachable:
    where = problem.filename or slots_home(os.environ)
    return Unreachable(f"the slots of this host cannot be used: {problem.strerror}: {where}")
