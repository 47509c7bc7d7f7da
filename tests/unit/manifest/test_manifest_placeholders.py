"""Placeholders: what is replaced, what passes untouched, and how values enter a shell."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overnight.manifest import (
    UnknownPlaceholder,
    expand_command,
    expand_env,
    expand_text,
    expand_words,
    names_out_dir,
    uses,
)

HERE = {
    "run_id": "r1", "campaign": "c-1", "attempt": "2", "attempt_id": "c-1.r1.2", "out_dir": "/o ut", "run_dir": "/r",
    "gpus": "2", "gpu_ids": "0,1", "slot": "gpu:0,1", "port": "29500", "checkpoint": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("seed={seed}", "seed=7"),
        ("{out_dir}/x", "/o ut/x"),
        ("{{seed}}", "{seed}"),
        ("{{{seed}}}", "{7}"),
        ("${seed} ${HOME}", "${seed} ${HOME}"),
        ("${HOME:-{seed}}", "${HOME:-7}"),
        ('{"a": {"b": {seed}}}', '{"a": {"b": 7}}'),
        ('{"a": {"b": 1}}', '{"a": {"b": 1}}'),
        ("{1..3} {a,b} {} { x } {2}", "{1..3} {a,b} {} { x } {2}"),
        ("{opt.lr}", "0.1"),
        ("{a..z}", "{a..z}"),
    ],
)
def test_braces(template: str, expected: str) -> None:
    """JSON configs and shell variables in a command came out mangled by naive formatting."""
    assert expand_text(template, {"seed": "7", "opt.lr": "0.1"}, HERE) == expected


def test_values_are_expanded_once() -> None:
    """A value that names another column, or itself, must neither loop nor leak another row's setting."""
    params = {"a": "{b} {run_id} {{run_id}} ${run_id} {nested}", "b": "{a}"}
    assert expand_text("{a}", params, HERE) == "{b} r1 {{run_id}} ${run_id} {nested}"
    assert expand_text("{x}", {"x": "{checkpoint}"}, HERE | {"checkpoint": "{run_id}"}) == "{run_id}"


def test_unknown_word_is_an_error() -> None:
    """A typo in a placeholder reached the program as literal braces, and 96 runs trained with the default."""
    with pytest.raises(UnknownPlaceholder, match="sede"):
        expand_command(["{sede}"], {"seed": "1"}, HERE)


@pytest.mark.parametrize(
    ("template", "value", "expected"),
    [
        ("{x...}", "a=1 b=2", ["a=1", "b=2"]),
        ("{x...}", "", []),
        ("{x...}", "  \t ", []),
        ("{x...}", "a='b c' d\\ e", ["a=b c", "d e"]),
        ("{x...}", "dir={out_dir}/z n=1", ["dir=/o ut/z", "n=1"]),
        ("--f={x...}", "", ["--f="]),
        ("--f={x...}!", "a b c", ["--f=a", "b", "c!"]),
        ("{x...}", "''", [""]),
        ("{x...}", "a\u00a0b", ["a\u00a0b"]),
    ],
)
def test_splitting(template: str, value: str, expected: list[str]) -> None:
    """Overrides of a row are several arguments; an empty cell is none, not an empty string."""
    assert expand_words([template], {"x": value}, HERE) == expected


def test_quotation_without_end() -> None:
    """A stray quotation mark must be an error, not an argument that swallows the rest."""
    with pytest.raises(ValueError, match="quotation"):
        expand_command(["{x...}"], {"x": "it's"}, HERE)


def test_resume_arguments_are_appended_to_both_forms() -> None:
    """A resumed run in its string form once started from nothing: the arguments were lost."""
    assert expand_command(["a"], {}, HERE, extra=["from={out_dir}"]) == ["a", "from=/o ut"]
    assert expand_command("a &&\n b\n", {}, HERE, extra=["from={out_dir}"]) == ["bash", "-c", "a &&\n b 'from=/o ut'"]


NASTY = ["a b", "it's", '"', "$HOME", "`id`", "$(id)", "a;b", "\\", "*", "~", "", "#x", "!", "a\nb", "{run_id}x", "é"]


@pytest.mark.parametrize("value", NASTY)
def test_a_value_is_never_code_to_the_shell(value: str) -> None:
    """A note with a semicolon in a CSV cell must be an argument, wherever in the script it is put."""
    script = """printf '%s\\0' {x} 'a{x}b' "a{x}b" "$(printf '%s' {x}; printf .)" --k={x} # don't {x}\nprintf end"""
    argv = expand_command(script, {"x": value}, HERE)
    shown = value.replace("{run_id}", "r1")
    out = subprocess.run(argv, capture_output=True, check=True, timeout=20).stdout.decode()
    assert out.split("\0") == [shown, f"a{shown}b", f"a{shown}b", f"{shown}.", f"--k={shown}", "end"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0{}", exclude_categories=["Cs"]), max_size=8), max_size=3))
def test_split_words_reach_the_shell_as_they_are(values: list[str]) -> None:
    """The same, for any text: what a list command passes, a string command passes."""
    import shlex

    cell = " ".join(shlex.quote(value) for value in values)
    argv = expand_command("printf '%s\\0' start {x...}", {"x": cell}, HERE)
    out = subprocess.run(argv, capture_output=True, check=True, timeout=20).stdout.decode()
    assert out.split("\0")[1:-1] == values
    assert expand_command(["p", "{x...}"], {"x": cell}, HERE)[1:] == values


def test_env_of_the_row_wins_and_is_a_value() -> None:
    """A row's variable must not be read as a template that can name columns."""
    env = expand_env({"A": "{seed}", "B": "b"}, {"B": "{seed} {slot}"}, {"seed": "7"}, HERE)
    assert env == {"A": "7", "B": "{seed} gpu:0,1"}


def test_uses() -> None:
    """Only used columns are part of a campaign's identity."""
    assert uses(["{a}", "{b...}", "{out_dir}", "{{c}}"], {"E": "{d}"}) == {"a", "b", "d"}
    assert uses("x {a} ${b}", {}) == {"a"}


def test_names_out_dir() -> None:
    """Rows that all write to one place overwrite each other, and the morning has one result."""
    assert names_out_dir(["{out_dir}"], {})
    assert names_out_dir("x $OVERNIGHT_OUT_DIR", {})
    assert names_out_dir(["x"], {"OUT": "{out_dir}"})
    assert not names_out_dir(["x", "{{out_dir}}"], {})
