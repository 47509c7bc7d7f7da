"""A row for each run: what the morning's plots are made of."""

import os

import night
import pytest

from overnight.model.codec import builtins, replace
from overnight.model.manifest import Refusal, RunSpec
from overnight.model.policy import Policy, Resources, Results
from overnight.model.reports import NoSuchThing
from overnight.model.run import Run, Vitals
from overnight.model.states import RunState
from overnight.ports import RunRef
from overnight.queries.results import Source, results
from overnight.store import SqliteStore

S = RunState
OTHER = "bat-zzzzzzzzzz"


@pytest.fixture
def store():
    store = SqliteStore(":memory:")
    yield store
    store.close()


def launched(store, rows=3, file=None, **changes):
    policy = Policy(resources=Resources(gpus=1), results=Results(file=file))
    found = night.campaign(rows, **{"policy": policy, **changes})
    store.commit(night.launch(found))
    return found


def good(position, changed=1000.0, campaign=night.ID, **metrics):
    attempt = night.attempt(name="none", seconds=1800.0, code="c0de" * 16, vitals=Vitals(metrics=metrics))
    run = night.run(position, S.SUCCEEDED, attempt)
    return replace(run, campaign=campaign, changed=night.moment(changed))


def ask(store, *campaigns, root="/r", **options):
    return results([Source(store, str(root), name) for name in campaigns or (night.ID,)], **options)


def test_a_row_says_all_of_a_run(store):
    """Guards against a plot that needs four files and a grep for each run."""
    launched(store)
    first = night.attempt(1, name="network", seconds=1800.0)
    second = night.attempt(2, name="none", seconds=3600.0, code="c0de", vitals=Vitals(metrics={"val_loss": 3.28}))
    store.commit(night.moved(night.run(0, S.SUCCEEDED, first, second)))
    report = ask(store)
    (row,) = report.results
    assert builtins(row) == {
        "campaign": night.ID, "run_id": "r0", "state": "succeeded", "class": None, "code": "c0de",
        "params": {"seed": "0"}, "metrics": {"val_loss": 3.28}, "seconds": 5400.0, "gpu_hours": 1.5,
        "ended_at": "2025-10-09T09:10:00Z", "path": f"/r/campaigns/{night.ID}/runs/r0", "problem": None,
    }  # fmt: skip
    assert (report.params, report.metrics) == (("seed",), ("val_loss",))


def test_only_what_succeeded_unless_all_is_asked_for(store):
    """Guards against the numbers of a diverged or half-done run in an average."""
    launched(store)
    failed = night.attempt(name="oom.gpu", vitals=Vitals(metrics={"loss": 9.0}))
    store.commit(night.moved(good(0, loss=1.0), night.run(1, S.FAILED, failed)))
    report = ask(store)
    assert [row.run_id for row in report.results] == ["r0"]
    assert report.counts == {"pending": 1, "succeeded": 1, "failed": 1}
    shown = ask(store, all=True).results
    assert [(row.run_id, row.state, row.failure_class) for row in shown] == [
        ("r0", "succeeded", None), ("r1", "failed", "oom.gpu"), ("r2", "pending", None),
    ]  # fmt: skip
    assert (shown[2].seconds, shown[2].code, shown[2].ended_at) == (0.0, None, None)


def test_a_live_run_shows_its_newest_numbers(store):
    """Guards against `--all` at midnight showing the numbers of the last transition."""
    launched(store, 1)
    vitals = Vitals(metrics={"loss": 1.5}, seconds=720.0)
    store.commit(night.moved(night.run(0, S.RUNNING, night.attempt()), vitals={RunRef(night.ID, "r0"): vitals}))
    (row,) = ask(store, all=True).results
    assert (row.metrics, row.seconds, row.gpu_hours, row.ended_at) == ({"loss": 1.5}, 720.0, 0.2, None)


def test_of_several_campaigns_the_newest_success_counts(store):
    """Guards against a run that was repaired in a second campaign standing in the table twice, or as failed."""
    launched(store, 4)
    launched(store, 4, id=OTHER)
    theirs = [
        good(0, 2000, OTHER, loss=0.5),
        replace(night.run(1, S.FAILED, night.attempt(name="code")), campaign=OTHER),
    ]
    theirs.append(
        replace(night.run(3, S.FAILED, night.attempt(name="code")), campaign=OTHER, changed=night.moment(9000))
    )
    store.commit(night.moved(good(0, 1000, loss=1.0), good(1, 1000, loss=1.0), *theirs))
    store.commit(night.moved(night.run(3, S.FAILED, night.attempt(name="oom.gpu"))))
    for order in ((night.ID, OTHER), (OTHER, night.ID)):
        rows = {row.run_id: row for row in ask(store, *order).results}
        assert {name: row.campaign for name, row in rows.items()} == {"r0": OTHER, "r1": night.ID}
        assert rows["r0"].metrics == {"loss": 0.5}
        everything = {row.run_id: (row.campaign, row.state) for row in ask(store, *order, all=True).results}
        assert everything == {
            "r0": (OTHER, "succeeded"), "r1": (night.ID, "succeeded"), "r2": (order[1], "pending"),
            "r3": (OTHER, "failed"),
        }  # fmt: skip
    assert ask(store, night.ID, OTHER).counts == {"pending": 2, "succeeded": 3, "failed": 3}
    assert ask(store, night.ID, night.ID) == ask(store, night.ID)  # named twice


