"""The policy of a campaign file: everything that says how, and nothing of what."""

import fnmatch
import glob
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from overnight.manifest.deadlines import check_deadline
from overnight.manifest.durations import DurationFault
from overnight.manifest.faults import guess
from overnight.manifest.own_failures import read_failures
from overnight.manifest.placeholders import expand_text, words
from overnight.manifest.rows import Written
from overnight.manifest.stops import read_stop, stop_templates
from overnight.manifest.tables import Table, shown
from overnight.manifest.word_checks import check_words
from overnight.model.classes import ATTEMPT_CEILING, CLASSES
from overnight.model.codec import replace
from overnight.model.policy import (
    Artifacts,
    Backoff,
    Checkpoint,
    Code,
    Limits,
    Policy,
    Progress,
    Resources,
    Results,
    RetryPolicy,
)

EXECUTORS = ("local", "fake")
OUT_DIR = "{out_dir}/"
_RETRIES_MOST = ATTEMPT_CEILING
MOST_SLOTS = 1_000_000  # a slip of the keyboard beyond it


def read_policy(top: Table, base: Policy, *, columns: Collection[str] | None, devices: int, folder: Path) -> Policy:
    """The policy that the file's tables give; what they leave out is as in `base`.

    `columns` are those of the rows, for the check of placeholders (None: not known here). `folder` is what a
    relative `cwd` is relative to. `resources.gpus` keeps `base`'s number when the file names none.
    """
    executor = top.choice("executor", EXECUTORS, base.executor)
    policy = replace(
        base,
        resources=_resources(top.table("resources"), base.resources, devices),
        limits=_limits(top.table("limits"), base.limits),
        progress=_progress(top.table("progress"), base.progress),
        checkpoint=_checkpoint(top.table("checkpoint"), base.checkpoint, columns),
        retry=_retry(top.table("retry"), base.retry),
        failures=read_failures(top.table("failures"), base.failures, columns, folder),
        artifacts=_artifacts(top.table("artifacts"), base.artifacts),
        results=_results(top.table("results"), base.results),
        code=_code(top.table("code"), base.code),
        stop=read_stop(top.table("stop"), base.stop, columns),
        fail_fast=top.flag("fail_fast", base.fail_fast),
        executor=executor,
        cwd=_cwd(top, base.cwd, columns, folder),
        fake=base.fake,
    )
    if "fake" not in top:
        return policy
    if executor != "fake":
        top.fault("fake", "only the fake executor reads this table", 'add executor = "fake", or take [fake] out')
        return policy
    return replace(policy, fake={**base.fake, **_plain_table(top.table("fake").data)})


# --- resources ---------------------------------------------------------------------------------------------


def _resources(table: Table, base: Resources, devices: int) -> Resources:
    table.check_keys()
    gpus = base.gpus
    if "gpus" in table:
        found = gpus_of(table.data["gpus"], devices)
        if isinstance(found, str):
            table.fault("gpus", found, GPUS_ALLOWED)
        else:
            gpus = found
    slots = base.slots
    if "slots" in table:
        slots = table.whole("slots", base.slots or 1, least=1, most=MOST_SLOTS)
    return Resources(gpus=gpus, slots=slots)


GPUS_ALLOWED = 'a whole number, a fraction below 1 (shared), "all", or 0'


def gpus_of(value: object, devices: int) -> float | str:
    """GPUs of one attempt, or what is wrong as a sentence. "all" is the number visible where launch was typed."""
    if value == "all":
        return float(devices)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"{shown(value)} is no number of GPUs"
    number = float(value)
    if not 0 <= number < 1e6:  # also refuses nan
        return f"{shown(value)} is no number of GPUs"
    if number > 1 and not number.is_integer():
        return f"{shown(value)} is neither whole nor below 1"
    if number > devices:
        visible = f"only {devices} are" if devices > 1 else "only one is" if devices else "none is"
        asked = f"{number:g} GPU{'s' if number > 1 else ''}"
        return f"each attempt asks for {asked}, but {visible} visible here, so none could ever start"
    return number


