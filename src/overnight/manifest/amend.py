"""Amending a campaign: new policy, more rows. What is computed stays; everything else may change."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from overnight.manifest.campaign_file import read_parts
from overnight.manifest.canonical import crockford, difference, digest, manifest_of
from overnight.manifest.durations import spell_duration
from overnight.manifest.faults import Faults, Source
from overnight.manifest.options import overlay
from overnight.manifest.placeholders import RESERVED, split_words, templates_of, words
from overnight.manifest.policy import policy_words, read_policy
from overnight.manifest.rows import read_rows_file
from overnight.manifest.sizes import spell_size
from overnight.manifest.specs import BY_POLICY, POLICY_COLUMNS, specs_of
from overnight.manifest.tables import Table
from overnight.model.codec import Struct, builtins, replace, to_json
from overnight.model.manifest import Fault, Manifest, Refusal, Row, RunSpec
from overnight.model.policy import Policy, RowPolicy

_SHOWN = 10  # changed cells of rows
_COMPUTED = frozenset({"name", "command", "runs", "run", "matrix", "zip", "env"})


class Amendment(Struct, frozen=True):
    """What an amendment comes to. `changed`: rows that are there, with another policy of their own. `changes`: the
    differences of policies in words."""

    policy: Policy
    added: tuple[RunSpec, ...] = ()
    changed: tuple[RunSpec, ...] = ()
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def amend_campaign(
    manifest: Manifest,
    policy: Policy,
    *,
    file: Path | None = None,
    settings: Sequence[str] = (),
    runs: Path | None = None,
    cwd: Path,
    devices: int = 0,
    added: Sequence[RunSpec] = (),
    dropped: Collection[str] = (),
    columns: Collection[str] | None = None,
    own: Mapping[str, RowPolicy] | None = None,
) -> Amendment:
    """What `amend CAMPAIGN [FILE] [--set K=V] [--runs MORE.csv]` asks for, checked.

    `file` replaces the whole policy; it must compute the same, with the same rows or more. `added`: rows of
    earlier amendments; `dropped`: runs that a file need not name any more. `devices`: GPUs of the campaign.
    `columns`: all columns of its rows, to check placeholders in `settings`; None: not checked. `own`: the policy that
    rows have of their own; those that are not named have none.

    Raises `Refusal` with every fault, or with what the file computes otherwise.
    """
    known = _with_rows(manifest, added)
    new: tuple[RunSpec, ...] = ()
    changed: dict[str, RunSpec] = {}
    warnings: tuple[str, ...] = ()
    if file is not None:
        frozen, derived = read_parts(file, name=manifest.name, settings=settings, cwd=cwd, devices=devices)
        _refuse_executor(frozen.policy, policy)
        new, met = _new_rows(frozen.runs, frozen.manifest, known, dropped, str(file), derived=derived)
        changed = _changed(met, own or {}, POLICY_COLUMNS)
        amended, warnings = frozen.policy, frozen.warnings
    else:
        amended = amend_policy(policy, settings, devices=devices, columns=columns, cwd=cwd)
    if runs is not None:
        more = _rows_file(runs, _with_rows(known, new), cwd=cwd, devices=devices, policy=amended)
        new += more.new
        changed |= _changed(more.met, own or {}, more.columns)
    changes = [*policy_changes(policy, amended), *_row_changes(changed, own or {})]
    return Amendment(amended, new, tuple(changed.values()), tuple(changes), warnings)


def amend_policy(
    policy: Policy,
    settings: Sequence[str],
    *,
    devices: int = 0,
    columns: Collection[str] | None = None,
    cwd: Path | None = None,
) -> Policy:
    """The policy with `KEY=VALUE` settings laid over it (`limits.heartbeat=45m`).

    `columns`: those of the campaign's rows, to check placeholders; None: not checked. Raises `Refusal` with
    every fault; also for keys that say what is computed, which no revision changes.
    """
    faults = Faults()
    data: dict[str, object] = {}
    source = overlay(data, Source(faults), settings=settings)
    for key in [key for key in data if key in _COMPUTED]:
        source.fault((key,), *_computed(key))
        del data[key]
    artifacts = data.get("artifacts")
    if isinstance(artifacts, dict) and artifacts.pop("required", None) is not None:
        source.fault(("artifacts", "required"), *_computed("artifacts.required"))
    top = Table(source, data)
    top.check_keys()
    amended = read_policy(top, policy, columns=columns, devices=devices, folder=cwd or Path.cwd())
    if amended.executor != policy.executor:
        source.fault(("executor",), *_other_executor(amended, policy))
    faults.refuse("the amendment")
    return amended


def _computed(key: str) -> tuple[str, str]:
    return (
        f"{key} is part of what is computed, and no revision changes that",
        "launch another campaign, or add rows with --runs",
    )


def _other_executor(new: Policy, old: Policy) -> tuple[str, str]:
    return (
        f"the campaign runs on {old.executor} and cannot move to {new.executor}",
        "launch it with --fresh on the other executor",
    )


def _refuse_executor(new: Policy, old: Policy) -> None:
    if new.executor != old.executor:
        raise Refusal(*_other_executor(new, old))


_RULES_TEXT = "failures.rules.text"
_SIZES = frozenset({"limits.disk_free", "limits.log"})
_DURATIONS = frozenset({"retry.outage", "retry.backoff.first", "retry.backoff.max"})


def policy_changes(old: Policy, new: Policy) -> list[str]:
    """What `new` has otherwise, one phrase a key; durations as they are written in a campaign file."""
    before, after = _flat(builtins(old)), _flat(builtins(new))
    return [
        f"{key}: {_word(key, before.get(key))} became {_word(key, after.get(key))}"
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key) and key != _RULES_TEXT  # pages; the digest says that it changed
    ]


def _flat(table: dict[str, object], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            found.update(_flat(value, f"{prefix}{key}."))
        else:
            found[prefix + key] = value
    return found


def _word(key: str, value: object) -> str:
    if key == "failures.rules.sha256" and isinstance(value, str):
        return value[:12]
    if isinstance(value, float) and (key.startswith("limits.") or key in _DURATIONS):
        return spell_duration(value)
    if isinstance(value, int) and key in _SIZES:
        return spell_size(value)
    if key == "limits.deadline" and value is None:
        return "the scheduler's"
    return "none" if value is None else str(value)


# --- rows --------------------------------------------------------------------------------------------------


class _File(Struct, frozen=True):
    """What a file of rows brings. `met`: rows that the campaign has already; `columns`: the file's."""

    new: tuple[RunSpec, ...]
    met: tuple[RunSpec, ...]
    columns: tuple[str, ...]


