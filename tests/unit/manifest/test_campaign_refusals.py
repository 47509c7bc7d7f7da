"""Campaign files: everything that is refused, by name, line and nearest word, all at once."""

import json
from pathlib import Path

import pytest
from manifest_reading import Faults, Launch

from overnight.model.manifest import Refusal

HEAD = 'command = ["python", "{x}", "{out_dir}"]\n[[run]]\nx = 1\n'


def test_all_faults_at_once_each_with_its_line(faults_of: Faults) -> None:
    """Ten launches to find ten typos, at eleven in the evening."""
    text = """nam = "x"
command = ["python", "{lrr}"]
timeout = "4h"
[limits]
timeout = 0
heartbeet = "5m"
fail_fast = true
[notify]
on = "end"
[[run]]
lr = 1
"@gpuss" = 2
"""
    found = {fault.line: fault for fault in faults_of(text)}
    assert sorted(line for line in found if line) == [1, 2, 3, 5, 6, 7, 8, 10]
    assert all(fault.file == "sweep.toml" for fault in found.values())
    assert found[1].hint == "did you mean name?"
    assert "did you mean lr?" in (found[2].hint or "")
    assert "[limits]" in (found[3].hint or "")
    assert '"none"' in found[5].message
    assert found[6].hint == "did you mean heartbeat?"
    assert "top of the file" in (found[7].hint or "")
    assert "belongs to a person" in found[8].message
    assert "@gpus" in (found[10].hint or "")


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        ("[limits]\ntimeout = 3600", "no unit"),
        ('[limits]\ntimeout = "0"', '"none"'),
        ('[limits]\ngrace = "none"', "no duration"),
        ('[limits]\ntimeout = "-1h"', "negative"),
        ('[limits]\ntimeout = "auto"', "no duration"),
        ("[limits]\ntimeout = true", "no duration"),
        ("[resources]\ngpus = 1.5", "neither whole"),
        ("[resources]\ngpus = -1", "no number of GPUs"),
        ("[resources]\ngpus = nan", "no number of GPUs"),
        ("[resources]\ngpus = true", "no number of GPUs"),
        ('[resources]\ngpus = "two"', "no number of GPUs"),
        ("[resources]\ngpus = 5", "only 4 are visible"),
        ("[resources]\nslots = 0", "out of bounds"),
        ("[progress]\npattern = 'iter ('", "regular expression"),
        ("[progress]\npattern = 'iter'", "group called step"),
        ('[checkpoint]\npath = "/tmp/x"', "does not begin"),
        ('[checkpoint]\npath = "ckpt.pt"', "does not begin"),
        ('[checkpoint]\npath = "{out_dir}/../x"', "may leave"),
        ('[checkpoint]\npath = "{out_dir}/"', "does not begin"),
        ('[checkpoint]\npath = "{out_dir}/{xx}"', "neither a column"),
        ('[checkpoint]\nresume = ["a"]', "no checkpoint.path"),
        ('[checkpoint]\npath = "{out_dir}/c"\ncomplete = "../x"', "leaves the checkpoint"),
        ('[artifacts]\nrequired = ["../x"]', "not a file inside"),
        ('[artifacts]\nrequired = ["/x"]', "not a file inside"),
        ('[artifacts]\nrequired = [""]', "not a file inside"),
        ('[artifacts]\nrequired = "x"', "no list"),
        ('[results]\nfile = "../summary.csv"', "not a file inside"),
        ('[results]\nfile = "/data/summary.csv"', "not a file inside"),
        ('[results]\nfile = "{out_dir}/"', "not a file inside"),
        ('[results]\nfile = "{x}.csv"', "holds a placeholder"),
        ('[results]\nfile = "*.csv"', "may be several files"),
        ('[results]\nfiles = "a.csv"', "not known"),
        ('[retry.class]\n"oom.gpux" = 1', "no such failure class"),
        ('[retry.class]\n"oom.gpu" = -1', "number of retries"),
        ("[retry]\nmax_attempts = 21", "out of bounds"),
        ('[retry]\nbackoff = { first = "1h", max = "1s" }', "longer than the longest"),
        ("[retry]\nbackoff = { jiter = 1 }", "not known"),
        ('[env]\n"A B" = "x"', "no environment variable"),
        ('[env]\nOVERNIGHT_RUN = "x"', "set for each run"),
        ('[env]\nA = "{nope}"', "neither a column"),
        ('[env]\nA = "{x...}"', "does not split"),
        ("[env]\nA = [1]", "no text"),
        ('[code]\non_change = "hld"', "not known"),
        ("[fake]\nseconds = 1", "fake executor"),
        ("[notify]\nx = 1", "belongs to a person"),
        ("[tracker]\nx = 1", "not part of this version"),
    ],
)
def test_refused(faults_of: Faults, tail: str, words: str) -> None:
    """Each was once accepted by some tool and found out in the morning."""
    faults = faults_of(f"{HEAD}{tail}\n", devices=4)
    fault = next(fault for fault in faults if words in fault.message)
    assert fault.file == "sweep.toml" and fault.line is not None and fault.line > 2