def test_sorted_by_a_metric(store):
    """Guards against the best run of the night being line 40 of a table, or one without the number coming first."""
    launched(store, 5)
    store.commit(night.moved(
        good(0, loss=10.0, lr=1.0), good(1, loss=9.0, lr=1.0), good(2, lr=1.0), good(3, loss=-0.5, lr=1.0),
    ))  # fmt: skip
    report = ask(store, metric="loss")
    assert [(row.run_id, row.metrics) for row in report.results] == [
        ("r3", {"loss": -0.5}), ("r1", {"loss": 9.0}), ("r0", {"loss": 10.0}), ("r2", {}),
    ]  # fmt: skip
    assert report.metrics == ("loss",)
    assert [row.run_id for row in ask(store, metric="loss", reverse=True).results] == ["r0", "r1", "r3", "r2"]
    with pytest.raises(Refusal, match="no run here has a metric 'los'") as caught:
        ask(store, metric="los")
    assert caught.value.hint == "did you mean loss?"


def test_nothing_yet_is_no_error(store):
    """Guards against a script that dies at eleven in the evening because nothing has ended."""
    launched(store)
    assert ask(store).results == ()
    assert ask(store, metric="loss").results == ()
    with pytest.raises(NoSuchThing, match="no campaign"):
        ask(store, "nope")


def test_a_record_that_cannot_be_read_is_one_row(store):
    """Guards against one damaged record taking the whole table with it."""
    launched(store, 2)
    store.commit(night.moved(good(0), good(1)))
    store._db.execute("UPDATE run SET body = CAST('{' AS BLOB) WHERE id & 4294967295 = 0")
    rows = ask(store, all=True).results
    assert [(row.run_id, row.state) for row in rows] == [("r0", "held"), ("r1", "succeeded")]


# --- the results file --------------------------------------------------------------------------------------


def wrote(root, position, text, file="summary.csv"):
    out = root / "campaigns" / night.ID / "runs" / f"r{position}" / "out"
    out.mkdir(parents=True)
    (out / file).write_text(text)
    return out / file


def test_the_results_file_adds_its_columns(store, tmp_path):
    """Guards against the number that a paper needs, which the program only writes at its end, being left out."""
    launched(store, 1, "summary.csv")
    store.commit(night.moved(good(0, loss=1.0, acc=0.1)))
    wrote(tmp_path, 0, "\ufeff,acc,steps,note,empty,nan\n0,0.75,5000,fine,,nan\n\n")
    (row,) = ask(store, root=tmp_path).results
    assert row.metrics == {"loss": 1.0, "acc": 0.75, "steps": 5000, "note": "fine"}
    assert row.problem is None
    assert isinstance(row.metrics["steps"], int)


def test_the_results_file_may_be_an_object(store, tmp_path):
    """Guards against Python's own NaN, which is no JSON, making a run's other numbers unreadable."""
    launched(store, 1, "r.json")
    store.commit(night.moved(good(0)))
    wrote(tmp_path, 0, '{"a": 1, "b": NaN, "c": {"d": 0.5, "e": [1]}, "f": null, "g": "\\ud800x"}', "r.json")
    assert ask(store, root=tmp_path).results[0].metrics == {"a": 1, "c.d": 0.5, "g": "?x"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n3,4\n", "2 rows of data"),
        ("a,b\n", "0 rows of data"),
        ("", "0 rows of data"),
        ("a\n1,2\n", "2 values below 1 names"),
        ('{"a": ', "cannot be read"),
        ("{" * 100_000, "cannot be read"),
        ('a\n"' + "x" * (1 << 20), "larger than 1 MiB"),
        (",".join(map(str, range(1001))) + "\n" + ",".join(["1"] * 1001), "1,001 values"),
    ],
)
def test_a_results_file_that_is_none_is_said(store, tmp_path, text, words):
    """Guards against a blank cell that reads as "the program had nothing to say"."""
    launched(store, 1, "summary.csv")
    store.commit(night.moved(good(0, loss=1.0)))
    wrote(tmp_path, 0, text)
    (row,) = ask(store, root=tmp_path).results
    assert row.metrics == {"loss": 1.0}
    assert row.problem is not None and row.problem.startswith("summary.csv: ") and words in row.problem


def test_a_results_file_that_is_missing_or_no_file(store, tmp_path):
    """Guards against a pipe that a program left there stopping the table for ever; a run that failed owes no file."""
    launched(store, 4, "summary.csv")
    store.commit(night.moved(good(0), good(1), good(2), night.run(3, S.FAILED, night.attempt(name="code"))))
    pipe = wrote(tmp_path, 0, "")
    pipe.unlink()
    os.mkfifo(pipe)
    folder = wrote(tmp_path, 1, "")
    folder.unlink()
    folder.mkdir()
    problems = [row.problem for row in ask(store, root=tmp_path, all=True).results]
    assert problems == [
        "summary.csv: it is no plain file", "summary.csv: it is no plain file", "summary.csv: it is not there", None,
    ]  # fmt: skip


def test_rows_with_other_columns_stand_side_by_side(store):
    """Guards against a table that knows only the columns of its first run."""
    found = night.campaign(2)
    store.commit(night.launch(found, [RunSpec("r0", {"lr": "1"}), RunSpec("r1", {"wd": "2", "run_id": "r1"})]))
    store.commit(night.moved(good(0, a=1.0), good(1, b=2.0)))
    report = ask(store)
    assert (report.params, report.metrics) == (("lr", "wd"), ("a", "b"))
    assert isinstance(store.run(RunRef(night.ID, "r1")), Run)
