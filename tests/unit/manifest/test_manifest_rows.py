"""Rows: CSV, JSON lines, tables and axes; run IDs."""

from pathlib import Path

import pytest
from manifest_reading import Faults, Launch

from overnight.manifest import read_campaign

CMD = ["python", "{x}", "{out_dir}"]


@pytest.mark.parametrize(
    ("csv", "line", "words"),
    [
        (b"", None, "no rows"),
        (b"\n\n", None, "no rows"),
        (b"run_id,x\n", None, "no rows"),
        (b"run_id,x\na,1\nb\n", 3, "1 value, but the header has 2 columns"),
        (b"run_id,x\na,1,2\n", 2, "3 values"),
        (b"run_id,x\n\na,1\n\nb,1,2\n", 5, "3 values"),
        (b'run_id,x\na,"1\n2"\nb\n', 4, "1 value,"),
        (b"run_id,x\na,caf\xe9\n", 2, "not UTF-8"),
        ("run_id,x\na,1\n".encode("utf-16"), 1, "not UTF-8"),
        (b"run_id,x\na,\0\n", 2, "NUL"),
        (b'run_id,x\na,"1\n', 2, "no CSV"),
        (b'run_id,x\na,"1"2\n', 2, "no CSV"),
        (b"run_id,x,x\na,1,2\n", 1, "two columns"),
        (b",x\na,1\n", 1, "no name"),
        (b"run_id;x\na;1\n", 1, "one column"),
        (b"run_id,x\na,1\na,2\n", 3, "two rows"),
        (b"run_id,x\n,1\n", 2, "no run_id"),
        (b"run_id,x\n../x,1\n", 2, "cannot be"),
        (b"run_id,x\na b,1\n", 2, "cannot be"),
        (b"run_id,x\n.a,1\n", 2, "cannot be"),
        (b"run_id,x\na/b,1\n", 2, "cannot be"),
        ("run_id,x\né,1\n".encode(), 2, "cannot be"),
        (b"run_id,x\n" + b"a" * 200 + b",1\n", 2, "200 characters"),
        (b'run_id,x\n"a\n",1\n', 2, "cannot be"),
        (b"run_id,x,port\na,1,2\n", 1, "reserved"),
        (b"run_id,x,@gpu\na,1,2\n", 1, "not known"),
        (b"run_id,x,@timeout\na,1,1h\nb,1,0\n", 3, '"none"'),
        (b"run_id,x,@timeout\na,1,5\nb,1,5\n", 2, "no unit"),
        (b"run_id,x,@gpus\na,1,1.5\n", 2, "neither whole"),
        (b"run_id,x,@gpus\na,1,9\n", 2, "9 GPUs"),
        (b"run_id,x,@priority\na,1,high\n", 2, "no whole number"),
        (b"run_id,x,@env.OVERNIGHT_RUN\na,1,high\n", None, "set for each run"),
        (b"PK\x03\x04", None, "spreadsheet"),
    ],
)
def test_bad_csv(faults_of: Faults, csv: bytes, line: int | None, words: str) -> None:
    """Every one of these has been exported by some spreadsheet; the answer names the line."""
    fault = next(fault for fault in faults_of(csv=csv, command=CMD, devices=2) if words in fault.message)
    assert fault.line == line
    assert line is None or fault.file == "rows.csv"


def test_csv_as_spreadsheets_write_it(launch: Launch) -> None:
    """A byte order mark, CRLF, quoted commas and line breaks, blank lines and very long cells are all fine."""
    long = "v" * 300_000
    csv = b'\xef\xbb\xbfrun_id, x ,note\r\n\r\na,1,"two, lines\r\nof it"\r\nb,"' + long.encode() + b'",\r\n'
    runs = launch(csv=csv, command=CMD).runs
    assert [run.run_id for run in runs] == ["a", "b"]
    assert runs[0].params == {"x": "1", "note": "two, lines\r\nof it"}
    assert runs[1].params["x"] == long


def test_policy_columns(launch: Launch) -> None:
    """Policy of one row: an empty cell is the campaign's word."""
    csv = "run_id,x,@gpus,@timeout,@priority,@env.A\na,1,2,1h,5,yes\nb,1,,,,\nc,1,all,none,-1,\nd,1,.5,,,\n"
    runs = launch(csv=csv, command=CMD, devices=4).runs
    policies = [(r.policy.gpus, r.policy.timeout, r.policy.unbounded, r.policy.priority, r.env) for r in runs]
    assert policies == [
        (2, 3600, False, 5, {"A": "yes"}), (None, None, False, 0, {}),
        (4, None, True, -1, {}), (0.5, None, False, 0, {}),
    ]  # fmt: skip
    assert "@gpus" not in runs[0].params