# --- limits ------------------------------------------------------------------------------------------------


def _limits(table: Table, base: Limits) -> Limits:
    table.check_keys()
    timeout = table.limit("timeout", base.timeout)
    follows = base.attempt_timeout == base.timeout  # nobody set it apart: it goes where `timeout` goes
    return Limits(
        timeout=timeout,
        attempt_timeout=table.limit("attempt_timeout", timeout if follows else base.attempt_timeout),
        startup=table.limit("startup", base.startup),
        heartbeat=table.auto_limit("heartbeat", base.heartbeat),
        progress=table.auto_limit("progress", base.progress),
        grace=table.duration("grace", base.grace),
        deadline=_deadline(table, base.deadline),
        disk_free=table.size("disk_free", base.disk_free),
        log=table.size("log", base.log),
    )


def _deadline(table: Table, base: str | None) -> str | None:
    text = table.text("deadline", base)
    if text is None or text == base:
        return base
    try:
        check_deadline(text)
    except DurationFault as error:
        table.fault("deadline", str(error), error.hint)
        return base
    return text.strip()


def _progress(table: Table, base: Progress) -> Progress:
    table.check_keys()
    pattern = table.text("pattern", base.pattern)
    if pattern is None or pattern == base.pattern:
        return base
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        table.fault("pattern", f"{shown(pattern)} is no regular expression: {error}", r"'iter (?P<step>\d+)'")
        return base
    except (OverflowError, RecursionError):
        table.fault("pattern", "the regular expression is too large", r"'iter (?P<step>\d+)'")
        return base
    if "step" not in groups:
        table.fault("pattern", f"{shown(pattern)} has no group called step", r"name the number: 'iter (?P<step>\d+)'")
        return base
    return Progress(pattern=pattern)


# --- checkpoint --------------------------------------------------------------------------------------------


def _checkpoint(table: Table, base: Checkpoint, columns: Collection[str] | None) -> Checkpoint:
    table.check_keys()
    path = table.text("path", base.path)
    complete = table.text("complete", base.complete)
    resume = table.texts("resume", base.resume)
    if path is not None and (problem := _outside(path)):
        table.fault("path", problem, "checkpoints lie inside {out_dir}, so that no other run can load them")
        path = base.path
    if complete is not None and (complete.startswith("/") or ".." in complete.split("/")):
        table.fault("complete", f"{shown(complete)} leaves the checkpoint's folder", "a name inside that folder")
    if path is None and "path" not in table:
        for key in ("complete", "resume"):
            if key in table:
                table.fault(key, "there is no checkpoint.path to go with it", 'path = "{out_dir}/…"')
    check_words(table, "path", [path or ""], columns, split_allowed=False)
    check_words(table, "resume", resume, columns, split_allowed=True)
    return Checkpoint(path=path, complete=complete, resume=resume)


def _outside(path: str) -> str | None:
    if ".." in path.split("/"):
        return f"{shown(path)} may leave {{out_dir}}"
    if not path.startswith(OUT_DIR) or path.strip("/") == "{out_dir}":
        return f"{shown(path)} does not begin with {OUT_DIR}"
    return None


# --- retry -------------------------------------------------------------------------------------------------


def _retry(table: Table, base: RetryPolicy) -> RetryPolicy:
    table.check_keys()
    return RetryPolicy(
        max_attempts=table.whole("max_attempts", base.max_attempts, least=1, most=ATTEMPT_CEILING),
        outage=table.duration("outage", base.outage),
        backoff=_backoff(table.table("backoff"), base.backoff),
        by_class={**base.by_class, **_by_class(table.table("class"))},
    )


def _backoff(table: Table, base: Backoff) -> Backoff:
    table.check_keys()
    backoff = Backoff(
        first=table.duration("first", base.first),
        factor=table.number("factor", base.factor, 1, 100),
        max=table.duration("max", base.max),
        jitter=table.number("jitter", base.jitter, 0, 1),
    )
    if backoff.first > backoff.max:
        if "first" in table and "max" in table:
            table.fault("first", "the first pause is longer than the longest", "first is at most max")
            return base
        return replace(backoff, max=max(backoff.first, backoff.max))
    return backoff


