"""Knobs: what a scripted attempt does, by run and attempt; read from a `[fake]` table and checked."""

import difflib
import random
import signal
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from overnight.model.codec import Struct, ValidationError, convert, field
from overnight.model.manifest import Fault, Refusal

_SELECTORS = {"run", "attempt"}  # of a rule: which attempts it is for
_TOP = {"seed", "rule"}


class Knobs(Struct, frozen=True, forbid_unknown_fields=True):
    """One attempt's script. All times are seconds from its start, unless said."""

    seconds: float | tuple[float, float] | None = None  # until it ends by itself; a range: by the seed
    claim_after: float = 0.0  # from the order to the start
    exit_code: int = 0
    signal: str | None = None  # it ends by this signal instead of the exit code
    output: tuple[tuple[float, str], ...] = ()  # (when, text)
    steps: int = 0  # prints `iter N: loss …` this often, every `step_seconds`
    step_seconds: float = 1.0
    startup_seconds: float = 0.0  # before the first step
    checkpoint_every: int = 0  # steps; 0: none
    checkpoint_file: str = "ckpt-{step}.pt"
    resumes: bool = True  # goes on behind the newest checkpoint when it is told of one
    files: dict[str, str] = field(default_factory=dict)  # left in out/ by an exit code 0
    start_error: str | None = None  # the command cannot be started: these words
    never_begins: bool = False
    hangs_after: float | None = None  # silent for ever
    spins_after: float | None = None  # prints for ever without an advance
    ignores_term: bool = False
    lost_at: float | None = None
    found_at: float | None = None  # None: never
    vanishes_at: float | None = None  # its shim dies without a record
    cause: str | None = None  # its end has this class: node.lost, preempted, …
    scheduler: str | None = None  # the batch system's word for an end by itself: OUT_OF_MEMORY, PREEMPTED, …
    duplicates: bool = False  # every report comes twice
    late: float | None = None  # this long after its end its start is reported once more
    contradicts: int | None = None  # its end is reported once more, with this exit code
    margin: float = 600.0  # beyond the bound, before its shim ends it


_FIELDS = frozenset(Knobs.__struct_fields__)
_NOT_NEGATIVE = (
    "claim_after", "steps", "startup_seconds", "checkpoint_every", "hangs_after", "spins_after", "lost_at", "found_at",
    "vanishes_at", "late", "margin",
)  # fmt: skip


def check_knobs(table: Mapping[str, object]) -> list[str]:
    """Everything that is wrong with a `[fake]` table, each as one sentence; empty: it can be followed."""
    faults: list[str] = []
    seed = table.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        faults.append(f"seed: a whole number is wanted, not {seed!r}")
    faults += _check_one("", {key: value for key, value in table.items() if key not in _TOP}, _FIELDS | _TOP)
    rules = table.get("rule", ())
    if not isinstance(rules, list | tuple):
        return [*faults, "rule: tables [[fake.rule]] are wanted"]
    for number, rule in enumerate(rules, start=1):
        if not isinstance(rule, Mapping):
            faults.append(f"rule {number}: a table [[fake.rule]] is wanted, not {rule!r}")
            continue
        where = f"rule {number}: "
        if not isinstance(rule.get("run", "*"), str):
            faults.append(f"{where}run: a pattern of run names is wanted, not {rule['run']!r}")
        attempts = rule.get("attempt", 1)
        if not all(isinstance(n, int) and n >= 1 for n in (attempts if isinstance(attempts, list) else [attempts])):
            faults.append(f"{where}attempt: a number from 1, or a list of such, is wanted, not {attempts!r}")
        knobs = {key: value for key, value in rule.items() if key not in _SELECTORS}
        faults += _check_one(where, knobs, _FIELDS | _SELECTORS)
    return faults


def _check_one(where: str, table: Mapping[str, Any], allowed: frozenset[str] | set[str]) -> list[str]:
    faults = []
    for key in table.keys() - _FIELDS:
        near = difflib.get_close_matches(key, allowed, 1)
        faults.append(f"{where}{key}: no such knob" + (f"; did you mean {near[0]}?" if near else ""))
    known = {key: value for key, value in table.items() if key in _FIELDS}
    try:
        knobs = convert(known, Knobs)
    except ValidationError as error:
        return [*faults, f"{where}{error}"]
    for key in _NOT_NEGATIVE:
        value = getattr(knobs, key)
        if value is not None and value < 0:
            faults.append(f"{where}{key}: {value:g} is negative")
    lengths = knobs.seconds if isinstance(knobs.seconds, tuple) else (knobs.seconds or 0.0,)
    if min(lengths) < 0 or list(lengths) != sorted(lengths):
        faults.append(f"{where}seconds: a time, or [least, most], is wanted")
    if knobs.step_seconds <= 0:
        faults.append(f"{where}step_seconds: {knobs.step_seconds} is no time between two steps")
    if not 0 <= knobs.exit_code <= 255:
        faults.append(f"{where}exit_code: {knobs.exit_code} is not between 0 and 255")
    if knobs.signal is not None and knobs.signal not in signal.Signals.__members__:
        faults.append(f"{where}signal: {knobs.signal!r} is none; names look like SIGKILL")
    return faults


def knobs_for(table: Mapping[str, object], run_id: str, n: int) -> tuple[Knobs, float]:
    """The knobs of attempt `n` of a run, and how long it takes by itself (seconds). Rules apply in order, later
    ones win. Raises Refusal for a table that cannot be followed."""
    faults = check_knobs(table)
    if faults:
        raise Refusal(
            "the [fake] table cannot be followed",
            "docs/reference/fake-executor.md lists the knobs",
            tuple(Fault(fault) for fault in faults),
        )
    merged = {key: value for key, value in table.items() if key not in _TOP}
    rules = table.get("rule", ())
    assert isinstance(rules, list | tuple)
    for rule in rules:
        attempts = rule.get("attempt")
        wanted = attempts if isinstance(attempts, list) else [attempts]
        if fnmatchcase(run_id, rule.get("run", "*")) and (attempts is None or n in wanted):
            merged.update({key: value for key, value in rule.items() if key not in _SELECTORS})
    knobs = convert(merged, Knobs)
    return knobs, _length(knobs, random.Random(f"{table.get('seed', 0)}/{run_id}/{n}").random())


def _length(knobs: Knobs, chance: float) -> float:
    if isinstance(knobs.seconds, tuple):
        least, most = knobs.seconds
        return least + (most - least) * chance
    if knobs.seconds is not None:
        return knobs.seconds
    return knobs.startup_seconds + knobs.steps * knobs.step_seconds if knobs.steps else 1.0
