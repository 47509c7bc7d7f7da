"""Rows to runs: names, policy columns, and every check of a single row."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from overnight.manifest.canonical import crockford
from overnight.manifest.durations import DurationFault, parse_duration
from overnight.manifest.faults import Faults, guess
from overnight.manifest.placeholders import QUOTING, RESERVED, split_value
from overnight.manifest.policy import GPUS_ALLOWED, gpus_of
from overnight.manifest.rows import Rows
from overnight.model.codec import to_json
from overnight.model.manifest import RunSpec
from overnight.model.policy import RowPolicy

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
RUN_ID_ALLOWED = "letters, digits, dot, dash and underscore, at most 128, the first a letter or digit"
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ENV_PREFIX = "@env."
BY_POLICY = "checkpoint, cwd, failures.logs or stop"
POLICY_COLUMNS = ("@gpus", "@timeout", "@priority")
_NO_CELLS = ("", "", "")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_DERIVED_CHARACTERS = 100
_PRIORITY = re.compile(r"[+-]?\d{1,9}")


def specs_of(
    rows: Rows,
    used: Collection[str],
    split: Collection[str],
    faults: Faults,
    devices: int,
    *,
    by_policy: Collection[str] = (),
) -> list[RunSpec]:
    """The runs of the rows, in order; rows with faults are left out (the faults refuse the whole).

    `used`: the columns that make up what is computed; `split`: those that appear as `{x...}`; `by_policy`:
    those that checkpoint, cwd, failures.logs or stop.command name.
    """
    _check_columns(rows, faults)
    plain = [column for column in rows.columns if not column.startswith("@") and column != "run_id"]
    env = {column: column[len(ENV_PREFIX) :] for column in rows.columns if column.startswith(ENV_PREFIX)}
    needed = [column for column in plain if column in used]
    present = [column for column in plain if column in used or column in by_policy]
    policies = _RowPolicies(rows.file, faults, devices)
    specs = []
    for values, line in zip(rows.values, rows.lines, strict=True):
        for column in present:
            if column not in values:
                where = "the command or [env]" if column in used else BY_POLICY
                faults.add(f"this row has no {column}, which {where} names", file=rows.file, line=line)
        for column in split:
            _check_split(column, values.get(column, ""), rows.file, line, faults)
        specs.append(
            RunSpec(
                run_id=values.get("run_id", ""),
                params={column: values[column] for column in plain if column in values},
                env={name: values[column] for column, name in env.items() if values.get(column)},
                policy=policies.of(values, line),
            )
        )
    if "run_id" in rows.columns:
        _check_run_ids(specs, rows, faults)
        return specs
    return [_named(spec, run_id) for spec, run_id in zip(specs, derived_ids(specs, needed), strict=True)]


def _named(spec: RunSpec, run_id: str) -> RunSpec:
    return RunSpec(run_id=run_id, params=spec.params, env=spec.env, policy=spec.policy)


# --- columns -----------------------------------------------------------------------------------------------


def _check_columns(rows: Rows, faults: Faults) -> None:
    line = 1 if rows.file is not None and rows.file.endswith(".csv") else (rows.lines[0] if rows.lines else None)
    for column in rows.columns:
        if column in RESERVED and column != "run_id":
            faults.add(
                f"a column is called {column}, which is a reserved placeholder",
                file=rows.file,
                line=line,
                hint=f"rename it; reserved: {', '.join(sorted(RESERVED - {'run_id'}))}",
            )
        elif column.startswith(ENV_PREFIX):
            if not ENV_NAME.fullmatch(column[len(ENV_PREFIX) :]):
                faults.add(f"{column} names no environment variable", file=rows.file, line=line)
            elif column.startswith(f"{ENV_PREFIX}OVERNIGHT_"):
                faults.add(f"{column}: variables that begin with OVERNIGHT_ are set for each run", file=rows.file)
        elif column.startswith("@") and column not in POLICY_COLUMNS:
            known = [*POLICY_COLUMNS, f"{ENV_PREFIX}NAME"]
            faults.add(f"the column {column} is not known", file=rows.file, line=line, hint=guess(column, known))


def _check_split(column: str, value: str, file: str | None, line: int | None, faults: Faults) -> None:
    if not any(mark in value for mark in QUOTING):
        return
    try:
        split_value(value)
    except ValueError as error:
        faults.add(
            f"{{{column}...}} cannot split this row's {column}: {str(error).lower()}",
            file=file,
            line=line,
            hint="look for a quotation mark without its pair",
        )


class _RowPolicies:
    """`@` cells to row policies. The same cells come again and again; each text is read once."""

    def __init__(self, file: str | None, faults: Faults, devices: int) -> None:
        self._file = file
        self._faults = faults
        self._devices = devices
        self._seen: dict[tuple[str, ...], RowPolicy | None] = {}
        self._nothing = RowPolicy()

    def of(self, values: Mapping[str, str], line: int | None) -> RowPolicy:
        cells = (values.get("@gpus", ""), values.get("@timeout", ""), values.get("@priority", ""))
        if cells == _NO_CELLS:
            return self._nothing
        policy = self._seen.get(cells)
        if policy is None:  # new, or wrong: a wrong one is said for every row that has it
            policy = self._seen[cells] = self._read(*(cell.strip() for cell in cells), line=line)
        return policy or self._nothing

    def _read(self, gpus: str, timeout: str, priority: str, *, line: int | None) -> RowPolicy | None:
        before = len(self._faults.found) + self._faults.more
        number: float | None = None
        seconds: float | None = None
        if gpus:
            found = gpus_of(_number(gpus), self._devices)
            if isinstance(found, str):
                self._fault("@gpus", found, GPUS_ALLOWED, line)
            else:
                number = found
        if timeout and timeout != "none":
            try:
                seconds = parse_duration(timeout, none_allowed=True)
            except DurationFault as error:
                self._fault("@timeout", str(error), error.hint, line)
        if priority and not _PRIORITY.fullmatch(priority):
            self._fault("@priority", f'"{priority}" is no whole number', "larger goes first; 0 is usual", line)
        if len(self._faults.found) + self._faults.more > before:
            return None
        return RowPolicy(
            gpus=number, timeout=seconds, unbounded=timeout == "none", priority=int(priority) if priority else 0
        )

    def _fault(self, column: str, found: str, allowed: str, line: int | None) -> None:
        self._faults.add(f"{column}: {found}", file=self._file, line=line, hint=allowed)


def _number(text: str) -> object:
    """A cell as the number it says, else the text itself."""
    try:
        return float(text) if re.fullmatch(r"\d+(\.\d*)?|\.\d+", text) else text
    except ValueError:
        return text


# --- run IDs -----------------------------------------------------------------------------------------------


def _check_run_ids(specs: Sequence[RunSpec], rows: Rows, faults: Faults) -> None:
    first: dict[str, int | None] = {}
    for spec, line in zip(specs, rows.lines, strict=True):
        run_id = spec.run_id
        if not RUN_ID.fullmatch(run_id):
            faults.add(_unsafe(run_id), file=rows.file, line=line, hint=f"allowed: {RUN_ID_ALLOWED}")
        elif run_id in first:
            where = f" (also in line {first[run_id]})" if first[run_id] else ""
            faults.add(
                f'two rows are called "{run_id}"{where}', file=rows.file, line=line, hint="give each row its own run_id"
            )
        else:
            first[run_id] = line


def _unsafe(run_id: str) -> str:
    if not run_id:
        return "this row has no run_id"
    if len(run_id) > 128 and RUN_ID.fullmatch(run_id[:128]):
        return f"the run_id has {len(run_id)} characters"
    return f"{run_id[:140]!r} cannot be a run_id"


def derived_ids(specs: Sequence[RunSpec], columns: Sequence[str], taken: Collection[str] = ()) -> list[str]:
    """Names for runs whose rows bring none: what varies, as `lr_0.1-seed_2`. Only what is computed has a say
    (used columns, `@env.NAME`), so that a note cannot rename a run. Names that would be equal get a short
    digest; rows that compute the same get a number. `taken`: names already given.
    """
    cells = [{**{column: spec.params.get(column, "") for column in columns}, **_env_cells(spec.env)} for spec in specs]
    keys = dict.fromkeys(key for cell in cells for key in cell)
    varying = [key for key in keys if len({cell.get(key, "") for cell in cells}) > 1]
    bases = [_readable(cell, varying) for cell in cells]
    counts = Counter(bases)
    names: list[str] = []
    given = set(taken)
    for cell, base in zip(cells, bases, strict=True):
        name = base
        if counts[base] > 1 and varying:
            name = f"{base}-{crockford(_sha256(to_json(cell)), 6)}"
        number = 1
        unique = f"{name}-1" if not varying else name
        while unique in given:
            number += 1
            unique = f"{name}-{number}"
        given.add(unique)
        names.append(unique)
    return names


def _env_cells(env: Mapping[str, str]) -> dict[str, str]:
    return {f"env.{name}": value for name, value in env.items()}


def _readable(cell: Mapping[str, str], varying: Sequence[str]) -> str:
    text = "-".join(f"{key}={cell[key]}" for key in varying if cell.get(key))
    return safe_name(text, _DERIVED_CHARACTERS) or "run"


def safe_name(text: str, characters: int) -> str:
    """`text` as part of a file name: unsafe characters become `_`; may be empty."""
    return _UNSAFE.sub("_", text).lstrip("._-")[:characters].rstrip("._-")


def _sha256(data: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(data).digest()
