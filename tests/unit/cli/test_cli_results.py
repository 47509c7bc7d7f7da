"""`results` and `report`, typed against a stand-in supervisor."""

import csv
import io
import json
from pathlib import Path

import pytest
from client_world import Overnight
from standin import StandIn

from overnight.model.codec import replace
from overnight.model.run import Vitals
from overnight.ports import Batch, RunRef
from overnight.store import ReadStore

ROWS = "run_id,seed,state,lr\na,0,warm,1e-4\nb,1,cold,1e-4\nc,2,cold,1e-4\n"
TYPED = ("launch", "--runs", "sweep.csv", "--set", "results.file=summary.csv", "--json", "--name", "bat")
COMMAND = ("--", "python", "train.py", "--seed", "{seed}", "--out", "{out_dir}")


@pytest.fixture
def name(own_world: None, standin: StandIn, overnight: Overnight) -> str:
    """A campaign of three runs, one of which has failed; the others have shown a loss."""
    Path("sweep.csv").write_text(ROWS)
    launched: str = json.loads(overnight(*TYPED, *COMMAND).out)["campaign"]
    standin.ends(failing={"b": "code"})
    store = ReadStore(standin.state / "overnight.db")
    runs = {}
    for run_id, loss in (("a", 2.0), ("c", 1.25)):
        run = store.run(RunRef(launched, run_id))
        assert run is not None
        vitals = Vitals(metrics={"loss": loss, "lr": 0.5})
        runs[RunRef(launched, run_id)] = replace(run, attempts=(replace(run.attempts[0], vitals=vitals),))
    store.close()
    standin.commit(Batch(runs=runs))
    return launched


def test_results_for_people(name: str, overnight: Overnight, root: Path) -> None:
    """Guards against a table in which the failed third of a sweep is not even mentioned."""
    said = overnight("results", name)
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == f"{name}  1 failed, 2 succeeded"
    assert lines[1].split() == ["run_id", "lr", "seed", "state", "loss", "metric.lr", "time"]
    assert lines[2].split() == ["a", "1e-4", "0", "warm", "2", "0.5", "60", "s"]
    assert lines[4:] == [
        "not shown: 1 failed; --all shows every run",
        f"files: {root}/campaigns/{name}/runs/RUN_ID",
    ]
    assert said.err == "warning: the results file of 2 runs is not shown; a: summary.csv: it is not there\n"
    everything = overnight("results", name, "--all").out
    assert "failed     code" in everything
    assert "not shown" not in everything


def test_results_as_csv(name: str, overnight: Overnight, root: Path) -> None:
    """Guards against two columns of one name, of which pandas renames one and the reader takes the other."""
    out = root / "campaigns" / name / "runs" / "a" / "out"
    out.mkdir(parents=True)
    (out / "summary.csv").write_text('note,path\n"two\nlines",x\n')
    said = overnight("results", name, "--csv", "--all")
    assert said.code == 0
    assert said.err.count("\n") == 1  # the one about c: data are not mixed with talk
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert list(rows[0]) == [
        "campaign", "run_id", "lr", "seed", "param.state", "state", "class", "code", "loss", "metric.lr", "note",
        "metric.path", "seconds", "gpu_hours", "path",
    ]  # fmt: skip
    assert [row["run_id"] for row in rows] == ["a", "b", "c"]
    assert (rows[0]["note"], rows[0]["metric.path"], rows[0]["lr"], rows[0]["metric.lr"]) == (
        "two\nlines", "x", "1e-4", "0.5",
    )  # fmt: skip
    assert (rows[1]["state"], rows[1]["class"], rows[1]["param.state"], rows[1]["loss"]) == (
        "failed", "code", "cold", "",
    )  # fmt: skip


