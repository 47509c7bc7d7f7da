"""What a person sees when something is wrong: one line, one hint, an exit code; never a traceback."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from client_world import Overnight
from standin import StandIn


@pytest.mark.parametrize(
    ("arguments", "code", "words", "hint"),
    [
        (["lanch"], 2, "no such command: lanch", "overnight launch"),
        (["launch", "--foo"], 2, "no such option", "overnight launch --help"),
        (["launch"], 2, "no overnight.toml here", "overnight init"),
        (["launch", "nix.toml"], 2, "nix.toml", "hint"),
        (["launch", "--slots", "0", "--", "true"], 2, "slots", "--help"),
        (["launch", "--timeout", "0", "--", "true"], 2, "none", ""),
        (["launch", "--slots", "9" * 23, "--", "true"], 2, "out of bounds", "1000000"),
        (["resume", "--root", "nix"], 3, "nothing has been launched under", "--root"),
        (["why"], 2, "CAMPAIGN", "overnight why --help"),
        (["status", "nix"], 3, "no campaign 'nix'", "overnight status"),
        (["logs", "nix", "a"], 3, "no campaign", ""),
        (["retry", "nix"], 3, "no campaign", ""),
        (["watch"], 3, "no campaign is active", "overnight launch"),
        (["supervisor", "status"], 3, "there is no root", "--root"),
        (["supervisor"], 2, "needs a word more", "start, stop, status, restart"),
        (["rules"], 2, "needs a word more", "overnight rules --help"),
        (["launch", "--root", "x" * 300, "--", "true"], 2, "too long", ""),
        (["launch", "--root", "bad\udcff", "--", "true"], 2, "bad\\xff is not UTF-8", "rename"),
        (["supervisor", "dance"], 2, "dance", "overnight supervisor --help"),
        (["classify", "nix.log"], 3, "cannot be read", "stdin"),
        (["classify", "/dev/null", "--exit-code", "999"], 2, "no program exits with 999", "0 to 255"),
        (["classify", "/dev/null", "--exit-code", "-65"], 2, "no signal 65", "SIGKILL"),
        (["init", "nix"], 3, "no folder nix", ""),
    ],
)
def test_errors_are_words_and_codes(
    overnight: Overnight, arguments: list[str], code: int, words: str, hint: str
) -> None:
    """Guards against tracebacks, and against scripts that cannot tell a typo from a missing campaign."""
    said = overnight(*arguments)
    assert said.code == code
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert words in said.err
    assert hint in said.err
    assert "Traceback" not in said.err

    at = arguments.index("--") if "--" in arguments else len(arguments)
    said = overnight(*arguments[:at], "--json", *arguments[at:])
    document = json.loads(said.out)
    assert said.code == code
    assert sorted(document) == ["error", "faults", "hint"]
    assert said.err == ""


def test_all_faults_are_shown_at_once(overnight: Overnight) -> None:
    """Guards against mending a file one fault at a time, at midnight."""
    Path("c.toml").write_text('command = ["true", "{nix}"]\n[limits]\nheartbeet = "5m"\n[[run]]\nrun_id = "a"\n')
    said = overnight("launch", "c.toml")
    assert said.code == 2
    assert "c.toml:1: " in said.err
    assert "c.toml:3: " in said.err
    faults = json.loads(overnight("launch", "c.toml", "--json").out)["faults"]
    assert {fault["line"] for fault in faults} == {1, 3}


def test_our_own_fault_is_one_line_and_a_file(overnight: Overnight, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against a traceback as the answer to a person, and against one that nobody can send us."""
    import overnight.api.places as places

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by\nzero")

    monkeypatch.setattr(places, "nearest_active", broken)
    said = overnight("status")
    assert said.code == 4
    assert said.err.startswith("error: internal: ZeroDivisionError: division by zero\n")
    assert "Traceback" not in said.err
    trace = Path(said.err.split("the trace is in ")[1].strip())
    assert "Traceback" in trace.read_text()
    trace.unlink()
    monkeypatch.setenv("OVERNIGHT_DEBUG", "1")
    assert "Traceback" in overnight("status").err


