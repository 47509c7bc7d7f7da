"""Which files are "the code": what git tracks and what it does not ignore, else the files below a directory."""

import os
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from overnight.model.codec import Struct

LARGEST_BYTES = 10_000_000  # data and checkpoints are no code
MOST_FILES = 50_000

# Never looked into: not code, or written by the very programs that run.
_SKIPPED_DIRECTORIES = frozenset(
    {
        ".git", ".hg", ".svn", "__pycache__", ".venv", "venv", "node_modules", ".mypy_cache", ".pytest_cache",
        ".ruff_cache", ".tox", ".ipynb_checkpoints", "wandb", "mlruns",
    }
)  # fmt: skip
_SKIPPED_SUFFIXES = (".log", ".pyc", ".swp")
_ROOT_MARKS = (".state", ".overnight-state.json")  # what a root of campaigns holds beside them
_OF_A_ROOT = frozenset({"campaigns", "lease", *_ROOT_MARKS})
_SKIPPED_NAMES = frozenset({"nohup.out", ".DS_Store"})
_NO_REPOSITORY = (b"dubious ownership", b"not a git repository", b"must be run in a work tree")


class OutOfTime(Exception):
    """The deadline came first."""


class CodeProblem(Exception):
    """The files cannot be listed; the message says why."""


class Listing(Struct, frozen=True):
    """Files relative to `base`, sorted. `tracked` by git, `loose` are not; `git` says who was asked."""

    base: str
    tracked: tuple[str, ...]
    loose: tuple[str, ...]
    git: bool = False
    commit: str | None = None
    problem: str | None = None