def test_results_as_json_and_sorted(name: str, overnight: Overnight) -> None:
    """Guards against scripts that break because a key was renamed, and a warning inside of the document."""
    said = overnight("results", name, name, "--json", "--metric", "loss")
    assert said.err == ""
    document = json.loads(said.out)
    assert sorted(document) == ["campaigns", "counts", "metric", "metrics", "params", "results"]
    assert [(row["run_id"], row["metrics"]) for row in document["results"]] == [
        ("c", {"loss": 1.25}), ("a", {"loss": 2.0}),
    ]  # fmt: skip
    assert sorted(document["results"][0]) == [
        "campaign", "class", "code", "ended_at", "gpu_hours", "metrics", "params", "path", "problem", "run_id",
        "seconds", "state",
    ]  # fmt: skip
    assert document["results"][0]["problem"] == "summary.csv: it is not there"
    lines = overnight("results", name, "--metric", "loss", "--reverse").out.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["a", "c"]


def test_results_that_cannot_be_shown(name: str, overnight: Overnight) -> None:
    """Guards against a misspelt metric or campaign answered by an empty table."""
    said = overnight("results", name, "--metric", "los")
    assert (said.code, said.out) == (2, "")
    assert said.err == "error: no run here has a metric 'los'\nhint: did you mean loss?\n"
    assert overnight("results", name, "nix").code == 3
    assert overnight("results").code == 2
    assert overnight("results", name, "--csv", "--json").code == 2


def test_results_before_anything_has_ended(standin: StandIn, overnight: Overnight) -> None:
    """Guards against a header-less CSV, which a reader takes for damage."""
    Path("sweep.csv").write_text(ROWS)
    overnight(*TYPED, *COMMAND)
    assert overnight("results", "bat", "--csv").out == "campaign,run_id,state,class,code,seconds,gpu_hours,path\n"
    said = overnight("results", "bat")
    assert (said.code, said.err) == (0, "")
    assert said.out.endswith("  3 pending\nnot shown: 3 pending; --all shows every run\n")


def test_report_for_people_and_programs(name: str, overnight: Overnight, root: Path) -> None:
    """Guards against a report that names a cause and no run to look at."""
    said = overnight("report")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0] == "1 attempt of 1 run in 1 campaign ended badly; 0.0 GPU-hours lost"
    assert lines[2].startswith("  code   1         1     0.0")
    assert lines[2].endswith(f"overnight why {name} b")
    document = json.loads(overnight("report", "--by", "rule", "--since", "7d", "--json").out)
    assert sorted(document) == [
        "attempts", "by", "campaigns", "gpu_hours_lost", "lines", "roots", "runs", "since", "unread",
    ]  # fmt: skip
    assert document["roots"] == [str(root)]
    (line,) = document["lines"]
    assert sorted(line) == ["attempts", "example", "gpu_hours_lost", "host", "last_at", "name", "runs"]
    assert line["name"] == "python-traceback"
    assert line["example"] == {"attempt": 1, "campaign": name, "command": f"overnight why {name} b", "run_id": "b"}


def test_report_of_what_is_not_there(overnight: Overnight, standin: StandIn, tmp_path: Path) -> None:
    """Guards against "nothing ended badly" as the answer to a misspelt root, and against one damaged database
    silencing the others."""
    assert overnight("report").out == "no campaigns yet; overnight launch starts one\n"
    assert overnight("report", "--root", str(tmp_path / "nix")).code == 3
    assert overnight("report", "--since", "7").code == 2
    assert overnight("report", "--by", "moon").code == 2
    broken = tmp_path / "broken"
    (broken / ".state").mkdir(parents=True)
    (broken / ".state" / "overnight.db").write_bytes(b"x" * 4096)
    said = overnight("report", "--root", str(broken))
    assert said.code == 4
    assert "is no database" in said.err


def test_report_says_which_root_it_left_out(
    name: str, overnight: Overnight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a sum over all campaigns that silently lacks those of a damaged root."""
    broken = tmp_path / "broken"
    (broken / ".state").mkdir(parents=True)
    (broken / ".state" / "overnight.db").write_bytes(b"x" * 4096)
    monkeypatch.setenv("OVERNIGHT_ROOT", str(broken))
    said = overnight("report")
    assert said.code == 0
    assert said.err.startswith(f"warning: {broken} is left out: ")
    assert "1 attempt of 1 run" in said.out
    (unread,) = json.loads(overnight("report", "--json").out)["unread"]
    assert unread["root"] == str(broken)
