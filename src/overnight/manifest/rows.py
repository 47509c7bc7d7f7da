"""Rows as people write them: CSV, JSON lines, `[[run]]`, `[matrix]`, `[zip]`. Every value ends as a string."""

import csv
import io
import itertools
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from overnight.manifest.faults import Faults, Source

MOST_ROWS = 1_000_000  # a product of axes grows quickly; beyond this it is a mistake
LARGEST_BYTES = 256 << 20  # a million rows fit; a device that never ends does not


class Written(float):
    """A number of a TOML file that remembers how it was written: `1e-4` is to reach the program as `1e-4`."""

    text: str

    def __new__(cls, text: str) -> "Written":
        number = super().__new__(cls, text.replace("_", ""))
        number.text = text
        return number


class Rows:
    """Rows with their columns in the order written; `lines[i]` is where row `i` stands in `file`."""

    def __init__(self, file: str | None, columns: Sequence[str]) -> None:
        self.file = file
        self.columns = tuple(columns)
        self.values: list[dict[str, str]] = []
        self.lines: list[int | None] = []

    def add(self, values: dict[str, str], line: int | None) -> None:
        """Append one row."""
        self.values.append(values)
        self.lines.append(line)


def read_rows_file(path: Path, shown: str, faults: Faults) -> Rows | None:
    """The rows of a CSV or JSON-lines file, or None when it has faults.

    By suffix: `.csv`; `.jsonl` and `.ndjson`. Anything else is JSON lines if it begins with `{`, else CSV.
    """
    text = _text(path, shown, faults)
    if text is None:
        return None
    suffix = path.suffix.lower()
    if suffix in {".toml", ".json", ".yaml", ".yml", ".xlsx", ".tsv"}:
        faults.add(f"{suffix} files hold no rows here", file=shown, hint="rows are read from .csv or .jsonl files")
        return None
    if suffix in {".jsonl", ".ndjson"} or (suffix != ".csv" and text.lstrip().startswith("{")):
        return _json_lines(text, shown, faults)
    return _csv(text, shown, faults)


def bytes_of(path: Path, shown: str, faults: Faults, *, missing_hint: str) -> bytes | None:
    """What is in a file that a person named. A pipe is fine; what never ends (`/dev/zero`) is not."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        faults.add(f"{shown} does not exist", hint=missing_hint)
    except OSError as error:
        faults.add(f"{shown} cannot be read: {error.strerror}")
    else:
        if len(data) <= LARGEST_BYTES:
            return data
        faults.add(f"{shown} is longer than {LARGEST_BYTES >> 20} MiB", hint="is it the file that was meant?")
    return None


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _text(path: Path, shown: str, faults: Faults) -> str | None:
    data = bytes_of(
        path, shown, faults, missing_hint="the path is relative to the campaign file, or to where you typed"
    )
    if data is None:
        return None
    if data[:2] in (b"PK", b"\x1f\x8b"):
        faults.add(f"{shown} is an archive or a spreadsheet, not text", hint="export it as CSV")
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        faults.add(f"byte 0x{data[error.start]:02x} is not UTF-8", file=shown, line=line, hint="save the file as UTF-8")
        return None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        faults.add("a NUL character, which no argument can hold", file=shown, line=line, hint="save it as UTF-8 text")
        return None
    return text


# --- CSV ---------------------------------------------------------------------------------------------------


def _csv(text: str, shown: str, faults: Faults) -> Rows | None:
    # The limit is the module's, not a reader's. An argument may be long; 128 KiB is no reason to refuse it.
    limit = csv.field_size_limit(sys.maxsize)
    try:
        return _csv_rows(csv.reader(io.StringIO(text, newline=""), strict=True), shown, faults)
    finally:
        csv.field_size_limit(limit)


def _csv_rows(reader: Any, shown: str, faults: Faults) -> Rows | None:
    rows: Rows | None = None
    begin = 1
    before = len(faults.found)
    try:
        for record in reader:
            line, begin = begin, reader.line_num + 1
            if not record:
                continue
            if rows is None:
                columns = [column.strip() for column in record]
                _check_header(columns, shown, line, faults)
                rows = Rows(shown, columns)
            elif len(record) != len(rows.columns):
                faults.add(
                    f"{_counted(len(record), 'value')}, but the header has {_counted(len(rows.columns), 'column')}",
                    file=shown,
                    line=line,
                    hint='a value with a comma in it is written "in quotes"',
                )
            else:
                rows.add(dict(zip(rows.columns, record, strict=True)), line)
    except csv.Error as error:
        faults.add(
            f"this is no CSV: {error}", file=shown, line=begin, hint="look for a quotation mark without its pair"
        )
        return None
    if rows is None or (not rows.values and len(faults.found) == before):
        faults.add(f"{shown} has no rows", hint="a header line, then one line for each run")
        return None
    return rows


def _check_header(columns: Sequence[str], shown: str, line: int, faults: Faults) -> None:
    seen: set[str] = set()
    for position, column in enumerate(columns, 1):
        if not column:
            faults.add(f"column {position} has no name", file=shown, line=line, hint="every column needs one")
        elif column in seen:
            faults.add(f"two columns are called {column}", file=shown, line=line, hint="rename one of them")
        seen.add(column)
    if len(columns) == 1 and any(mark in columns[0] for mark in ";\t|"):
        faults.add(f"one column, called {columns[0]!r}", file=shown, line=line, hint="separate the columns by commas")


# --- JSON lines --------------------------------------------------------------------------------------------


class _Twice(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _Twice(next(key for key in keys if keys.count(key) > 1))
    return found


def _json_lines(text: str, shown: str, faults: Faults) -> Rows | None:
    # Numbers stay the text they are: 1e-4 must not become 0.0001 on its way to the program.
    decode = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_object).decode
    columns: dict[str, None] = {}
    rows = Rows(shown, ())
    before = len(faults.found)
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = decode(line)
        except _Twice as error:
            faults.add(f"two values for {error}", file=shown, line=number)
            continue
        except ValueError as error:
            faults.add(
                f"this is no JSON: {error}", file=shown, line=number, hint="one object on each line, no commas between"
            )
            continue
        except RecursionError:
            faults.add("nested too deeply", file=shown, line=number, hint="a value is a string or a number")
            continue
        if not isinstance(found, dict):
            faults.add("not an object", file=shown, line=number, hint='a row is written {"lr": 0.1, "seed": 2}')
            continue
        values = {key: _json_text(key, value, shown, number, faults) for key, value in found.items()}
        if "" in values:
            faults.add("a value without a name", file=shown, line=number)
        columns.update(dict.fromkeys(values))
        rows.add(values, number)
    rows.columns = tuple(columns)
    if not rows.values:
        if len(faults.found) == before:
            faults.add(f"{shown} has no rows", hint="one JSON object on each line")
        return None
    return rows


def _json_text(key: str, value: object, shown: str, line: int, faults: Faults) -> str:
    if isinstance(value, str):
        if not value.isascii() or "\0" in value:
            _check_text(key, value, shown, line, faults)
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    faults.add(
        f"{key} is a list or an object", file=shown, line=line, hint="write it as a string, as the program is to get it"
    )
    return ""


def _check_text(key: str, value: str, shown: str, line: int, faults: Faults) -> None:
    """JSON can escape what no argument can hold."""
    if problem := unfit(value):
        faults.add(f"{key} holds {problem}", file=shown, line=line)


def unfit(text: str) -> str | None:
    """What keeps a text from being an argument, or None."""
    if "\0" in text:
        return "a NUL character, which no argument can hold"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "characters that are not UTF-8"
    return None


# --- tables of the campaign file ---------------------------------------------------------------------------


def toml_text(value: object) -> str | None:
    """A TOML value as the string it was written as; None for lists and tables."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Written):
        return value.text
    if isinstance(value, (dict, list)):
        return None
    return str(value)


