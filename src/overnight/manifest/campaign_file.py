"""`read_campaign`: from what a person wrote or typed to a frozen campaign, or to all of its faults at once."""

import fnmatch
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overnight.manifest.canonical import campaign_id, digest, manifest_bytes, manifest_of
from overnight.manifest.command import command_of, default_gpus, default_name, env_of
from overnight.manifest.faults import Faults, Source, nearest
from overnight.manifest.lines import key_lines
from overnight.manifest.options import overlay
from overnight.manifest.placeholders import RESERVED, expand_text, split_words, templates_of, words
from overnight.manifest.policy import literal, policy_words, read_policy, required_of
from overnight.manifest.rows import Rows, Written, axes, bytes_of, read_rows_file, run_tables, toml_text, unfit
from overnight.manifest.specs import safe_name, specs_of
from overnight.manifest.stops import stop_templates
from overnight.manifest.tables import Table, shown
from overnight.manifest.warnings import warnings_of
from overnight.manifest.word_checks import unknown_word
from overnight.model.codec import replace
from overnight.model.manifest import Frozen, RunSpec
from overnight.model.policy import Policy

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_ALLOWED = "letters, digits, dot, dash and underscore, at most 64, the first a letter or digit"


def read_campaign(
    file: Path | None,
    *,
    runs: Path | None = None,
    command: Sequence[str] | str | None = None,
    name: str | None = None,
    gpus: str | None = None,
    slots: int | None = None,
    timeout: str | None = None,
    settings: Sequence[str] = (),
    only: str | None = None,
    limit: int | None = None,
    executor: str | None = None,
    cwd: Path,
    devices: int = 0,
) -> Frozen:
    """Read and check everything; freeze it.

    `file`: a campaign file (TOML); the other arguments are the options of `launch` and win over it. Relative
    paths are relative to the file's folder if they stand in it, to `cwd` (where launch was typed) if they were
    typed. `settings`: `KEY=VALUE` with a dotted key of the file. `only`: a glob that run_ids must match;
    `limit`: the first so many. `devices`: GPUs visible to the launching shell. Writes nothing.

    Raises `Refusal` that carries every fault found.
    """
    return read_parts(
        file, runs=runs, command=command, name=name, gpus=gpus, slots=slots, timeout=timeout, settings=settings,
        only=only, limit=limit, executor=executor, cwd=cwd, devices=devices,
    )[0]  # fmt: skip


def read_parts(
    file: Path | None,
    *,
    runs: Path | None = None,
    command: Sequence[str] | str | None = None,
    name: str | None = None,
    gpus: str | None = None,
    slots: int | None = None,
    timeout: str | None = None,
    settings: Sequence[str] = (),
    only: str | None = None,
    limit: int | None = None,
    executor: str | None = None,
    cwd: Path,
    devices: int = 0,
) -> tuple[Frozen, bool]:
    """`read_campaign`, and whether the run_ids were derived (no row brought one)."""
    faults = Faults()
    what = str(file) if file is not None else "the command line"
    data, source = _read_file(file, cwd, faults)
    faults.refuse(what)
    source = overlay(
        data, source, name=name, gpus=gpus, slots=slots, timeout=timeout, executor=executor, command=command,
        settings=settings,
    )  # fmt: skip
    top = Table(source, data)
    top.check_keys()
    folder = (cwd / file).parent if file is not None else cwd

    words_to_run = command_of(top, typed=command is not None)
    env = env_of(top)
    artifacts = top.table("artifacts")
    required = required_of(artifacts)
    rows, stem = _rows(top, folder, cwd, runs, bare=file is None and command is not None)
    columns = {column for column in rows.columns if not column.startswith("@")} if rows is not None else None
    templates = templates_of(words_to_run or (), env)
    if columns is not None:
        _check_words(top, words_to_run or (), env, columns)
    base = Policy(cwd=literal(str(folder.absolute())))
    policy = read_policy(top, base, columns=columns, devices=devices, folder=folder.absolute())
    if "gpus" not in top.table("resources"):
        policy = replace(policy, resources=replace(policy.resources, gpus=default_gpus(words_to_run or (), devices)))
    used = words(templates) - RESERVED
    specs: list[RunSpec] = []
    if rows is not None:
        resume = policy.checkpoint.resume
        to_stop = stop_templates(policy.stop)
        split = (split_words(templates) | split_words([*resume, *to_stop])) & set(rows.columns)
        specs = specs_of(rows, used, split, faults, devices, by_policy=policy_words(policy))
        _check_paths(policy, specs, rows, faults)
    title = _name(top, stem, words_to_run)
    faults.refuse(what)

    specs = _chosen(specs, only, limit, faults)
    faults.refuse(what)
    derived = rows is not None and "run_id" not in rows.columns
    return _freeze(title, words_to_run or (), env, required, specs, used, policy, devices), derived


