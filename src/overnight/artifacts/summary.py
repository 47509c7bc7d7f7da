"""summary.json (schema 1) and attempt.json: what became of a run, for people's scripts and for `rebuild`."""

import json
import math
from collections.abc import Mapping

from overnight.artifacts.times import when
from overnight.core.ending import ended_by
from overnight.model.campaign import Campaign
from overnight.model.classes import Classification
from overnight.model.gpu_time import gpu_time
from overnight.model.manifest import RunSpec
from overnight.model.run import Attempt, Run
from overnight.model.states import RunState

SCHEMA = 1

_encode = json.JSONEncoder(ensure_ascii=False).encode  # made once: json.dumps would make one a call

_Document = dict[str, object]


def summary(run: Run, spec: RunSpec, campaign: Campaign, saved: Mapping[int, tuple[str, ...]]) -> _Document:
    """The document of an ended run.

    `attempts` are those of all epochs that began, each with its epoch; `seconds`, `started_at` and `ended_at` speak of
    the present epoch. `exit_code` and `signal` are the last attempt's. `gpu_hours`: see `gpu_hours`. Times are UTC.
    `saved`: by attempt, the files in its evidence/.
    """
    began = [attempt for attempt in run.attempts if not attempt.never_began]
    last = began[-1] if began else None
    this_epoch = [attempt for attempt in began if attempt.epoch == run.epoch]
    ok = run.state == RunState.SUCCEEDED
    flags = dict.fromkeys([*run.flags, *(flag for attempt in this_epoch for flag in attempt.flags)])
    return {
        "schema": SCHEMA,
        "campaign": run.campaign,
        "manifest_sha256": campaign.sha256,
        "run_id": run.run_id,
        "params": spec.params,
        "final": True,
        "ok": ok,
        "state": run.state.value,
        "exit_code": last.exit.code if last is not None and last.exit is not None else None,
        "signal": last.exit.signal if last is not None and last.exit is not None else None,
        "flags": list(flags),
        "failure": None if ok else _failure(run, last),
        "words": run.words,
        "attempts": [attempt_entry(attempt, saved.get(attempt.n, ())) for attempt in began],
        "progress": _progress(began),
        "metrics": newest_metrics(began),
        "gates": {},
        "started_at": when(this_epoch[0].started or this_epoch[0].planned) if this_epoch else None,
        "ended_at": when(run.changed or (last.ended if last is not None else None)),
        "seconds": round(run.ran_seconds, 3),
        "gpu_hours": gpu_hours(run, campaign),
    }


def attempt_entry(attempt: Attempt, saved: tuple[str, ...]) -> _Document:
    """One attempt in a summary. `class` is null for one in which nothing failed."""
    exit_record, found = attempt.exit, attempt.classification
    return {
        "n": attempt.n,
        "epoch": attempt.epoch,
        "revision": attempt.revision,
        "code": attempt.code,
        "class": found.name if found is not None and found.name != "none" else None,
        "exit_code": exit_record.code if exit_record is not None else None,
        "signal": exit_record.signal if exit_record is not None else None,
        "ended_by": ended_by(attempt).value,
        "started_at": when(attempt.started or attempt.planned),
        "ended_at": when(attempt.ended),
        "seconds": round(attempt.seconds, 3),
        "slot": attempt.slot.name,
        "resumed_from": attempt.resume_from,
        "evidence": list(saved),
    }


def attempt_document(run: Run, attempt: Attempt, saved: tuple[str, ...]) -> _Document:
    """attempt.json: the entry of the summary, and all that is known beside it."""
    exit_record, vitals = attempt.exit, attempt.vitals
    return {
        "schema": SCHEMA,
        "campaign": run.campaign,
        "run_id": run.run_id,
        **attempt_entry(attempt, saved),
        "failure": _classified(attempt.classification),
        "words": attempt.stop_words or attempt.cause_words,
        "scheduler": attempt.scheduler,
        "flags": list(attempt.flags),
        "counted": attempt.counted,
        "progress": _progress([attempt]),
        "metrics": newest_metrics([attempt]),
        "lines": vitals.lines,
        "cpu_seconds": round(exit_record.cpu_seconds, 3) if exit_record is not None else None,
        "max_rss_kib": exit_record.max_rss_kib if exit_record is not None else None,
        "error": exit_record.error if exit_record is not None else None,
        "swept": exit_record.swept if exit_record is not None else None,
    }


def gpu_hours(run: Run, campaign: Campaign) -> dict[str, float]:
    """GPU-hours of all attempts by the rule of `model.gpu_time`."""
    times = gpu_time(run, campaign.policy)
    useful, lost = sum(time.useful for time in times), sum(time.lost for time in times)
    return {"useful": round(useful / 3600, 4), "lost": round(lost / 3600, 4)}


def _failure(run: Run, last: Attempt | None) -> _Document:
    found = run.failure or (last.classification if last is not None else None)
    if found is None or found.name == "none":
        name = "cancelled" if run.state == RunState.CANCELLED else "unknown"
        found = Classification(name, message=run.words)
    document = _classified(found)
    assert document is not None  # its name is not `none`
    return document


def _classified(found: Classification | None) -> _Document | None:
    if found is None or found.name == "none":
        return None
    evidence = found.evidence
    return {
        "class": found.name,
        "transient": found.transient,
        "rule": found.rule,
        "message": found.message,
        "evidence": None if evidence is None else {"file": evidence.file, "line": evidence.line, "text": evidence.text},
        "consequences": list(found.consequences),
    }


def _progress(attempts: list[Attempt]) -> _Document | None:
    for attempt in reversed(attempts):
        if attempt.vitals.step is not None:
            return {"step": attempt.vitals.step, "total": attempt.vitals.total}
    return None


def newest_metrics(attempts: list[Attempt]) -> dict[str, float]:
    """The newest ones seen. Not-a-numbers have no JSON and are left out."""
    for attempt in reversed(attempts):
        if attempt.vitals.metrics:
            return {name: value for name, value in attempt.vitals.metrics.items() if math.isfinite(value)}
    return {}


def readable(document: Mapping[str, object]) -> bytes:
    """JSON with a line for each top-level key, in the order given. Text that is no Unicode is kept as escapes."""
    lines = ",\n".join(f'  "{name}": {_value(value)}' for name, value in document.items())
    return f"{{\n{lines}\n}}\n".encode("utf-8", "backslashreplace")


def _value(value: object) -> str:
    if value is None:  # the encoder is made anew for each value that is not a string: most are one of these
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | dict) and not value:
        return "{}" if isinstance(value, dict) else "[]"
    if isinstance(value, list) and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"    {_encode(item)}" for item in value) + "\n  ]"
    return _encode(value)
