"""`overnight.run`: what a program says of itself costs it nothing, whatever happens to us."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from overnight.probes import progress_file


def python(code: str, tmp_path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A program of its own, as a run is; without the environment of this test."""
    clean = {name: value for name, value in os.environ.items() if "RANK" not in name and not name.startswith("OVERNI")}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env={**clean, **env}, cwd=tmp_path, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip


def said(tmp_path: Path, code: str, **env: str) -> dict[str, object]:
    """The progress file that a program leaves; it must end well."""
    path = tmp_path / "progress.json"
    done = python(
        f"from overnight.run import *\n{textwrap.dedent(code)}", tmp_path, OVERNIGHT_PROGRESS=str(path), **env
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [entry.name for entry in tmp_path.iterdir()] == ["progress.json"]
    found = json.loads(path.read_text())
    assert isinstance(found, dict)
    return found


def test_progress_says_step_total_and_numbers(tmp_path: Path) -> None:
    """A trainer with a logger of its own was watched for its silence alone."""
    code = """
    class Tensor:
        def __float__(self): return 0.25
    progress(7, 500, loss=Tensor(), lr=1e-4, note="text", bad=float("nan"))
    """
    found = said(tmp_path, code)
    assert {**found, "wall": None} == {"step": 7.0, "total": 500.0, "metrics": {"loss": 0.25, "lr": 1e-4}, "wall": None}


def test_outside_a_run_it_does_nothing_and_imports_nothing(tmp_path: Path) -> None:
    """A script that names us is run by hand on a laptop a thousand times a second, and must not notice."""
    code = """
    import sys
    before = set(sys.modules)
    from overnight.run import phase, progress
    with phase("eval", quiet="2h"):
        for step in range(1000):
            progress(step, 1000, loss=step)
    import overnight
    print(sorted(set(sys.modules) - before), len(list(__import__("os").scandir("."))))
    """
    done = python(code, tmp_path)
    assert done.stdout == "['overnight', 'overnight.run'] 0\n", done.stderr


def test_the_import_costs_next_to_nothing(tmp_path: Path) -> None:
    """`import overnight.run` in a training script pulled in the command line and its libraries."""
    code = "import sys; import overnight.run; print(len([m for m in sys.modules if m.startswith('overnight')]))"
    done = python(code, tmp_path)
    assert done.stdout == "2\n"
    assert python("import overnight, sys; print('msgspec' in sys.modules)", tmp_path).stdout == "False\n"


def test_a_phase_ends_with_its_block(tmp_path: Path) -> None:
    """An evaluation was declared quiet, and the training after it was never found to hang."""
    code = """
    import json, os
    seen = []
    look = lambda: seen.append([json.load(open(os.environ["OVERNIGHT_PROGRESS"])).get(k) for k in ("phase", "quiet")])
    phase("train")
    with phase("eval", quiet="2h"):
        look()
        with phase("upload", quiet=600):
            look()
        look()
    look()
    phase(None)
    progress(1, 1, seen=len(seen))
    assert seen == [["eval", "2h"], ["upload", 600], ["eval", "2h"], ["train", None]], seen
    """
    assert said(tmp_path, code)["phase"] is None


def test_writes_are_rationed_and_the_last_word_is_kept(tmp_path: Path) -> None:
    """A thousand steps a second were a thousand renames on a file server, and the last of them was left out."""
    code = """
    import os
    made = 0
    replace = os.replace
    def counted(*paths):
        global made
        made += 1
        return replace(*paths)
    os.replace = counted
    import time
    now = 100.0
    time.monotonic = lambda: now
    for step in range(900):
        progress(step, loss=1.5)
        now += 0.001
    assert made == 1, made
    progress(999_999, loss=2.5)
    """
    found = said(tmp_path, code)
    assert (found["step"], found["metrics"]) == (999_999.0, {"loss": 2.5})


def test_the_last_step_is_said_at_once(tmp_path: Path) -> None:
    """The upload after the last step was taken for a hang, because the last step was never seen."""
    found = said(tmp_path, "progress(499, 500); progress(500, 500); import os; os._exit(0)")
    assert found["step"] == 500.0


@pytest.mark.parametrize("name", ["RANK", "SLURM_PROCID"])
def test_only_the_first_rank_writes(tmp_path: Path, name: str) -> None:
    """Eight ranks a step apart wrote into one file, and the run seemed to go to and fro."""
    path = tmp_path / "progress.json"
    python("from overnight.run import progress; progress(5)", tmp_path, OVERNIGHT_PROGRESS=str(path), **{name: "1"})
    assert not path.exists()
    assert said(tmp_path, "progress(5)", **{name: "0"})["step"] == 5.0


def test_ranks_that_are_not_known_write_harmlessly(tmp_path: Path) -> None:
    """Processes without a rank wrote the same temporary file, and a reader found half of two."""
    code = """
    import os
    for _ in range(4):
        if os.fork() == 0:
            for step in range(300):
                with phase("load", quiet=step + 1):
                    progress(step, step)
            os._exit(0)
    for _ in range(4):
        assert os.wait()[1] == 0
    """
    assert said(tmp_path, code)["step"] == 299.0


@pytest.mark.parametrize(
    "path", ["/nowhere/at/all/progress.json", "/proc/progress.json", "/dev/full/x", "\ud800", "/" + "x" * 5000]
)
def test_no_ground_no_harm(tmp_path: Path, path: str) -> None:
    """The disk was full, and the progress line ended the training that it was to show."""
    done = python(
        f"""
        import os
        os.environ["OVERNIGHT_PROGRESS"] = {path!r} if {path!r}.isprintable() else "/nowhere"
        from overnight.run import phase, progress
        progress(1, 2, loss=3)
        with phase("eval", quiet=object()):
            progress(object(), "many", **{{"a b": []}})
        progress(2, 2)
        print("trained")
        """,
        tmp_path,
    )
    assert (done.stdout, done.stderr) == ("trained\n", "")


def test_a_full_disk_leaves_the_old_word(tmp_path: Path) -> None:
    """On a disk that is full the file was emptied, and the run fell back to nothing."""
    code = """
    import json, resource, signal
    progress(1, 9)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    progress(9, 9)
    """
    assert said(tmp_path, code)["step"] == 1.0


@pytest.mark.parametrize(
    "quiet, seconds",
    [("2h", 7200.0), ("1h30m", 5400.0), ("90 minutes", 5400.0), (45, 45.0), ("2 hours", 7200.0), (1.5, 1.5),
     ("soon", None), ("-5m", None), (-5, None), (0, None), ("", None), (None, None), (True, None), ([], None),
     ("9" * 400 + "h", None), (float("inf"), None)],
)  # fmt: skip
def test_how_long_a_phase_is_quiet(quiet: object, seconds: float | None) -> None:
    """A duration that is none must neither stretch a limit for ever nor end a look."""
    assert progress_file.seconds(quiet) == seconds


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{", b'"x"', b"\xff\xfe", b"{" * 5000, b'{"step": "5"}', b'{"step": true}', b'{"step": 1e999}',
     b'{"step": null, "phase": 5, "metrics": [1]}', b" " * 70_000, b'{"phase": "\\u0007"}', b'{"quiet": "2h"}'],
)  # fmt: skip
def test_a_file_that_says_nothing(tmp_path: Path, data: bytes) -> None:
    """What a program wrote by hand was half a line, and the look at it failed for the rest of the night."""
    path = tmp_path / "progress.json"
    path.write_bytes(data)
    found = progress_file.read(str(path))
    assert found is None or (found.mark, found.phase, found.quiet, found.metrics) == (None, None, None, {})


def test_no_tensor_is_kept(tmp_path: Path) -> None:
    """The loss that was said kept its graph, and with it the activations of a whole step, on the device."""
    code = """
    import weakref
    class Tensor:
        def __float__(self): return 0.5
    for step in range(3):
        loss = Tensor()
        seen = weakref.ref(loss)
        progress(step, 9, loss=loss, lr=0.1 * step)
        del loss
        assert seen() is None, step
    """
    found = said(tmp_path, code)
    assert (found["step"], found["metrics"]) == (2.0, {"loss": 0.5, "lr": 0.2})