def _by_class(table: Table) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, value in _flat(table.data).items():
        if not any(fnmatch.fnmatchcase(name, key) for name in CLASSES):
            table.fault(key, "there is no such failure class", guess(key, CLASSES))
        elif isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _RETRIES_MOST:
            table.fault(key, f"{shown(value)} is no number of retries", f"0 (never) to {_RETRIES_MOST}")
        else:
            found[key] = value
    return found


def _flat(table: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """`oom.gpu = 1` without quotes is a table in a table to the parser; a person means the class."""
    found: dict[str, object] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            found.update(_flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found


# --- artifacts, code, cwd, fake ----------------------------------------------------------------------------


def _artifacts(table: Table, base: Artifacts) -> Artifacts:
    table.check_keys()
    return Artifacts(exclude=table.texts("exclude", base.exclude))


def required_of(table: Table) -> tuple[str, ...]:
    """`artifacts.required`, relative to `{out_dir}`."""
    found = [_inside(table, "required", path, "; globs are allowed") for path in table.texts("required", ())]
    return tuple(dict.fromkeys(path for path in found if path is not None))


def _inside(table: Table, key: str, path: str, also: str = "") -> str | None:
    """`path` relative to `{out_dir}`, without detours; None, and a fault, if it leaves it."""
    relative = path.removeprefix(OUT_DIR)
    parts = relative.split("/")
    if not relative.strip("./") or relative.startswith("/") or ".." in parts or "\0" in relative:
        table.fault(key, f"{shown(path)} is not a file inside {{out_dir}}", "a path relative to {out_dir}")
    elif words([relative]):
        table.fault(key, f"{shown(path)} holds a placeholder", f"the same paths hold for every run{also}")
    else:
        return "/".join(part for part in parts if part not in ("", "."))
    return None


def _results(table: Table, base: Results) -> Results:
    table.check_keys()
    written = table.text("file", None)
    if written is None:
        return base
    file = _inside(table, "file", written)
    if file is None:
        return base
    if glob.has_magic(file):
        table.fault("file", f"{shown(written)} may be several files", "the name of one file, the same for every run")
        return base
    return Results(file=file)


def _code(table: Table, base: Code) -> Code:
    table.check_keys()
    run_or_hold: dict[str, Literal["run", "hold"]] = {"run": "run", "hold": "hold"}
    return Code(on_change=run_or_hold[table.choice("on_change", run_or_hold, base.on_change)])


def _cwd(top: Table, base: str, columns: Collection[str] | None, folder: Path) -> str:
    written = top.text("cwd", None)
    if written is None:
        return base
    check_words(top, "cwd", [written], columns, split_allowed=False)
    absolute = str(Path(literal(str(folder)), written))  # an absolute one stays as it is
    if not words([absolute]) and not Path(expand_text(absolute, {}, {})).is_dir():
        top.fault("cwd", f"{shown(written)} is no directory", f"a directory, relative to {folder}")
    return absolute


def literal(text: str) -> str:
    """A text as a template that gives it back."""
    return text.replace("{", "{{").replace("}", "}}") if "{{" in text or words([text]) else text


def _plain_table(table: Mapping[str, object]) -> dict[str, object]:
    return {key: _plain(value) for key, value in table.items()}


def _plain(value: object) -> object:
    """Without what only TOML knows: dates, and numbers that remember how they were written."""
    if isinstance(value, dict):
        return _plain_table(value)
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, Written):
        return float(value)
    return value if isinstance(value, (str, int, bool)) else str(value)


def policy_words(policy: Policy) -> set[str]:
    """Columns and reserved words that the policy names: every row must have such a column."""
    checkpoint = policy.checkpoint
    templates = [*checkpoint.resume, checkpoint.path or "", policy.cwd, *policy.failures.logs]
    return words([*templates, *stop_templates(policy.stop)])