def test_a_hint_lists_no_thousand_columns(faults_of: Faults) -> None:
    """A misspelt placeholder of a wide sheet was answered with 5,000 names on one line."""
    cells = "\n".join(f"column{n} = {n}" for n in range(5000))
    (fault,) = faults_of(f'command = ["a", "{{zzz}}", "{{out_dir}}"]\n[[run]]\n{cells}\n')
    assert fault.hint is not None and len(fault.hint) < 1500 and "more" in fault.hint


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("fail_fast = 1", "neither true nor false"),
        ('executor = "loca"', "not known"),
        ('limits = "1h"', "no table"),
        ('cwd = "nowhere"', "no directory"),
        ('name = "a b"', "cannot name"),
        ('name = "../x"', "cannot name"),
        ('name = ""', "cannot name"),
        (f'name = "{"n" * 65}"', "cannot name"),
        ("name = [1]", "cannot name"),
        ('runs = "x.csv"', "one place"),
    ],
)
def test_refused_at_the_top(faults_of: Faults, head: str, words: str) -> None:
    """A name that is no folder's name, an executor that does not exist."""
    faults = faults_of(f"{head}\n{HEAD}")
    assert [fault.line for fault in faults if words in fault.message] == [1 if words != "one place" else 3]


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("command = [\n", "no TOML", 1),
        ("a = 1\na = 2\n", "no TOML", 2),
        ("timeout = 4h\n", "no TOML", 1),
        ("[[run]]\nx=1\n", "no command", None),
        ("command = []\n[[run]]\nx=1\n", "empty", 1),
        ('command = " "\n[[run]]\nx=1\n', "empty", 1),
        ("command = 3\n[[run]]\nx=1\n", "no command", 1),
        ("command = [[1]]\n[[run]]\nx=1\n", "a list or a table", 1),
        ('command = ["a"]\n', "no rows", None),
        ('command = ["a"]\nruns = "gone.csv"\n', "does not exist", None),
        ('command = ["a"]\n[matrix]\n', "no rows", 2),
        ('command = ["a"]\n[matrix]\nx = []\n', "empty", 3),
        ('command = ["a"]\n[matrix]\nx = [[1]]\n', "list or a table", 3),
        ('command = ["a"]\n[zip]\nx = [1, 2]\ny = [1, 2, 3]\n', "one length", 2),
        ('command = ["a"]\nrun = 3\n', "no list of tables", 2),
        ('command = ["a"]\n[[run]]\ngpus = 2\n', "reserved", 3),
        ('command = ["a"]\n[[run]]\n"@env.A B" = 2\n', "no environment variable", 2),
        ('command = ["a", "{x}"]\n[[run]]\nx = 1\n[[run]]\ny = 1\n', "has no x", 4),
        ('command = ["a", "{x...}"]\n[[run]]\nx = "it\'s"\n', "cannot split", 2),
    ],
)
def test_refused_whole(faults_of: Faults, text: str, words: str, line: int | None) -> None:
    """A file that cannot be a campaign says why in one line, never with a traceback."""
    fault = next(fault for fault in faults_of(text) if words in fault.message)
    assert line is None or fault.line == line or (words == "reserved" and fault.line == 2)


def test_a_huge_product_is_refused_before_it_is_made(faults_of: Faults) -> None:
    """Ten axes of ten values filled the memory of a login node."""
    axes = "\n".join(f"a{n} = [0,1,2,3,4,5,6,7,8,9]" for n in range(10))
    assert "10,000,000,000 rows" in faults_of(f'command = ["a"]\n[matrix]\n{axes}\n')[0].message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"timeout": "0"}, "--timeout"),
        ({"gpus": "x"}, "--gpus"),
        ({"gpus": "1"}, "none is visible"),
        ({"slots": 0}, "--slots"),
        ({"executor": "slurm"}, "--executor"),
        ({"name": "a/b"}, "--name"),
        ({"settings": ["limits.heartbeet=1m"]}, "--set limits.heartbeet=1m"),
        ({"settings": ["limits"]}, "no KEY=VALUE"),
        ({"settings": ["=1"]}, "no KEY=VALUE"),
        ({"settings": ["command.x=1"]}, "no table"),
        ({"settings": ["limits=1h"]}, "no table"),
        ({"only": "nothing*"}, "--only"),
        ({"limit": 0}, "--limit"),
        ({"command": []}, "the command after --"),
        ({"command": ["a\udcff"]}, "UTF-8"),
    ],
)
def test_options_are_refused_by_their_name(faults_of: Faults, options: dict[str, object], words: str) -> None:
    """A fault of the command line must not send a person into the file."""
    fault = next(fault for fault in faults_of(HEAD, **options) if words in fault.message)
    assert fault.file is None


