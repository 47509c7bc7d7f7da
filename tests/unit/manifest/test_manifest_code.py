"""Code identity: the same contents are the same code, and a look never hangs or raises."""

import os
import subprocess
import threading
from pathlib import Path

import pytest

from overnight.manifest import CodeCache, code_identity, code_patch

LONG = 60.0  # so that a slow machine does not decide


def git(repository: Path, *arguments: str) -> None:
    """Run git as nobody in particular."""
    config = ["-c", "user.name=n", "-c", "user.email=e@x", "-c", "commit.gpgsign=false", "-c", "init.defaultBranch=m"]
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    subprocess.run(["git", *config, *arguments], cwd=repository, env=env, check=True, capture_output=True, timeout=60)


def old(path: Path) -> None:
    """Make a file look older than any file system's clock step."""
    os.utime(path, (1, 1))


def look(cwd: Path, *exclude: Path, cache: CodeCache | None = None) -> str:
    """The digest; there must be one, and no problem."""
    found = code_identity(cwd, exclude, LONG, cache or CodeCache())
    assert found.problem is None and found.digest is not None, found
    return found.digest


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one committed file, an ignored one, and a package."""
    path = tmp_path / "repo"
    (path / "lib").mkdir(parents=True)
    git(path, "init")
    (path / "train.py").write_text("a = 1\n")
    (path / "lib" / "model.py").write_text("b = 1\n")
    (path / ".gitignore").write_text("ignored/\n")
    git(path, "add", ".")
    git(path, "commit", "-m", "one")
    return path


def test_committing_changes_nothing(repository: Path) -> None:
    """A commit in the night, without a change of the code, once held the whole queue."""
    clean = look(repository)
    (repository / "train.py").write_text("a = 2\n")
    (repository / "new.py").write_text("c = 1\n")
    dirty = look(repository)
    assert dirty != clean
    git(repository, "add", ".")
    assert look(repository) == dirty
    git(repository, "commit", "-m", "two")
    assert look(repository) == dirty
    git(repository, "rm", "-q", "new.py")
    deleted = look(repository)
    git(repository, "commit", "-m", "three")
    assert look(repository) == deleted != dirty
    (repository / "train.py").write_text("a = 1\n")
    assert look(repository) == clean


def test_what_does_not_count(repository: Path) -> None:
    """What runs write must not look like a change of the code: every attempt would be a revision."""
    before = look(repository, repository / "overnight-runs")
    for name in ("ignored/x", "__pycache__/x.pyc", "overnight-runs/campaigns/x", "wandb/run/x", "mlruns/x", "train.log",
                 "env/pyvenv.cfg"):  # fmt: skip
        file = repository / name
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text("x")
    with (repository / "large.bin").open("wb") as large:
        large.truncate(10_000_001)
    (repository / "env" / "pyvenv.cfg").unlink()
    assert look(repository, repository / "overnight-runs") == before
    assert look(repository) != before


def test_the_whole_tree_counts_below_a_directory(repository: Path) -> None:
    """A command run in a subdirectory imports the library beside it; scratch files elsewhere are not its code."""
    before = look(repository / "lib")
    (repository / "scratch.py").write_text("x")
    assert look(repository / "lib") == before
    (repository / "train.py").write_text("a = 3\n")
    changed = look(repository / "lib")
    assert changed != before
    (repository / "lib" / "loose.py").write_text("x")
    assert look(repository / "lib") != changed


def test_without_git(tmp_path: Path) -> None:
    """A folder without a repository has an identity too: its files, without what programs write."""
    (tmp_path / "train.py").write_text("a = 1\n")
    os.symlink("train.py", tmp_path / "link.py")
    os.mkfifo(tmp_path / "pipe")
    before = look(tmp_path)
    for name in ("x.log", "wandb/x", "venv9/pyvenv.cfg", "venv9/lib/x.py", "a/__pycache__/x.pyc"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text("x")
    assert look(tmp_path) == before
    os.unlink(tmp_path / "link.py")
    os.symlink("other.py", tmp_path / "link.py")
    assert look(tmp_path) != before
    (tmp_path / "copy").mkdir()
    assert code_identity(tmp_path / "copy", (), LONG, CodeCache()).files == 0


def test_problems_are_named_not_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that fails must cost a sentence, not the supervisor's turn."""
    assert "no directory" in (code_identity(tmp_path / "gone").problem or "")
    (tmp_path / "a.py").write_text("a")
    late = code_identity(tmp_path, (), 0.0, CodeCache())
    assert late.digest is None and "took longer" in (late.problem or "")
    (tmp_path / ".git").mkdir()
    broken = code_identity(tmp_path, (), LONG, CodeCache())
    assert broken.digest is not None and "not a git repository" in (broken.problem or "")
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = code_identity(tmp_path, (), LONG, CodeCache())
    assert missing.digest == broken.digest and "not installed" in (missing.problem or "")


