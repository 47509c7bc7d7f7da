"""Records: structs to columns and back. What cannot be read back concerns one run, never the others."""

from collections.abc import Iterator
from typing import Any, TypeVar

from overnight.core.ending import ended_by
from overnight.model.codec import builtins, convert, from_json, replace, to_json
from overnight.model.gpu_time import gpu_time
from overnight.model.manifest import RunSpec
from overnight.model.policy import Policy
from overnight.model.run import Attempt, Run, Vitals
from overnight.model.states import AttemptState, RunState

T = TypeVar("T")

_POSITION_BITS = 32
CAMPAIGN_ITSELF = (1 << _POSITION_BITS) - 1  # the position under which a campaign's own story is kept
_QUIET = frozenset({RunState.PENDING, RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})

RunColumns = tuple[str, int, str | None, int, int, int | None, float, float, bytes, int]
SetbackColumns = tuple[int, int, int, str, str, int, int, float]
JoinedColumns = tuple[str, str, int, bytes, bytes | None, int | None, bytes | None]


def key(seq: int, position: int) -> int:
    """The key of a run: a campaign's runs are one range of keys, in file order."""
    return seq << _POSITION_BITS | position


def position(run_key: int) -> int:
    """The position of a run within its campaign."""
    return run_key & CAMPAIGN_ITSELF


def run_columns(run: Run, run_key: int, policy: Policy) -> tuple[RunColumns, list[SetbackColumns]]:
    """The run as columns of `run`, and its attempts that ended badly as columns of `setback`."""
    times = {time.n: time for time in gpu_time(run, policy)}
    began = sum(not a.never_began for a in run.attempts)
    columns: RunColumns = (
        run.state.value,
        run.policy.priority,
        _cause(run),
        began,
        run.attempts[-1].n if run.attempts else 0,
        1 if run.owed or run.state not in _QUIET else None,
        sum(time.useful for time in times.values()),
        sum(time.lost for time in times.values()),
        encode(run),
        run_key,
    )
    setbacks = [
        (
            run_key,
            a.n,
            run_key >> _POSITION_BITS,
            name,
            by,
            int(again),
            int(resumed),
            times[a.n].lost if a.n in times else 0.0,
        )
        for a, name, by, again, resumed in _setbacks(run)
    ]
    return columns, setbacks


def _cause(run: Run) -> str | None:
    if run.state == RunState.FAILED:
        return run.failure.name if run.failure is not None else "unknown"
    if run.state == RunState.HELD:
        return run.cause or "held"
    newest = run.attempt
    return "lost" if newest is not None and newest.state == AttemptState.LOST else None


def _setbacks(run: Run) -> Iterator[tuple[Attempt, str, str, bool, bool]]:
    """(attempt, class, who ended it, tried again by itself, resumed) of those that ended badly."""
    later: Attempt | None = None
    for attempt in reversed(run.attempts):
        found = attempt.classification
        if attempt.never_began:
            continue
        if not attempt.live and found is not None and found.name != "none":
            again = later is not None and later.epoch == attempt.epoch  # not yet, while the run waits
            resumed = later is not None and later.resume_from is not None
            yield attempt, found.name, ended_by(attempt).value, again, resumed
        later = attempt


def read_run(columns: JoinedColumns) -> Run:
    """A run from its record, the newest vitals of a live attempt put in. One that cannot be read comes back
    held, cause `internal`: nothing of it starts until a person has looked."""
    campaign, run_id, run_key, spec, body, vitals_n, vitals_body = columns
    if body is None:
        try:
            policy = decode(spec, RunSpec).policy
        except ValueError as problem:
            return _unreadable(campaign, run_id, run_key, problem)
        return Run(campaign=campaign, run_id=run_id, position=position(run_key), policy=policy)
    try:
        run = decode(body, Run)
        newest = run.live_attempt
        if newest is not None and vitals_body is not None and vitals_n == newest.n:
            newest = replace(newest, vitals=decode(vitals_body, Vitals))
            run = replace(run, attempts=(*run.attempts[:-1], newest))
    except ValueError as problem:
        return _unreadable(campaign, run_id, run_key, problem)
    return run


def _unreadable(campaign: str, run_id: str, run_key: int, problem: ValueError) -> Run:
    words = f"its record cannot be read ({problem}); see that none of its processes lives before you resume"
    return Run(
        campaign=campaign, run_id=run_id, position=position(run_key), state=RunState.HELD, cause="internal", words=words
    )


def encode(value: Any) -> bytes:
    """A record as JSON. Half characters (a log or a path that is no UTF-8) become `?`: one run's odd words
    must not keep everybody's turn from being committed."""
    try:
        return to_json(value)
    except UnicodeEncodeError:
        return to_json(_whole_characters(builtins(value)))


def text(words: str) -> str:
    """Words as the database can hold them; see `encode`."""
    return words if words.isascii() else words.encode("utf-8", "replace").decode()


def _whole_characters(value: Any) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return {text(name): _whole_characters(each) for name, each in value.items()}
    return [_whole_characters(each) for each in value] if isinstance(value, list | tuple) else value


def decode(data: bytes, kind: type[T]) -> T:
    """Decode a record; raises ValueError. A metric that was NaN or infinite is stored as null (JSON has no
    word for it) and left out here: a loss that diverged must not make its run unreadable."""
    try:
        return from_json(data, kind)
    except ValueError:
        return convert(_without_null_metrics(from_json(data, object)), kind)


def _without_null_metrics(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_null_metrics(each) for each in value]
    if not isinstance(value, dict):
        return value
    clean = {name: _without_null_metrics(each) for name, each in value.items()}
    if isinstance(clean.get("metrics"), dict):
        clean["metrics"] = {name: each for name, each in clean["metrics"].items() if each is not None}
    return clean