class Deadline:
    """Seconds that are left, by the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until the end; raises `OutOfTime` when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise OutOfTime
        return left


def list_code(cwd: Path, exclude: Sequence[Path], deadline: Deadline) -> Listing:
    """The files that count for a command run in `cwd`. Raises `OutOfTime`, `CodeProblem`.

    In a git work tree: everything tracked, wherever in the tree, and what is neither tracked nor ignored below
    `cwd`. Elsewhere: the files below `cwd`. Never below `exclude`.
    """
    directory = os.path.realpath(cwd)
    if not Path(directory).is_dir():
        raise CodeProblem(f"{cwd} is no directory")
    out = _Outside(exclude)
    problem = None
    if _in_work_tree(directory):
        try:
            return _git_listing(directory, out, deadline)
        except FileNotFoundError:
            problem = "git is not installed; the files below the directory were taken"
        except _NoRepository as error:
            problem = f"git would not answer ({error}); the files below the directory were taken"
    paths = sorted(_walk(directory, directory, out, deadline))
    return Listing(base=directory, tracked=(), loose=tuple(paths), problem=problem)


class _Outside:
    """Paths that do not count: the root of campaigns, the state; other roots that lie there too."""

    def __init__(self, exclude: Iterable[Path]) -> None:
        self.paths = tuple(dict.fromkeys(os.path.realpath(path) for path in exclude))
        self._below = tuple(path.rstrip("/") + "/" for path in self.paths)
        self._roots: dict[str, bool] = {}

    def __contains__(self, path: str) -> bool:
        return path in self.paths or path.startswith(self._below)

    def of_a_root(self, top: str, name: str) -> bool:
        """Whether a file is one of another root's: each of its runs would be a change of everybody's code."""
        parts = name.split("/")
        places = (i for i, part in enumerate(parts) if _may_be_of_a_root(part))
        return any(self._is_root(os.path.join(top, *parts[:i])) for i in places)

    def _is_root(self, directory: str) -> bool:
        if directory not in self._roots:
            path = Path(directory)
            held = (path / "campaigns").is_dir() and any((path / mark).exists() for mark in _ROOT_MARKS)
            self._roots[directory] = held
        return self._roots[directory]


# --- git ---------------------------------------------------------------------------------------------------


class _NoRepository(Exception):
    pass


def _in_work_tree(directory: str) -> bool:
    path = Path(directory)
    return any((parent / ".git").exists() for parent in (path, *path.parents))


def run_git(directory: str, *arguments: str, deadline: Deadline) -> bytes:
    """What a git command prints. Reads only: no locks, no hooks, no questions, no foreign programs.

    Raises `OutOfTime`, `CodeProblem`; FileNotFoundError without git.
    """
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false", *arguments]
    try:
        done = subprocess.run(
            command, cwd=directory, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=deadline.left,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise OutOfTime from None
    if done.returncode:
        if any(mark in done.stderr for mark in _NO_REPOSITORY):
            raise _NoRepository(done.stderr.decode(errors="replace").strip().splitlines()[0])
        words = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
        raise CodeProblem(f"git {arguments[0]}: {words}")
    return done.stdout


def _git_listing(directory: str, out: _Outside, deadline: Deadline) -> Listing:
    top = os.fsdecode(run_git(directory, "rev-parse", "--show-toplevel", deadline=deadline).rstrip(b"\n"))
    try:
        commit = run_git(top, "rev-parse", "--verify", "--quiet", "HEAD", deadline=deadline).strip()
    except CodeProblem:
        commit = b""  # no commit yet
    cached = run_git(top, "ls-files", "-z", "--cached", "--recurse-submodules", deadline=deadline)
    others = run_git(directory, "ls-files", "-z", "--others", "--exclude-standard", "--full-name", deadline=deadline)
    tracked = {name for name in _names(cached) if os.path.join(top, name) not in out}
    loose: set[str] = set()
    for name in _names(others):
        path = os.path.join(top, name)
        if name.endswith("/"):  # a repository within, which git does not look into
            loose.update(os.path.join(name, inner) for inner in _walk(path, path, out, deadline))
        elif path not in out and not _written_by_programs(name) and not out.of_a_root(top, name):
            loose.add(name)
    if len(tracked) + len(loose) > MOST_FILES:
        raise CodeProblem(f"{len(tracked) + len(loose):,} files; {MOST_FILES:,} are looked at")
    return Listing(
        base=top,
        tracked=tuple(sorted(tracked)),
        loose=tuple(sorted(loose - tracked)),
        git=True,
        commit=commit.decode() or None,
    )


def _names(listed: bytes) -> list[str]:
    return [os.fsdecode(name) for name in listed.split(b"\0") if name]


def _may_be_of_a_root(name: str) -> bool:
    return name in _OF_A_ROOT or name.startswith(".lease.")


def _written_by_programs(name: str) -> bool:
    *directories, last = name.split("/")
    return (
        last in _SKIPPED_NAMES
        or last.endswith(_SKIPPED_SUFFIXES)
        or any(directory in _SKIPPED_DIRECTORIES for directory in directories)
    )


# --- without git -------------------------------------------------------------------------------------------


def _walk(base: str, directory: str, out: _Outside, deadline: Deadline) -> Iterator[str]:
    """Files below `directory`, relative to `base`. Links to directories are not followed."""
    pending = [directory]
    seen = 0
    while pending:
        current = pending.pop()
        _ = deadline.left
        try:
            with os.scandir(current) as entries:
                found = list(entries)
        except OSError:
            continue  # unreadable or just removed: what cannot be read cannot be run either
        if any(entry.name == "pyvenv.cfg" or entry.name == "conda-meta" for entry in found):
            continue  # a virtual environment under any name
        names = {entry.name for entry in found}
        is_root = "campaigns" in names and not names.isdisjoint(_ROOT_MARKS)
        for entry in found:
            if is_root and _may_be_of_a_root(entry.name):
                continue
            if entry.path in out or _written_by_programs(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _SKIPPED_DIRECTORIES:
                    pending.append(entry.path)
                continue
            seen += 1
            if seen > MOST_FILES:
                raise CodeProblem(
                    f"more than {MOST_FILES:,} files below {base}; in a git repository only its own count"
                )
            yield os.path.relpath(entry.path, base)
