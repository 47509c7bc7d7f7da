"""The file in which a program leaves its results: a CSV file with one row of data, or a JSON object."""

import csv
import json
import math
import os
import stat
from collections.abc import Iterator

LARGEST_BYTES = 1 << 20
MOST_COLUMNS = 1000


class ResultFileFault(ValueError):
    """The file cannot be taken for results. The message says why, without naming it."""


def read_results(path: str) -> dict[str, float | str]:
    """Names and values. Numbers that JSON has no word for (NaN), lists and nulls are left out; an object within the
    object gives `outer.inner`. Raises `FileNotFoundError` and `ResultFileFault`."""
    try:
        data = _content(path).decode("utf-8-sig")
        as_json = path.endswith(".json") or data.lstrip().startswith("{")
        found = dict(_of_json(data) if as_json else _of_csv(data, "\t" if path.endswith(".tsv") else ","))
    except (FileNotFoundError, ResultFileFault):
        raise
    except OSError as problem:
        raise ResultFileFault(f"it cannot be read: {problem.strerror or problem}") from problem
    except UnicodeDecodeError as problem:
        raise ResultFileFault("it is not UTF-8") from problem
    except (ValueError, csv.Error, RecursionError) as problem:
        raise ResultFileFault(f"it cannot be read: {problem}") from problem
    if len(found) > MOST_COLUMNS:
        raise ResultFileFault(f"it has {len(found):,} values; at most {MOST_COLUMNS:,} are taken")
    return found


def _content(path: str) -> bytes:
    """The bytes of a plain file. A named pipe that a program left there would otherwise be waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ResultFileFault("it is no plain file")
        if found.st_size > LARGEST_BYTES:
            raise ResultFileFault(f"it is larger than {LARGEST_BYTES >> 20} MiB")
        return os.read(descriptor, found.st_size)  # of a plain file all at once (read(2))
    finally:
        os.close(descriptor)


def _of_csv(text: str, delimiter: str) -> Iterator[tuple[str, float | str]]:
    rows = [row for row in csv.reader(text.splitlines(keepends=True), delimiter=delimiter) if any(row)]
    if len(rows) != 2:
        count = max(0, len(rows) - 1)
        raise ResultFileFault(f"it has {count:,} rows of data below its header, not one")
    names, cells = rows
    if len(cells) > len(names):
        raise ResultFileFault(f"it has {len(cells):,} values below {len(names):,} names")
    for name, cell in zip(names, cells, strict=False):
        value = _number(cell.strip())
        if name.strip() and cell.strip() and _writable(value):  # pandas writes its index below an empty name
            yield name.strip(), value


def _number(cell: str) -> float | str:
    try:
        return int(cell) if cell.lstrip("+-").isdigit() else float(cell) if "_" not in cell else cell
    except ValueError:
        return cell


def _of_json(text: str) -> Iterator[tuple[str, float | str]]:
    found = json.loads(text)  # msgspec refuses the NaN that Python's own json writes
    if not isinstance(found, dict):
        raise ResultFileFault("it is no JSON object")
    return _flat(found, "")


def _flat(table: dict[str, object], prefix: str) -> Iterator[tuple[str, float | str]]:
    for key, value in table.items():
        name = prefix + _whole(key)
        if isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, str):
            yield name, _whole(value)
        elif isinstance(value, (bool, int, float)) and _writable(value):
            yield name, value


def _writable(value: float | str) -> bool:
    """Whether JSON has a word for it, and readers of JSON room."""
    if isinstance(value, int):
        return abs(value) < 1 << 63
    return isinstance(value, str) or math.isfinite(value)


def _whole(text: str) -> str:
    """Half characters, which JSON may name and UTF-8 cannot hold, become `?`."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
