"""Amendments and revisions: policy changes, rows are added, what is computed stays."""

from pathlib import Path

import pytest
from manifest_reading import Launch

from overnight.manifest import (
    Amendment,
    Revision,
    amend_campaign,
    amend_policy,
    digest,
    load_revision,
    read_rows,
    revision_bytes,
)
from overnight.model.manifest import Refusal, RunSpec
from overnight.model.policy import DAY, CodeIdentity, Limits, Policy, RowPolicy

HEAD = 'name = "n"\ncommand = ["a", "{x}", "{out_dir}"]\n'


def test_set_changes_one_thing() -> None:
    """Raising one limit at midnight must leave the others as they were."""
    old = Policy(limits=Limits(timeout=DAY, attempt_timeout=DAY, heartbeat=60.0), cwd="/x")
    new = amend_policy(old, ["limits.timeout=48h", "retry.class.oom.gpu=1", "results.file=summary.csv"])
    assert (new.limits.timeout, new.limits.attempt_timeout, new.limits.heartbeat) == (2 * DAY, 2 * DAY, 60)
    assert new.retry.by_class == {"oom.gpu": 1} and new.cwd == "/x"
    assert new.results.file == "summary.csv"
    apart = amend_policy(Policy(limits=Limits(attempt_timeout=60.0)), ["limits.timeout=48h"])
    assert apart.limits.attempt_timeout == 60


@pytest.mark.parametrize(
    "setting",
    ["name=x", "env.A=1", "command=[]", "runs=x.csv", "artifacts.required=[]", "executor=fake", "limits.timeout=0",
     "limits.x=1", "nonsense"],
)  # fmt: skip
def test_what_is_computed_cannot_be_set(setting: str) -> None:
    """A campaign whose command changed under its name proves nothing any more."""
    with pytest.raises(Refusal) as refused:
        amend_policy(Policy(), [setting])
    assert "--set" in refused.value.message and refused.value.hint


def test_a_file_with_more_rows(launch: Launch, tmp_path: Path) -> None:
    """Two more seeds in the sheet are two more runs; the others keep name and result."""
    first = launch(f'{HEAD}[[run]]\nrun_id = "r1"\nx = 1\n')
    (tmp_path / "more.toml").write_text(
        f'{HEAD}[limits]\ntimeout = "2h"\n[[run]]\nrun_id = "r2"\nx = 2\n[[run]]\nrun_id = "r1"\nx = 1\n'
    )
    found = amend_campaign(first.manifest, first.policy, file=Path("more.toml"), cwd=tmp_path)
    assert [run.run_id for run in found.added] == ["r2"]
    assert found.policy.limits.timeout == 7200
    assert "limits.timeout: 24h became 2h" in found.changes
    again = amend_campaign(first.manifest, found.policy, file=Path("more.toml"), cwd=tmp_path, added=found.added)
    assert again.added == () and again.changes == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'{HEAD}[[run]]\nrun_id = "r2"\nx = 2\n', "1 row removed: r1"),
        (f'{HEAD}[[run]]\nrun_id = "r1"\nx = 2\n', "row r1 changed: x: '1' became '2'"),
        (f'{HEAD}[env]\nA = "1"\n[[run]]\nrun_id = "r1"\nx = 1\n', "env.A = '1' is new"),
        ('command = ["b", "{x}"]\n[[run]]\nrun_id = "r1"\nx = 1\n', "command:"),
        (f'{HEAD}executor = "fake"\n[[run]]\nrun_id = "r1"\nx = 1\n', "cannot move"),
    ],
)
def test_a_file_that_computes_something_else(launch: Launch, tmp_path: Path, text: str, words: str) -> None:
    """The refusal says what differs, in words."""
    first = launch(f'{HEAD}[[run]]\nrun_id = "r1"\nx = 1\n')
    (tmp_path / "other.toml").write_text(text)
    with pytest.raises(Refusal) as refused:
        amend_campaign(first.manifest, first.policy, file=Path("other.toml"), cwd=tmp_path)
    assert words in refused.value.message


def test_dropped_rows_may_be_absent_or_present(launch: Launch, tmp_path: Path) -> None:
    """A dropped row that a file no longer names is no reason to refuse it."""
    text = f'{HEAD}[[run]]\nrun_id = "r1"\nx = 1\n[[run]]\nrun_id = "r2"\nx = 2\n'
    first = launch(text)
    (tmp_path / "one.toml").write_text(f'{HEAD}[[run]]\nrun_id = "r1"\nx = 1\n')
    for file in ("one.toml", "sweep.toml"):
        assert amend_campaign(first.manifest, first.policy, file=Path(file), cwd=tmp_path, dropped=["r2"]).added == ()


def test_derived_names_survive_more_rows(launch: Launch, tmp_path: Path) -> None:
    """A new axis value changes what varies, and with it every derived name: runs that are done stay who they are."""
    matrix = 'name = "n"\ncommand = ["a", "{x}", "{y}", "{out_dir}"]\n[matrix]\nx = [1, 2]\n'
    first = launch(f"{matrix}y = 5\n")
    assert [run.run_id for run in first.runs] == ["x_1", "x_2"]
    (tmp_path / "more.toml").write_text(f"{matrix}y = [5, 6]\n")
    found = amend_campaign(first.manifest, first.policy, file=Path("more.toml"), cwd=tmp_path)
    assert [(run.run_id, run.params["y"]) for run in found.added] == [("x_1-y_6", "6"), ("x_2-y_6", "6")]