def test_json_lines(tmp_path: Path) -> None:
    """Numbers reach the program as they were written: 1e-4 never becomes 0.0001."""
    file = tmp_path / "r.jsonl"
    file.write_text('{"run_id": "a", "x": 1e-4, "y": 10, "z": true}\n\n{"run_id": "b", "x": "s", "w": null}\r\n')
    runs = read_campaign(None, runs=file, command=CMD, cwd=tmp_path).runs
    assert runs[0].params == {"x": "1e-4", "y": "10", "z": "true"}
    assert runs[1].params == {"x": "s", "w": ""}


@pytest.mark.parametrize(
    ("text", "words"),
    [("{}\nnope\n", "no JSON"), ("[1]\n", "not an object"),
     ('{"x": [1]}\n', "a list"), ('{"x": 1, "x": 2}\n', "two values"),
     ('{"x": "\\ud800"}\n', "UTF-8"), ('{"x": "\\u0000"}\n', "NUL"), ('{"": 1}\n', "without a name"),
     ("[" * 100_000 + "\n", "deeply"), ("\n", "no rows"), ('{"y": 1}\n', "{x} is neither")],
)  # fmt: skip
def test_bad_json_lines(tmp_path: Path, text: str, words: str) -> None:
    """A pretty-printed JSON file, a lone surrogate, a nest of brackets: a line, not a traceback."""
    from overnight.model.manifest import Refusal

    (tmp_path / "r.jsonl").write_text(text)
    with pytest.raises(Refusal) as refused:
        read_campaign(None, runs=Path("r.jsonl"), command=CMD, cwd=tmp_path)
    assert any(words in fault.message for fault in refused.value.faults), refused.value.faults


@pytest.mark.parametrize("name", ["r.json", "r.xlsx", "folder", "gone.csv"])
def test_files_without_rows(tmp_path: Path, name: str) -> None:
    """The wrong file is named, and what is read instead."""
    from overnight.model.manifest import Refusal

    (tmp_path / "folder").mkdir()
    for other in ("r.json", "r.xlsx"):
        (tmp_path / other).write_text("{}")
    with pytest.raises(Refusal) as refused:
        read_campaign(None, runs=Path(name), command=CMD, cwd=tmp_path)
    assert name in refused.value.message


def test_axes(launch: Launch) -> None:
    """A grid runs every combination once; lists side by side pair up."""
    text = 'command = ["a", "{lr}", "{seed}", "{out_dir}"]\n'
    grid = launch(f"{text}[matrix]\nlr = [1e-3, 3e-4]\nseed = [0, 1]\nkind = 'fixed'\n")
    assert [run.run_id for run in grid.runs] == [
        "lr_1e-3-seed_0", "lr_1e-3-seed_1", "lr_3e-4-seed_0", "lr_3e-4-seed_1",
    ]  # fmt: skip
    assert grid.runs[0].params["kind"] == "fixed"
    pairs = launch(f"{text}[zip]\nlr = [1e-3, 3e-4]\nseed = [0, 1]\nkind = 'fixed'\n")
    assert [(r.params["lr"], r.params["seed"], r.params["kind"]) for r in pairs.runs] == [
        ("1e-3", "0", "fixed"), ("3e-4", "1", "fixed"),
    ]  # fmt: skip


def test_derived_names_are_safe_unique_and_blind_to_notes(launch: Launch) -> None:
    """A note that changes must not rename a run, nor two rows share a folder."""
    csv = "x,note\na/b c,1\na/b_c,2\nplain,3\nplain,4\n" + "v" * 500 + ",5\n../..,6\n"
    first = [run.run_id for run in launch(csv=csv, command=CMD).runs]
    again = [run.run_id for run in launch(csv=csv.replace(",3", ",other"), command=CMD).runs]
    assert first == again
    assert len(set(first)) == len(first)
    import re

    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name) for name in first)
    assert first[0].startswith("x_a_b_c-") and first[1].startswith("x_a_b_c-")


def test_rows_that_are_the_same_get_numbers(launch: Launch) -> None:
    """Three equal rows are three runs: that is how people ask for repeats."""
    assert [run.run_id for run in launch(csv="x\n1\n1\n1\n", command=CMD).runs] == ["run-1", "run-2", "run-3"]
    names = [run.run_id for run in launch(csv="x\n1\n2\n2\n", command=CMD).runs]
    assert names[0] == "x_1" and len(set(names)) == 3