def test_files_that_are_no_campaign(launch: Launch, tmp_path: Path) -> None:
    """A sheet given as the campaign, a folder, a missing file, bytes of another world: one line each."""
    from overnight.manifest import read_campaign

    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "latin.toml").write_bytes(b'name = "x"\n# caf\xe9\n')
    (tmp_path / "deep.toml").write_text("a = " + "[" * 5000)
    for name, words in [
        ("a.csv", "--runs"),
        ("gone.toml", "--"),
        (".", "nothing"),
        ("latin.toml", "UTF-8"),
        ("deep.toml", "TOML"),
    ]:
        with pytest.raises(Refusal) as refused:
            read_campaign(Path(name), cwd=tmp_path)
        assert words in (refused.value.hint or ""), name


def test_checkpoints_of_a_row_stay_inside(faults_of: Faults) -> None:
    """A cell with `..` let one run load another's checkpoint."""
    text = """command = ["a", "{out_dir}"]
[checkpoint]
path = "{out_dir}/{sub}/.{name}"
[[run]]
sub = "a/../.."
name = "x"
[[run]]
sub = "a..b"
name = "./x"
"""
    assert [fault.line for fault in faults_of(text)] == [4, 7]


def test_a_thousand_bad_rows_are_counted_not_listed(faults_of: Faults) -> None:
    """A broken generator spoils every row; a person reads the first few."""
    faults = faults_of(csv="run_id\n" + "../x\n" * 1000, command=["a"])
    assert len(faults) == 101 and "900 more" in faults[-1].message


@pytest.mark.parametrize("value", ["x", 3, 0.5, True, [], {}, [1, "a"], {"a": 1}, [{}], "é"])
@pytest.mark.parametrize(
    "key",
    ["name", "command", "runs", "fail_fast", "cwd", "executor", "resources", "limits", "progress", "checkpoint",
     "retry", "env", "artifacts", "code", "run", "matrix", "zip", "fake", "resources.gpus", "resources.slots",
     "limits.timeout", "limits.heartbeat", "progress.pattern", "checkpoint.path", "checkpoint.resume",
     "retry.backoff", "retry.backoff.factor", "retry.class", "retry.max_attempts", "artifacts.required", "env.A",
     "code.on_change"],
)  # fmt: skip
def test_any_value_anywhere_is_read_or_refused(launch: Launch, key: str, value: object) -> None:
    """No value of a known key may end in a traceback."""
    shown = json.dumps(value, ensure_ascii=False).replace(": ", " = ")
    try:
        frozen = launch('command = ["a"]\n[[run]]\nx = 1\n', settings=[f"{key}={shown}"])
    except Refusal as refusal:
        assert refusal.message and refusal.hint
    else:
        assert frozen.runs


def test_what_never_ends_is_no_file(launch: Launch) -> None:
    """`--runs /dev/zero` took all of the memory and then the night."""
    with pytest.raises(Refusal, match="is longer than 256 MiB"):
        launch(runs=Path("/dev/zero"), command=["true", "{out_dir}"])


def test_the_file_with_the_faults_is_named(launch: Launch, tmp_path: Path) -> None:
    """`the command line has 2 faults` sent people to look at what they had typed; the faults were in the rows."""
    (tmp_path / "rows.csv").write_text("run_id,x\n../a,1\nb c,2\n")
    with pytest.raises(Refusal, match=r"rows\.csv has 2 faults"):
        launch(runs=Path("rows.csv"), command=["true", "{x}", "{out_dir}"])


def test_one_thing_said_twice(launch: Launch) -> None:
    """`--set command=…` beside `-- …`: one of the two was taken, and nobody was told which."""
    with pytest.raises(Refusal, match=r"--set limits\.timeout=1h and --timeout name the same thing"):
        launch(command=["true"], settings=("limits.timeout=1h",), timeout="2h")