def test_more_rows(launch: Launch, tmp_path: Path) -> None:
    """The same amendment typed twice adds once; a known name with other values is refused."""
    first = launch(f'{HEAD}[[run]]\nrun_id = "r1"\nx = 1\n')
    more = tmp_path / "more.csv"
    more.write_text("run_id,x,@timeout\nr2,2,1h\nr1,1,\n")
    added = read_rows(Path("more.csv"), first.manifest, cwd=tmp_path)
    assert added == (RunSpec("r2", {"x": "2"}, policy=added[0].policy),)
    assert added[0].policy.timeout == 3600
    assert amend_campaign(first.manifest, first.policy, runs=more, cwd=tmp_path, added=added).added == ()
    for text, words in [
        ("run_id,x\nr1,9\n", "row r1 changed"),
        ("run_id,z\nr3,1\n", "no column x"),
        ("run_id,x\n", "no rows"),
    ]:
        more.write_text(text)
        with pytest.raises(Refusal, match=words):
            read_rows(more, first.manifest, cwd=tmp_path)


def test_rows_that_are_there_may_get_another_policy_of_their_own(launch: Launch, tmp_path: Path) -> None:
    """A row over its @timeout: the sheet with a longer one was taken, made an empty revision, and changed nothing."""
    first = launch(csv="run_id,x,@timeout,@priority\nr1,1,20s,\nr2,2,,5\n", command=["a", "{x}", "{out_dir}"])
    own = {run.run_id: run.policy for run in first.runs}
    more = tmp_path / "more.csv"

    def amended(text: str) -> Amendment:
        more.write_text(text)
        return amend_campaign(first.manifest, first.policy, runs=more, cwd=tmp_path, own=own)

    found = amended("run_id,x,@timeout\nr1,1,40s\nr2,2,none\n")
    assert {run.run_id: run.policy for run in found.changed} == {
        "r1": RowPolicy(timeout=40.0),
        "r2": RowPolicy(unbounded=True, priority=5),  # no column, no word
    }
    assert found.added == ()
    assert found.changes == ("r1: @timeout: 20s became 40s", "r2: @timeout: empty became none")
    assert amended("run_id,x\nr1,1\n").changed == ()
    assert amended("run_id,x,@timeout,@priority\nr1,1,20s,\nr2,2,,5\n").changed == ()
    assert [run.policy for run in amended("run_id,x,@timeout\nr1,1,\n").changed] == [RowPolicy()]
    (tmp_path / "whole.toml").write_text(
        f'name = "{first.manifest.name}"\ncommand = ["a", "{{x}}", "{{out_dir}}"]\nruns = "more.csv"\n'
    )
    more.write_text("run_id,x\nr1,1\nr2,2\n")
    whole = amend_campaign(first.manifest, first.policy, file=Path("whole.toml"), cwd=tmp_path, own=own)
    assert [run.policy for run in whole.changed] == [RowPolicy(), RowPolicy()], "a file is the whole policy"


def test_more_rows_have_what_the_policy_names(launch: Launch, tmp_path: Path) -> None:
    """Rows without the column that only checkpoint.path named were taken, and held `internal` at 2 a.m."""
    text = f'{HEAD}[checkpoint]\npath = "{{out_dir}}/{{stage}}.pt"\n[[run]]\nrun_id = "r1"\nx = 1\nstage = "a"\n'
    first = launch(text)
    (tmp_path / "more.csv").write_text("run_id,x\nr2,2\n")
    with pytest.raises(Refusal, match="no column stage"):
        amend_campaign(first.manifest, first.policy, runs=tmp_path / "more.csv", cwd=tmp_path)
    (tmp_path / "more.csv").write_text("run_id,x,stage\nr2,2,b\n")
    (added,) = amend_campaign(first.manifest, first.policy, runs=tmp_path / "more.csv", cwd=tmp_path).added
    assert added.params == {"x": "2", "stage": "b"}


def test_derived_names_of_more_rows_do_not_collide(launch: Launch, tmp_path: Path) -> None:
    """Names derived from another file must not take the folder of a run that exists."""
    first = launch(csv="x\n1\n2\n", command=["a", "{x}", "{out_dir}"])
    (tmp_path / "more.csv").write_text("x\n2\n3\n4\n")
    added = read_rows(Path("more.csv"), first.manifest, cwd=tmp_path)
    assert [(run.run_id, run.params["x"]) for run in added] == [("x_3", "3"), ("x_4", "4")]
    (tmp_path / "more.csv").write_text("x\n7\n")
    assert [run.run_id for run in read_rows(Path("more.csv"), first.manifest, cwd=tmp_path)] == ["run-1"]


def test_revisions_are_chained_and_bounded() -> None:
    """A history that can be edited unseen explains nothing; a patch of a gigabyte is none."""
    one = Revision(n=1, at="2026-01-01T00:00:00Z", by="a@h", why="launch", policy=Policy(), code=CodeIdentity())
    first = revision_bytes(one)
    two = Revision(
        n=2, at="2026-01-01T00:00:00Z", by="a@h", why="amend", policy=Policy(), code=CodeIdentity(digest="x"),
        patch="é\udcff" + "line\n" * 200_000, previous=digest(first),
    )  # fmt: skip
    second = revision_bytes(two)
    loaded = load_revision(second, previous=first)
    assert loaded.patch is not None and len(loaded.patch.encode()) <= 256 * 1024 and "cut here" in loaded.patch
    assert load_revision(first) == one
    for data, previous in [(second, first + b" "), (b"{}", None), (b"", None)]:
        with pytest.raises(Refusal):
            load_revision(data, previous=previous)