def read_rows(
    path: Path, manifest: Manifest, *, cwd: Path, devices: int = 0, policy: Policy | None = None
) -> tuple[RunSpec, ...]:
    """The new rows of a CSV or JSON-lines file, for a campaign that has those of `manifest`. `policy`: theirs.

    A row that the campaign has already, name and values, is left out, so that the same amendment typed twice
    adds once. Raises `Refusal`: faults of the file; a column missing that the command names; a run_id that the
    campaign has with other values.
    """
    return _rows_file(path, manifest, cwd=cwd, devices=devices, policy=policy).new


def _rows_file(path: Path, manifest: Manifest, *, cwd: Path, devices: int, policy: Policy | None) -> _File:
    faults = Faults()
    rows = read_rows_file(cwd / path, str(path), faults)
    if rows is None:
        faults.refuse(str(path))
        raise AssertionError("unreachable: no rows without a fault")
    templates = templates_of(manifest.command, manifest.env)
    used = words(templates) - RESERVED
    for column in sorted(used - set(rows.columns)):
        faults.add(f"there is no column {column}, which the command or [env] names", file=str(path))
    by_policy = set() if policy is None else policy_words(policy) - RESERVED - used
    for column in sorted(by_policy - set(rows.columns)):
        faults.add(f"there is no column {column}, which {BY_POLICY} names", file=str(path))
    faults.refuse(str(path))
    specs = specs_of(rows, used, split_words(templates) & used, faults, devices, by_policy=by_policy)
    faults.refuse(str(path))
    new = manifest_of(manifest.name, manifest.command, manifest.env, manifest.required, specs, sorted(used))
    everything = [row.run_id for row in manifest.rows]
    found, met = _new_rows(specs, new, manifest, everything, str(path), derived="run_id" not in rows.columns)
    return _File(found, met, rows.columns)


