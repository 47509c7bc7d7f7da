"""The manifest's bytes, its name, and what two manifests have that is different.

The bytes are canonical JSON (RFC 8785), so that the same work has the same name wherever and whenever it is
launched. A manifest holds strings, lists and objects only; for those, sorted compact JSON *is* RFC 8785 as long as
every key lies within the plane where UTF-16 and code points sort alike. That is what the fast encoder writes
(a hundred thousand rows in tens of milliseconds); any other key takes the slow road.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from overnight.model.codec import ValidationError, builtins, from_json, to_json
from overnight.model.manifest import Manifest, Refusal, Row, RunSpec

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
ID_CHARACTERS = 10
_NAMED = 3  # how many rows a sentence names before it counts


def manifest_of(
    name: str,
    command: Sequence[str] | str,
    env: Mapping[str, str],
    required: Sequence[str],
    runs: Iterable[RunSpec],
    used: Iterable[str],
) -> Manifest:
    """What is to be computed: of each row its name, the columns in `used`, and its `@env.NAME` values."""
    columns = tuple(used)
    return Manifest(
        name=name,
        command=command if isinstance(command, str) else tuple(command),
        env=dict(env),
        required=tuple(required),
        rows=tuple(
            Row(
                run_id=run.run_id,
                values={column: run.params[column] for column in columns if column in run.params},
                env=run.env,
            )
            for run in runs
        ),
    )


def manifest_bytes(manifest: Manifest) -> bytes:
    """The canonical bytes (RFC 8785)."""
    plain = builtins(manifest)
    if _sorts_alike(manifest):
        return to_json(plain)
    import rfc8785

    return rfc8785.dumps(plain)


def _sorts_alike(manifest: Manifest) -> bool:
    """RFC 8785 sorts keys by UTF-16 units, the fast encoder by code points; they part above the surrogates."""
    keys = set(manifest.env).union(*(row.values for row in manifest.rows), *(row.env for row in manifest.rows))
    return all(key.isascii() or max(key) < "\ud800" for key in keys)


def digest(data: bytes) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def crockford(data: bytes, characters: int) -> str:
    """The first `characters` of the base-32 digits of `data` (Douglas Crockford's alphabet, lower-case)."""
    bits = int.from_bytes(data, "big")
    total = len(data) * 8
    return "".join(_CROCKFORD[(bits >> (total - 5 * (at + 1))) & 31] for at in range(characters))


def campaign_id(name: str, data: bytes) -> str:
    """The campaign of a manifest: `<name>-<first 10 Crockford base-32 digits of the SHA-256 of its bytes>`."""
    return f"{name}-{crockford(hashlib.sha256(data).digest(), ID_CHARACTERS)}"


def load_manifest(data: bytes, sha256: str | None = None) -> Manifest:
    """Read manifest.json back. Raises `Refusal` when it is not the manifest that was frozen: a digest that
    differs, a file cut short, or bytes that are not canonical (somebody edited it)."""
    if sha256 is not None and digest(data) != sha256:
        raise Refusal(
            f"manifest.json has changed: its SHA-256 is {digest(data)[:12]}…, it was frozen as {sha256[:12]}…",
            "restore the file; to compute something else launch a new campaign",
        )
    try:
        manifest = from_json(data, Manifest)
    except ValidationError as error:
        raise Refusal(f"manifest.json is no manifest: {error}", "restore the file") from None
    except ValueError as error:
        raise Refusal(f"manifest.json cannot be read: {error}", "restore the file") from None
    if manifest_bytes(manifest) != data:
        raise Refusal("manifest.json is not as it was frozen: its bytes are not canonical", "restore the file")
    return manifest


def difference(old: Manifest, new: Manifest) -> list[str]:
    """What `new` has otherwise, in sentences; empty when they are the same."""
    found: list[str] = []
    if old.name != new.name:
        found.append(f"name: {old.name} became {new.name}")
    if old.command != new.command:
        found.append(f"command: {_shown(old.command)} became {_shown(new.command)}")
    found.extend(_keys("env", old.env, new.env))
    if old.required != new.required:
        found.append(f"artifacts.required: {list(old.required)} became {list(new.required)}")
    before = {row.run_id: row for row in old.rows}
    after = {row.run_id: row for row in new.rows}
    gone = [run_id for run_id in before if run_id not in after]
    come = [run_id for run_id in after if run_id not in before]
    changed = [run_id for run_id, row in after.items() if run_id in before and before[run_id] != row]
    if gone:
        found.append(f"{_rows(gone)} removed: {_some(gone)}")
    if come:
        found.append(f"{_rows(come)} added: {_some(come)}")
    for run_id in changed[:_NAMED]:
        was, now = before[run_id], after[run_id]
        parts = _keys("", was.values, now.values) + _keys("@env", was.env, now.env)
        found.append(f"row {run_id} changed: {'; '.join(parts)}")
    if len(changed) > _NAMED:
        found.append(f"{len(changed) - _NAMED:,} more rows changed: {_some(changed[_NAMED:])}")
    if not found and [row.run_id for row in old.rows] != [row.run_id for row in new.rows]:
        found.append("the rows are the same in another order")
    return found


def _keys(what: str, old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    found = []
    dot = f"{what}." if what else ""
    for key in sorted({*old, *new}):
        if key not in new:
            found.append(f"{dot}{key} is gone (it was {_shown(old[key])})")
        elif key not in old:
            found.append(f"{dot}{key} = {_shown(new[key])} is new")
        elif old[key] != new[key]:
            found.append(f"{dot}{key}: {_shown(old[key])} became {_shown(new[key])}")
    return found


def _shown(value: Sequence[str] | str, width: int = 200) -> str:
    import shlex

    text = repr(value) if isinstance(value, str) else shlex.join(value)
    return text if len(text) <= width else f"{text[:width]}…"


def _rows(run_ids: Sequence[str]) -> str:
    return f"{len(run_ids):,} row{'s' if len(run_ids) != 1 else ''}"


def _some(run_ids: Sequence[str]) -> str:
    named = ", ".join(run_ids[:_NAMED])
    return named if len(run_ids) <= _NAMED else f"{named}, …"