def run_tables(tables: Sequence[Mapping[str, object]], source: Source) -> Rows:
    """The rows of `[[run]]` tables."""
    columns: dict[str, None] = {}
    rows = Rows(source.file, ())
    for index, table in enumerate(tables):
        path = ("run", str(index))
        values = {}
        for key, value in table.items():
            text = _cell(value, (*path, key), source)
            if text is not None:
                values[key] = text
        columns.update(dict.fromkeys(values))
        rows.add(values, source.line(path))
    rows.columns = tuple(columns)
    return rows


def axes(kind: str, table: Mapping[str, object], source: Source) -> Rows:
    """The rows of `[matrix]` (every combination, the last axis fastest) or `[zip]` (side by side). An axis of
    a single value stays the same in every row."""
    lists: dict[str, list[str]] = {}
    for key, value in table.items():
        entries = value if isinstance(value, list) else [value]
        texts = [_cell(entry, (kind, key), source) for entry in entries]
        if not texts:
            source.fault((kind, key), f"axis {key} is empty", "an axis is a list of values")
        lists[key] = [text for text in texts if text is not None]
    rows = Rows(source.file, tuple(lists))
    line = source.line((kind,))
    if not lists or not all(lists.values()):
        return rows
    combinations: Iterable[tuple[str, ...]]
    if kind == "matrix":
        count = math.prod(len(entries) for entries in lists.values())
        if count > MOST_ROWS:
            source.fault((kind,), f"the axes make {count:,} rows", f"at most {MOST_ROWS:,} are taken")
            return rows
        combinations = itertools.product(*lists.values())
    else:
        longest = max(len(entries) for entries in lists.values())
        uneven = {key: len(entries) for key, entries in lists.items() if len(entries) not in (1, longest)}
        if uneven:
            sizes = ", ".join(f"{key} has {len(entries)}" for key, entries in lists.items())
            source.fault((kind,), f"axes side by side are of one length, but {sizes}")
            return rows
        combinations = zip(
            *(entries * longest if len(entries) == 1 else entries for entries in lists.values()), strict=True
        )
    for combination in combinations:
        rows.add(dict(zip(lists, combination, strict=True)), line)
    return rows


def _cell(value: object, path: tuple[str, ...], source: Source) -> str | None:
    text = toml_text(value)
    if text is None:
        hint = "write it as a string, as the program is to get it"
        if isinstance(value, dict) and path[-1] != "@env":
            hint = f'a name with a dot in it is quoted: "{path[-1]}.{next(iter(value), "…")}"'
        source.fault(path, f"{path[-1]} is a list or a table, not one value", hint)
        return None
    if problem := unfit(text):
        source.fault(path, f"{path[-1]} holds {problem}")
        return None
    return text