def run_it(*arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "overnight", *arguments], capture_output=True, text=True, timeout=60, **options
    )


def test_a_reader_that_has_seen_enough_is_no_error(standin: StandIn, overnight: Overnight) -> None:
    """Guards against `overnight status … | head -1` ending in a BrokenPipeError."""
    rows = "run_id,x\n" + "".join(f"r{n},{n}\n" for n in range(5000))
    Path("sweep.csv").write_text(rows)
    assert overnight("launch", "--runs", "sweep.csv", "--", "true", "{x}", "{out_dir}").code == 0
    line = f"{sys.executable} -m overnight status --all --json sweep | head -c 10; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout) == 10


def in_shell(line: str, **options: object) -> "subprocess.CompletedProcess[str]":
    """A line of a shell in which `$0` is the command."""
    command = f'exec {sys.executable} -m overnight "$@"'
    script = f"o() {{ ( {command} ); }}; {line}"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, **options)


def test_closed_streams_are_no_error(standin: StandIn, overnight: Overnight) -> None:
    """Guards against a cron job with `>&-` whose answer, or whose database, is a traceback."""
    assert overnight("launch", "--name", "bat", "--", "true").code == 0
    for closed in (">&-", "2>&-", "<&-", "<&- >&- 2>&-"):
        done = in_shell(f"o status bat {closed}")
        assert done.returncode == 0, (closed, done.stderr)
        assert done.stderr == ""


@pytest.mark.parametrize("json_too", ["", "--json"])
def test_an_answer_that_cannot_be_written_is_no_answer(standin: StandIn, overnight: Overnight, json_too: str) -> None:
    """Guards against exit 0, or a traceback, with an empty file on a full disk."""
    assert overnight("launch", "--name", "bat", "--", "true").code == 0
    done = in_shell(f"o status bat {json_too} > /dev/full")
    assert done.returncode == 4
    assert done.stderr.startswith("error: ")
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    """Guards against "internal: FileNotFoundError" in a shell whose directory somebody removed."""
    (tmp_path / "gone").mkdir()
    for verb in ("status", "launch -- true"):
        done = in_shell(f"cd {tmp_path}/gone; rmdir ../gone; o {verb}; c=$?; mkdir ../gone; exit $c")
        assert (done.returncode, done.stderr.splitlines()[0]) == (
            2, "error: the directory that you are in is not there any more",
        )  # fmt: skip


def test_a_root_that_is_a_link_to_nothing(overnight: Overnight, tmp_path: Path) -> None:
    """Guards against "cannot be made: File exists" for a root that `ls` shows and nobody finds."""
    (tmp_path / "link").symlink_to(tmp_path / "unmounted")
    said = overnight("launch", "--root", str(tmp_path / "link"), "--", "true")
    assert said.code == 2
    assert f"is a link to {tmp_path / 'unmounted'}, which is not there" in said.err


@contextlib.contextmanager
def as_a_stranger(state: Path) -> Iterator[None]:
    """As somebody to whom the folder is closed: nobody, where we are root."""
    if os.geteuid():
        state.chmod(0)
    else:
        os.seteuid(65534)
    try:
        yield
    finally:
        if os.geteuid() == 65534:
            os.seteuid(0)
        state.chmod(0o700)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that everybody may walk through: pytest's own are closed."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_another_users_root_is_named_as_such(
    open_path: Path, overnight: Overnight, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each verb said `internal: PermissionError … please report it` in a colleague's folder."""
    with StandIn(open_path / "overnight-runs") as standin:
        monkeypatch.chdir(open_path)
        assert overnight("launch", "--name", "bat", "--", "true").code == 0
    asked = (
        ("status",), ("status", "bat"), ("why", "bat"), ("logs", "bat"), ("retry", "bat"), ("cancel", "bat"),
        ("amend", "bat", "--set", "limits.grace=1s"), ("results", "bat"), ("watch", "bat"),
        ("launch", "--name", "bat", "--", "true"), ("supervisor", "status"), ("supervisor", "start"),
        ("supervisor", "stop"),
    )  # fmt: skip
    for arguments in asked:  # a stranger could not load what is not loaded yet
        overnight(*arguments, "--help")
    overnight("supervisor", "status")
    for arguments in asked:
        with as_a_stranger(standin.state):
            said = overnight(*arguments)
        assert said.code == 4, (arguments, said)
        assert "another user's" in said.err, said.err
        assert "hint: ask as that user, or name a root of your own" in said.err
    assert len(standin.requests) == 1