def _changed(met: Sequence[RunSpec], own: Mapping[str, RowPolicy], columns: Collection[str]) -> dict[str, RunSpec]:
    """Rows whose `@` cells say something else than before. A column that the file lacks says nothing."""
    found: dict[str, RunSpec] = {}
    for spec in met:
        before = own.get(spec.run_id, RowPolicy())
        now = RowPolicy(
            gpus=spec.policy.gpus if "@gpus" in columns else before.gpus,
            timeout=spec.policy.timeout if "@timeout" in columns else before.timeout,
            unbounded=spec.policy.unbounded if "@timeout" in columns else before.unbounded,
            priority=spec.policy.priority if "@priority" in columns else before.priority,
        )
        if now != before:
            found[spec.run_id] = replace(spec, policy=now)
    return found


def _row_changes(changed: Mapping[str, RunSpec], own: Mapping[str, RowPolicy]) -> list[str]:
    """One phrase a cell, of the first rows."""
    found: list[str] = []
    for run_id, spec in changed.items():
        before, now = (_cells(policy) for policy in (own.get(run_id, RowPolicy()), spec.policy))
        found += [f"{run_id}: {key}: {before[key]} became {now[key]}" for key in now if before[key] != now[key]]
    more = len(found) - _SHOWN
    return [*found[:_SHOWN], f"and {more:,} more cells of rows"] if more > 0 else found


def _cells(policy: RowPolicy) -> dict[str, str]:
    timeout = "none" if policy.unbounded else "empty" if policy.timeout is None else spell_duration(policy.timeout)
    gpus = "empty" if policy.gpus is None else f"{policy.gpus:g}"
    return {"@gpus": gpus, "@timeout": timeout, "@priority": str(policy.priority)}


def _new_rows(
    specs: Sequence[RunSpec],
    new: Manifest,
    known: Manifest,
    absent: Collection[str],
    what: str,
    *,
    derived: bool,
) -> tuple[tuple[RunSpec, ...], tuple[RunSpec, ...]]:
    """The specs that `known` does not have, and those it has. `absent`: rows of `known` that `new` need not have."""
    if derived:
        specs, new = _renamed(specs, new, known)
    had = {row.run_id: row for row in known.rows}
    mine = {row.run_id for row in new.rows}
    left_out = set(absent)
    kept = tuple(row for row in known.rows if row.run_id in mine or row.run_id not in left_out)
    fresh = {row.run_id for row in new.rows if row.run_id not in had}
    words_of_difference = difference(
        replace(known, rows=kept), replace(new, rows=tuple(row for row in new.rows if row.run_id not in fresh))
    )
    changes = [words for words in words_of_difference if words != "the rows are the same in another order"]
    if changes:
        raise Refusal(
            f"{what} computes something else: {'; '.join(changes)}",
            "launch it as another campaign (--fresh), or keep the rows as they were and add new ones",
            tuple(Fault(message=change, file=what) for change in changes),
        )
    new_ones = tuple(spec for spec in specs if spec.run_id in fresh)
    return new_ones, tuple(spec for spec in specs if spec.run_id not in fresh)


def _renamed(specs: Sequence[RunSpec], new: Manifest, known: Manifest) -> tuple[list[RunSpec], Manifest]:
    """Derived names depend on all rows of a file: more rows, other names. A row that computes what a known one
    does keeps the known name; a new one must not take a name that is taken."""
    names: dict[bytes, list[str]] = {}
    for row in known.rows:
        names.setdefault(_content(row), []).append(row.run_id)
    for same in names.values():
        same.reverse()
    taken = {row.run_id for row in known.rows}
    renamed_specs, renamed_rows = [], []
    for spec, row in zip(specs, new.rows, strict=True):
        content = _content(row)
        same = names.get(content, [])
        if same:
            name = same.pop()
        else:
            name = row.run_id
            if name in taken:
                name = f"{name}-{crockford(bytes.fromhex(digest(content)), 6)}"
            number, base = 1, name
            while name in taken:
                number += 1
                name = f"{base}-{number}"
        taken.add(name)
        renamed_specs.append(replace(spec, run_id=name))
        renamed_rows.append(replace(row, run_id=name))
    return renamed_specs, replace(new, rows=tuple(renamed_rows))


def _content(row: Row) -> bytes:
    return to_json([row.values, row.env])


def _with_rows(manifest: Manifest, specs: Sequence[RunSpec]) -> Manifest:
    if not specs:
        return manifest
    used = sorted(words(templates_of(manifest.command, manifest.env)) - RESERVED)
    more = manifest_of(manifest.name, manifest.command, manifest.env, manifest.required, specs, used)
    return replace(manifest, rows=manifest.rows + more.rows)