def _freeze(
    name: str,
    command: tuple[str, ...] | str,
    env: dict[str, str],
    required: tuple[str, ...],
    specs: Sequence[RunSpec],
    used: set[str],
    policy: Policy,
    devices: int,
) -> Frozen:
    manifest = manifest_of(name, command, env, required, specs, sorted(used))
    data = manifest_bytes(manifest)
    return Frozen(
        campaign=campaign_id(name, data),
        sha256=digest(data),
        manifest_bytes=data,
        manifest=manifest,
        runs=tuple(specs),
        policy=policy,
        warnings=warnings_of(manifest, specs, policy, devices),
    )


# --- the file ----------------------------------------------------------------------------------------------


def _read_file(file: Path | None, cwd: Path, faults: Faults) -> tuple[dict[str, Any], Source]:
    if file is None:
        return {}, Source(faults)
    shown_as = str(file)
    source = Source(faults, shown_as)
    path = cwd / file
    if path.suffix.lower() in {".csv", ".jsonl", ".ndjson"}:
        faults.add(
            f"{shown_as} holds rows, not a campaign", hint=f"overnight launch --runs {shown_as} -- COMMAND {{column}} …"
        )
        return {}, source
    raw = bytes_of(path, shown_as, faults, missing_hint="to launch a command without a file put -- before it")
    if raw is None:
        return {}, source
    try:
        text = raw.decode("utf-8-sig")
        data = tomllib.loads(text.replace("\r\n", "\n"), parse_float=Written)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        faults.add("this is not UTF-8", file=shown_as, line=line, hint="a campaign file is TOML, saved as UTF-8")
        return {}, source
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"^(.*) \(at line (\d+), column \d+\)$", str(error), re.DOTALL)
        end = len(text.rstrip().split("\n"))  # the parser gives no line for "at end of document"
        message, line_number = (found[1], int(found[2])) if found else (str(error), end)
        hint = 'a campaign file is TOML: text stands in quotes, as in timeout = "4h"'
        faults.add(f"this is no TOML: {message}", file=shown_as, line=line_number, hint=hint)
        return {}, source
    except (RecursionError, ValueError) as error:  # nested without end; integers of thousands of digits
        faults.add(f"this cannot be read: {error}", file=shown_as, hint="a campaign file is TOML")
        return {}, source
    return data, Source(faults, shown_as, key_lines(text))


# --- rows --------------------------------------------------------------------------------------------------

_SOURCES = ("runs", "run", "matrix", "zip")


def _rows(top: Table, folder: Path, cwd: Path, typed: Path | None, *, bare: bool) -> tuple[Rows | None, str | None]:
    """The rows and, if they come from a file, its stem. None: there are none, and a fault says why."""
    faults = top.source.faults
    if typed is not None:
        return read_rows_file(cwd / typed, str(typed), faults), typed.stem
    given = [key for key in _SOURCES if key in top]
    if len(given) > 1:
        listed = " and ".join(key if key == "runs" else f"[{key}]" for key in given)
        top.source.fault((given[1],), f"rows come from one place, but here are {listed}", "keep one of them")
        return None, None
    if not given:
        if bare:
            rows = Rows(None, ())
            rows.add({}, None)
            return rows, None
        hint = 'runs = "rows.csv", or [[run]] tables, or [matrix] / [zip] axes'
        faults.add("there are no rows, so nothing to run", file=top.source.file, hint=hint)
        return None, None
    return _given_rows(top, given[0], folder)


