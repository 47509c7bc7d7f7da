"""The layout is the architecture: who may import whom, and the house rules that a machine can check."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "overnight"
FILES = sorted(SOURCE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

SIBLINGS = frozenset({"manifest", "failures", "store", "executors", "probes", "gates", "artifacts", "notify"})
BELOW = frozenset({"model", "core", "ports", "nvidia"})
FACES = frozenset({"supervisor", "queries"})
MAY_IMPORT: dict[str, frozenset[str]] = {
    "model": frozenset(),
    "nvidia": frozenset({"model"}),
    "core": frozenset({"model"}),
    "ports": frozenset({"model", "core"}),
    **dict.fromkeys(SIBLINGS, BELOW),
    "supervisor": BELOW | SIBLINGS,
    "queries": BELOW | SIBLINGS,
    "api": BELOW | SIBLINGS | FACES,
    "cli": BELOW | SIBLINGS | FACES | {"api"},
    "testing": BELOW | SIBLINGS | FACES,
    "shim": frozenset(),
    "keeper": frozenset({"shim"}),
    "run": frozenset(),  # what a training imports
    "__init__": frozenset({"api"}),  # the public names, loaded when asked for
    "__main__": frozenset({"cli"}),
}
"""By room, the rooms it may import besides itself. Supervisor and queries are siblings too."""

ALLOWED: dict[tuple[str, str], str] = {
    ("executors", "shim"): "the local executor reads what the shim writes: identity and records are defined there",
    ("supervisor", "shim"): "the lock names its holder by the shim's notion of identity",
}
"""Imports against the table, each with its reason."""

CORE_NEVER = frozenset({"time", "os", "random", "asyncio", "sqlite3", "logging", "datetime", "threading", "subprocess"})
LONGEST_SOURCE, LONGEST_TEST = 400, 500
LONG: dict[str, str] = {
    "shim/shim.py": "one file by design: it is run by path on hosts that have nothing of ours",
}
"""Files over the limit, each with its reason."""

NAMELESS = frozenset({"utils", "util", "helpers", "helper", "common", "misc"})


def name_of(path: Path) -> str:
    """As in the tables above: relative to the package."""
    return path.relative_to(SOURCE).as_posix()


def room_of(path: Path) -> str:
    """The first folder, or the module itself."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


ROOMS = frozenset(room_of(path) for path in FILES)


def imported(path: Path) -> Iterator[str]:
    """Every module that the file imports, anywhere in it, by its full name."""
    package = ("overnight", *path.relative_to(SOURCE).parts[:-1])
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            if module == "overnight":  # `from overnight import failures`
                yield from (f"overnight.{alias.name}" for alias in node.names)
            else:
                yield module


def rooms_imported(path: Path) -> Iterator[str]:
    """The rooms of ours that the file imports, its own left out."""
    for module in imported(path):
        package, _, rest = module.partition(".")
        room = rest.partition(".")[0]
        if package == "overnight" and room in ROOMS and room != room_of(path):
            yield room


def test_rooms_import_only_what_lies_below_them() -> None:
    """A sibling that borrowed one function from another made both impossible to change alone."""
    wrong = [
        f"{name_of(path)} imports {room}"
        for path in FILES
        for room in sorted(set(rooms_imported(path)))
        if room not in MAY_IMPORT.get(room_of(path), frozenset()) and (room_of(path), room) not in ALLOWED
    ]
    assert wrong == []


def test_every_room_is_in_the_table() -> None:
    """A new folder without a place in the order may import everything."""
    assert {room_of(path) for path in FILES} <= set(MAY_IMPORT)


def test_exceptions_are_still_needed() -> None:
    """An exception that outlives its reason is an open door."""
    used = {(room_of(path), room) for path in FILES for room in rooms_imported(path)}
    assert set(ALLOWED) <= used
    assert [name for name in LONG if len((SOURCE / name).read_text().splitlines()) <= LONGEST_SOURCE] == []


def test_the_core_reaches_no_clock_no_chance_no_world() -> None:
    """A policy that read the clock decided differently in the replay than in the night."""
    wrong = [
        f"{name_of(path)} imports {module}"
        for path in FILES
        if room_of(path) in ("core", "model")
        for module in imported(path)
        if module.split(".")[0] in CORE_NEVER
    ]
    assert wrong == []


def test_one_module_knows_msgspec() -> None:
    """A second codec would write what the first cannot read."""
    assert [name_of(p) for p in FILES if any(m.split(".")[0] == "msgspec" for m in imported(p))] == ["model/codec.py"]


@pytest.mark.parametrize("room", ["shim", "keeper", "run"])
def test_what_lives_beside_other_programs_is_of_the_standard_library(room: str) -> None:
    """The installation was replaced under a running keeper, and its next import failed."""
    foreign = [
        f"{name_of(path)} imports {module}"
        for path in FILES
        if room_of(path) == room
        for module in imported(path)
        if module.split(".")[0] not in sys.stdlib_module_names | {"overnight"}
    ]
    assert foreign == []


def test_asyncio_stays_out() -> None:
    """The loop is a selector that tests can turn by hand; a second kind of loop would hide what waits."""
    rooms = {room_of(path) for path in FILES if any(m.split(".")[0] == "asyncio" for m in imported(path))}
    assert rooms <= {"supervisor", "remote", "web"}


def test_no_file_is_two_ideas() -> None:
    """A file that grows is two ideas: above the limit it is to be divided."""
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: n for name, n in lengths.items() if n > LONGEST_SOURCE and name not in LONG} == {}
    tests = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in TESTS}
    assert {name: n for name, n in tests.items() if n > LONGEST_TEST} == {}


def test_every_module_has_a_name_that_says_what() -> None:
    """`utils` is where things go that nobody finds again."""
    assert [str(p) for p in (*FILES, *TESTS) if NAMELESS & {part.removesuffix(".py") for part in p.parts}] == []


def test_only_the_command_line_prints() -> None:
    """One stray print made `--json` unreadable for every script."""
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path in FILES
        if room_of(path) not in ("cli", "__main__")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert wrong == []


def test_every_module_says_what_it_is_for() -> None:
    """A stranger reads the first line of a file, if there is one."""
    assert [name_of(path) for path in FILES if not ast.get_docstring(tree_of(path))] == []


def test_every_test_says_what_it_guards_against() -> None:
    """A test without its incident is deleted by the next person whom it annoys."""
    silent = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in TESTS
        if path.name.startswith("test_")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_no_test_is_skipped() -> None:
    """A skipped test is a promise that nobody keeps."""
    marks = ("pytest.mark.skip", "pytest.skip(", "pytest.mark.xfail", "pytest.xfail(", "importorskip(")
    wrong = [
        f"{path.relative_to(ROOT)}: {mark}"
        for path in TESTS
        if path != Path(__file__)
        for mark in marks
        if mark in path.read_text(encoding="utf-8")
    ]
    assert wrong == []


def test_the_tree_names_the_files_of_the_supervisor() -> None:
    """Its paragraph in ARCHITECTURE.md spoke of twelve files when there were thirty, and of one that was gone."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    paragraph = text.partition("Within `supervisor/`:")[2].partition("## Glossary")[0]
    named = set(re.findall(r"`([a-z_]+)`", paragraph))
    assert named == {path.stem for path in (SOURCE / "supervisor").glob("*.py") if not path.stem.startswith("__")}


@pytest.mark.parametrize(
    "page", [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda path: path.name
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """A page was renamed, and the three that spoke of it went on doing so."""
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target