def test_root_asks_nothing_of_another_users_supervisor(
    standin: StandIn, overnight: Overnight, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root's request was a file that the user's supervisor could not read; or root's supervisor left files behind that
    the user's next one could not use."""
    assert overnight("launch", "--name", "bat", "--", "true").code == 0
    asked = len(standin.requests)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    for arguments in (("cancel", "bat"), ("supervisor", "start"), ("supervisor", "stop"), ("launch", "--", "true")):
        said = overnight(*arguments)
        assert said.code == 4, (arguments, said)
        assert "whose supervisor watches it" in said.err
    assert overnight("status", "bat").code == 0
    assert len(standin.requests) == asked
    assert not (standin.state / "stopped").exists()


def test_no_colour_where_nobody_looks(standin: StandIn, overnight: Overnight) -> None:
    """Guards against escape codes in logs and mails; NO_COLOR is for those who look."""
    assert overnight("launch", "--name", "bat", "--", "true").code == 0
    done = run_it("status", "bat", env={**os.environ, "FORCE_COLOR": "1"})
    assert done.returncode == 0
    assert "\x1b" not in done.stdout


def test_version_is_answered_before_anything_is_imported() -> None:
    """Guards against `--version` that takes as long as a launch."""
    code = (
        "import sys; sys.argv = ['overnight', '--version']\n"
        "from overnight.__main__ import main\nbefore = set(sys.modules); main()\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('overnight', 'click', 'msgspec', 'typing')))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, env=with_source())
    assert done.stdout == "overnight 0.1.0\n['overnight', 'overnight.__main__']\n"


def with_source() -> dict[str, str]:
    import overnight

    return {**os.environ, "PYTHONPATH": str(Path(overnight.__file__).parent.parent)}


HEAVY = {
    *("asyncio", "rich", "pathlib", "hashlib", "platformdirs", "psutil", "rfc8785", "pynvml", "tomllib", "subprocess"),
    *("socket", "logging", "tempfile", "csv", "concurrent", "ssl", "http", "email", "html", "xml", "argparse"),
}
OURS = ("api", "cli", "model", "ports", "queries", "store", "core")


@pytest.mark.parametrize("names", [("bat",), ("bat", "cat")], ids=["the page of one", "the list of all"])
def test_status_loads_what_it_needs_and_no_more(standin: StandIn, overnight: Overnight, names: tuple[str, ...]) -> None:
    """Guards against `status` growing slow by an import at the top of some file. The list looks into every root that
    is remembered."""
    for name in names:
        assert overnight("launch", "--name", name, "--", "true").code == 0
    code = (
        "import sys, overnight.__main__\nfrom overnight.cli.app import run\nassert run(['status']) == 0\n"
        "print('\\n' + ' '.join(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert all(name in done.stdout for name in names), done.stderr
    loaded = done.stderr.split()
    assert not [name for name in loaded if name.split(".")[0] in HEAVY]
    ours = [name for name in loaded if name.startswith("overnight.")]
    of_files = {f"overnight.artifacts{name}" for name in ("", ".filesystems", ".finding", ".holder")}
    assert {name.split(".")[1] for name in ours if name not in of_files} <= {*OURS, "__main__"}
    verbs = {name for name in loaded if name.startswith("overnight.cli.")}
    assert verbs == {f"overnight.cli.{name}" for name in ("app", "speak", "options", "status", "words")}