def _given_rows(top: Table, key: str, folder: Path) -> tuple[Rows | None, str | None]:
    faults = top.source.faults
    before = len(faults.found)
    if key == "runs":
        written = top.text("runs", None)
        if written is None:
            return None, None
        path = folder / written
        return read_rows_file(path, _shown_path(path, top, written), faults), path.stem
    rows: Rows | None = None
    if key == "run":
        tables = top.data["run"]
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            top.fault("run", "this is no list of tables", "each run begins with a line [[run]]")
            return None, None
        rows = run_tables(tables, top.source)
    else:
        rows = axes(key, top.table(key).data, top.source)
    if not rows.values:
        if len(faults.found) == before:
            top.fault(key, "there are no rows in it", "at least one run")
        return None, None
    return rows, None


def _shown_path(path: Path, top: Table, written: str) -> str:
    """As the person can open it from where they typed: beside the campaign file."""
    if top.source.file is None or Path(written).is_absolute():
        return written
    return str(Path(top.source.file).parent / written)


def _chosen(specs: list[RunSpec], only: str | None, limit: int | None, faults: Faults) -> list[RunSpec]:
    if only is not None:
        matching = [spec for spec in specs if fnmatch.fnmatchcase(spec.run_id, only)]
        if not matching:
            near = nearest(only, [spec.run_id for spec in specs[:10_000]])
            hint = f"did you mean {near}?" if near else f"the first is called {specs[0].run_id}"
            faults.add(f'--only: no run_id matches "{only}"', hint=hint)
        specs = matching
    if limit is not None:
        if limit < 1:
            faults.add(f"--limit: {limit} leaves no run", hint="a whole number from 1")
        specs = specs[:limit]
    return specs


# --- checks over everything --------------------------------------------------------------------------------


def _check_words(top: Table, command: tuple[str, ...] | str, env: dict[str, str], columns: set[str]) -> None:
    known = {*columns, *RESERVED}
    for word in sorted(words([command] if isinstance(command, str) else command) - known):
        top.fault("command", *unknown_word(word, known))
    for key, template in env.items():
        for word in sorted(words([template]) - known):
            top.source.fault(("env", key), f"env.{key}: {unknown_word(word, known)[0]}", unknown_word(word, known)[1])
        for word in sorted(split_words([template])):
            top.source.fault(("env", key), f"env.{key}: {{{word}...}} does not split here", f"write {{{word}}}")


def _check_paths(policy: Policy, specs: Sequence[RunSpec], rows: Rows, faults: Faults) -> None:
    """A column inside checkpoint.path must not lead out of `{out_dir}`."""
    path = policy.checkpoint.path
    if path is None or not words([path]) - RESERVED:
        return
    reserved = dict.fromkeys(RESERVED, "x")
    for spec, line in zip(specs, rows.lines, strict=True):
        if words([path]) - RESERVED - set(spec.params):
            continue  # said already: the row has no such column
        found = expand_text(path, spec.params, reserved)
        if ".." in found.split("/"):
            faults.add(f"checkpoint.path of this row leaves {{out_dir}}: {shown(found[2:])}", file=rows.file, line=line)


def _name(top: Table, stem: str | None, command: tuple[str, ...] | str | None) -> str:
    if "name" not in top:
        derived = safe_name(stem, 64) if stem else ""
        return derived or default_name(command or ())
    written = toml_text(top.data["name"])
    if written is None or not NAME.fullmatch(written) or unfit(written):
        top.fault("name", f"{shown(top.data['name'])} cannot name a campaign", f"allowed: {NAME_ALLOWED}")
        return "campaign"
    return written