def test_a_look_that_hangs_holds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead network file system answers a stat when it pleases; the second look must not pile up behind the first."""
    release = threading.Event()
    from overnight.manifest import code

    def hang(*_: object) -> None:
        release.wait(LONG)
        raise OSError("late")

    monkeypatch.setattr(code, "list_code", hang)
    cache = CodeCache()
    try:
        assert "took longer" in (code_identity(tmp_path, (), 0.01, cache).problem or "")
        assert "has not come back" in (code_identity(tmp_path, (), 0.01, cache).problem or "")
    finally:
        release.set()
    for thread in threading.enumerate():
        if thread.name == "code-identity":
            thread.join(LONG)
    monkeypatch.undo()
    assert code_identity(tmp_path, (), LONG, cache).digest is not None


def test_a_second_look_reads_only_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every start of an attempt: a look that reads the whole tree anew would cost more than the start."""
    from overnight.manifest import code

    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("x = 1")
    read: list[str] = []
    content = code._content

    def reading(path: str, status: os.stat_result) -> bytes:
        read.append(Path(path).name)
        return content(path, status)

    monkeypatch.setattr(code, "_content", reading)
    monkeypatch.setattr(code, "_RACY_NANOSECONDS", -(10**18))
    cache = CodeCache()
    first = look(tmp_path, cache=cache)
    assert sorted(read) == ["a.py", "b.py"]
    assert look(tmp_path, cache=cache) == first and len(read) == 2
    before = (tmp_path / "a.py").stat()
    while (tmp_path / "a.py").stat().st_ctime_ns == before.st_ctime_ns:  # older kernels' clocks go in steps
        (tmp_path / "a.py").write_text("x = 2")  # same size; then the same time, as rsync and tar leave it
        os.utime(tmp_path / "a.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert look(tmp_path, cache=cache) != first
    assert read[2:] == ["a.py"]


def test_a_file_written_just_now_is_read_again(tmp_path: Path) -> None:
    """Two saves within one step of the file system's clock look like one."""
    cache = CodeCache()
    (tmp_path / "a.py").write_text("x = 1")
    status = (tmp_path / "a.py").stat()
    first = cache.digest(str(tmp_path / "a.py"), status)
    (tmp_path / "a.py").write_text("x = 2")
    assert cache.digest(str(tmp_path / "a.py"), status) != first


def test_patch(repository: Path) -> None:
    """What really ran, next month: the commit, its difference, and new files; never a token."""
    assert code_patch(repository, (), deadline_seconds=LONG) is None
    (repository / "train.py").write_text("a = 2\n")
    (repository / "new.py").write_text("c = 1\nd")
    (repository / ".env.local").write_text("TOKEN=hunter2\n")
    (repository / "settings.env").write_text("A=1\n")
    git(repository, "add", "settings.env")
    git(repository, "commit", "-m", "a secret by mistake")
    (repository / "settings.env").write_text("A=hunter2\n")
    (repository / "image.bin").write_bytes(b"\0\1")
    (repository / "runs").mkdir()
    (repository / "runs" / "x.txt").write_text("result")
    patch = code_patch(repository, (repository / "runs",), deadline_seconds=LONG)
    assert patch is not None
    assert "-a = 1\n+a = 2\n" in patch
    assert "+++ b/new.py\n@@ -0,0 +1,2 @@\n+c = 1\n+d\n\\ No newline" in patch
    assert "hunter2" not in patch and ".env.local" in patch
    assert "image.bin: content left out" in patch and "result" not in patch
    (repository / "big.py").write_text("line\n" * 100_000)
    cut = code_patch(repository, (), 10_000, LONG)
    assert cut is not None and len(cut.encode()) <= 10_000 and "cut here" in cut


def test_patch_makes_the_code_again(repository: Path, tmp_path: Path) -> None:
    """A record that cannot be applied is decoration."""
    (repository / "train.py").write_text("a = 2\n")
    (repository / "lib" / "new.py").write_text("c = 1\n")
    (repository / "lib" / "__init__.py").write_text("")
    (repository / "lib" / "tokenizer.py").write_text("no end")
    patch = code_patch(repository, (), deadline_seconds=LONG)
    expected = look(repository)
    git(repository, "stash", "--include-untracked")
    (tmp_path / "p.diff").write_text(patch or "")
    git(repository, "apply", str(tmp_path / "p.diff"))
    assert look(repository) == expected


def test_no_patch_without_git(tmp_path: Path) -> None:
    """Nothing to compare with is no difference."""
    (tmp_path / "a.py").write_text("x")
    assert code_patch(tmp_path, (), deadline_seconds=LONG) is None
    assert code_patch(tmp_path / "gone", (), deadline_seconds=LONG) is None


@pytest.mark.parametrize("mark", [".state", ".overnight-state.json"])
def test_another_root_is_no_code(repository: Path, tmp_path: Path, mark: str) -> None:
    """Two campaigns in two roots of one project: every line that one wrote was a change of the other's code."""
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "train.py").write_text("a = 1\n")
    for place in (repository, plain):
        before = look(place)
        attempt = place / "other" / "campaigns" / "c-1" / "runs" / "r"
        attempt.mkdir(parents=True)
        state = place / "other" / mark
        state.mkdir() if mark == ".state" else state.write_text("{}")
        (attempt / "output.csv").write_text("1\n")
        (place / "other" / "lease").write_text("now")
        (place / "other" / ".lease.1").write_text("host")
        assert look(place) == before
        (place / "campaigns").mkdir()  # a folder of that name alone is the user's own
        (place / "campaigns" / "plan.py").write_text("c = 1\n")
        assert look(place) != before
