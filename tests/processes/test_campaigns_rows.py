"""What becomes of a campaign's rows: each ends with its own state and its own named cause."""

import subprocess

import pytest
from campaign_world import Ground, document, ground, lines
from keeper_world import await_that

__all__ = ["ground"]

# One row of each kind. What needs a second attempt remembers the first in its folder.
TRAINER = """
import argparse, pathlib, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--kind", choices=["good", "hiccup", "silent", "long"])
parser.add_argument("--out", type=pathlib.Path)
options = parser.parse_args()
first = not (options.out / "seen").exists()
(options.out / "seen").touch()
if options.kind == "hiccup" and first:
    raise ConnectionResetError(104, "Connection reset by peer")
if options.kind == "silent" and first:
    time.sleep(600)
for step in range(12 if options.kind != "long" else 10**6):
    print(f"step {step} loss 0.5", flush=True)
    time.sleep(0.02)
"""
KINDS = ("good", "wrong", "hiccup", "silent", "long", "good")


def test_six_rows_end_as_they_should(ground):
    """Guards against one bad row that costs the night: with nothing set but limits each ends by its own cause."""
    ground.file("train.py", TRAINER)
    rows = ground.file("sweep.csv", "run_id,kind\n" + "".join(f"r{n},{kind}\n" for n, kind in enumerate(KINDS)))
    limits = ["startup=3s", "heartbeat=3s", "timeout=10s", "grace=300ms"]
    settings = [word for limit in limits for word in ("--set", f"limits.{limit}")]
    answer = ground.overnight(
        "launch", "--wait", "--json", "--slots", 3, *settings,
        "--set", "retry.backoff.first=200ms",  # the wait between two attempts is no part of this
        "--runs", rows, "--", "python3", "train.py", "--kind", "{kind}", "--out", "{out_dir}",
        code=1,
    )  # fmt: skip
    found = {run["run_id"]: (run["state"], run["class"], run["attempts"]) for run in answer.document["runs"]}
    assert found == {
        "r0": ("succeeded", None, 1),
        "r1": ("failed", "config", 1),
        "r2": ("succeeded", None, 2),
        "r3": ("succeeded", None, 2),
        "r4": ("failed", "timeout.wall", 1),
        "r5": ("succeeded", None, 1),
    }
    campaign = answer.document["campaign"]
    why = {run: ground.overnight("why", campaign, run, "--json").document for run in found}
    assert [(a["class"], a["ended_by"]) for a in why["r2"]["attempts"]] == [("network", "itself"), (None, "itself")]
    assert [(a["class"], a["ended_by"]) for a in why["r3"]["attempts"]] == [
        ("stall.startup", "stall"),
        (None, "itself"),
    ]
    for told in why.values():
        assert told["words"]
        assert told["rule"]
        for attempt in told["attempts"]:
            assert attempt["rule"]
            assert attempt["rule"] in ground.overnight("why", campaign, told["run_id"]).out
    assert answer.document["failures"] == {"config": 1, "timeout.wall": 1}


def test_only_the_mended_rows_run_again(ground):
    """Guards against a retry after a fix that repeats what succeeded, or cannot say which code made which result: the
    revision that a retry made had no patch."""
    subprocess.run(["git", "init", "-q", ground.work], check=True)
    ground.file("train.py", "import sys\nif sys.argv[1] == '2':\n    print(1 / 0)\nprint('fine')\n")
    rows = ground.file("sweep.csv", "n\n1\n2\n3\n")
    words = ["--runs", rows, "--", "python3", "train.py", "{n}", ground.work / "told"]
    done = ground.overnight("launch", "--wait", "--json", *words, code=1).document
    campaign, runs = done["campaign"], [run["run_id"] for run in done["runs"]]
    assert [(run["state"], run["class"]) for run in done["runs"]] == [
        ("succeeded", None), ("failed", "code"), ("succeeded", None),
    ]  # fmt: skip
    assert "attempts/1/output.log:" in ground.overnight("why", campaign, runs[1]).out
    ground.file("train.py", "print('mended')\n")
    ground.overnight("retry", campaign, "--class", "code")
    await_that(lambda: ground.counts(campaign) == {"succeeded": 3})
    attempts = [ground.summary(campaign, run)["attempts"] for run in runs]
    assert [[a["revision"] for a in each] for each in attempts] == [[1], [1, 2], [1]]
    assert len({each[0]["code"] for each in attempts}) == 1
    assert attempts[1][1]["code"] != attempts[1][0]["code"]
    assert lines(ground.attempt(campaign, runs[1], 2) / "output.log") == ["mended"]
    second = document(ground.folder(campaign) / "revisions" / "2.json")
    assert second["code"]["digest"] == attempts[1][1]["code"]
    assert "+print('mended')" in second["patch"]
    assert "the code changed: attempts from now on run revision 2" in ground.overnight("why", campaign).out


GATED = "while [ ! -e go ]; do sleep 0.05; done; echo $0 >> told"


def gated(ground: Ground, runs: int) -> list[object]:
    rows = ground.file("gated.csv", "n\n" + "".join(f"{n}\n" for n in range(runs)))
    return ["--name", "gated", "--runs", rows, "--", "sh", "-c", GATED, "{n}"]


def test_rows_added_to_a_running_campaign_run_in_it(ground):
    """Guards against ten more rows that need a second campaign, or a restart of the first."""
    campaign = ground.launch("--slots", 2, *gated(ground, 4))
    await_that(lambda: ground.counts(campaign).get("running") == 2)
    more = ground.file("more.csv", "n\n" + "".join(f"{n}\n" for n in range(100, 110)))
    ground.overnight("amend", campaign, "--runs", more)
    ground.file("go", "")
    await_that(lambda: ground.counts(campaign) == {"succeeded": 14}, seconds=60)
    assert sorted(map(int, lines(ground.work / "told"))) == [0, 1, 2, 3, *range(100, 110)]
    runs = ground.status(campaign)["runs"]
    assert [ground.summary(campaign, run["run_id"])["params"]["n"] for run in runs[4:]] == [
        str(n) for n in range(100, 110)
    ]
    ground.overnight("amend", campaign, "--runs", ground.file("late.csv", "n\n200\n"))  # it has ended by now
    await_that(lambda: ground.counts(campaign) == {"succeeded": 15})


def test_an_amended_timeout_holds_for_a_live_attempt(ground):
    """Guards against a limit that was amended and only counts from the next attempt on."""
    campaign = ground.launch(*gated(ground, 1))
    await_that(lambda: ground.counts(campaign) == {"running": 1})
    ground.overnight("amend", campaign, "--set", "limits.timeout=1s", "--set", "limits.grace=200ms")
    await_that(lambda: ground.counts(campaign) == {"failed": 1})
    (run,) = ground.status(campaign)["runs"]
    assert (run["class"], run["attempts"]) == ("timeout.wall", 1)


def test_a_row_gets_another_timeout_of_its_own(ground):
    """Guards against a row that failed at its @timeout and fails there at each retry, whatever is amended."""
    rows = ground.file("sweep.csv", "run_id,n,@timeout\na,0,1s\nb,0,\n")
    command = ["--name", "own", "--set", "limits.grace=200ms", "--runs", rows, "--", "sh", "-c", GATED, "{n}"]
    campaign = ground.launch("--slots", 2, *command)
    await_that(lambda: ground.counts(campaign) == {"failed": 1, "running": 1})
    assert "reached its row's @timeout" in ground.overnight("why", campaign, "a").out
    ground.file("sweep.csv", "run_id,n,@timeout\na,0,1h\nb,0,2h\n")
    said = ground.overnight("amend", campaign, "--runs", rows).out
    assert "made revision 2: a: @timeout: 1s became 1h; b: " in ground.overnight("why", campaign).out
    assert "revision 2" in said and "a: @timeout: 1s became 1h" in said and "b: @timeout: empty became 2h" in said
    assert "it is so already" in ground.overnight("amend", campaign, "--runs", rows).out
    bound = ground.attempt(campaign, "b") / "bound"
    await_that(lambda: document(bound)["seconds"] == 7200)
    ground.overnight("retry", campaign, "a")
    await_that(lambda: ground.counts(campaign) == {"running": 2})
    ground.file("go", "")
    await_that(lambda: ground.counts(campaign) == {"succeeded": 2})


def test_a_rebuilt_database_knows_what_a_row_was_given(ground):
    """Guards against a row that an amendment gave an hour, and that fails at its old second after a `rebuild`."""
    rows = ground.file("sweep.csv", "run_id,n,@timeout\na,0,1s\n")
    command = ["--name", "own", "--set", "limits.grace=200ms", "--runs", rows, "--", "sh", "-c", GATED, "{n}"]
    campaign = ground.launch(*command)
    await_that(lambda: ground.counts(campaign) == {"failed": 1})
    ground.file("sweep.csv", "run_id,n,@timeout\na,0,1h\n")
    ground.overnight("amend", campaign, "--runs", rows)
    ground.overnight("supervisor", "stop")
    for path in ground.state.glob("overnight.db*"):
        path.unlink()
    ground.overnight("rebuild")
    ground.overnight("resume", campaign)
    ground.overnight("retry", campaign, "a")
    bound = ground.attempt(campaign, "a", 2) / "bound"
    await_that(lambda: document(bound)["seconds"] > 3000)
    ground.file("go", "")
    await_that(lambda: ground.counts(campaign) == {"succeeded": 1})


def test_a_longer_timeout_saves_a_live_attempt(ground):
    """Guards against the other direction: a shim that ends a run by the bound that was in force when it began."""
    campaign = ground.launch("--timeout", "20s", *gated(ground, 1))
    await_that(lambda: ground.counts(campaign) == {"running": 1})
    ground.overnight("amend", campaign, "--set", "limits.timeout=1h")
    bound = ground.attempt(campaign, ground.status(campaign)["runs"][0]["run_id"]) / "bound"
    await_that(lambda: document(bound)["seconds"] == 3600)
    ground.file("go", "")
    await_that(lambda: ground.counts(campaign) == {"succeeded": 1})


def test_fail_fast_starts_nothing_more(ground):
    """Guards against `fail_fast` that is read and not obeyed, or that kills what has not failed."""
    rows = ground.file("sweep.csv", "code\n0\n1\n2\n3\n")
    answer = ground.overnight(
        "launch", "--wait", "--json", "--set", "fail_fast=true", "--set", "retry.max_attempts=1",
        "--runs", rows, "--", "sh", "-c", "echo $0 >> told; exit $0", "{code}", code=1,
    )  # fmt: skip
    assert [run["state"] for run in answer.document["runs"]] == ["succeeded", "failed", "cancelled", "cancelled"]
    assert lines(ground.work / "told") == ["0", "1"]


@pytest.mark.parametrize("verb", ["retry", "launch"])
def test_what_has_ended_is_not_run_again(ground, verb):
    """Guards against a cron job that types the same launch again, or a retry without a failure."""
    words = ["--name", "same", "--", "sh", "-c", "echo ran >> told"]
    campaign = ground.overnight("launch", "--wait", "--json", *words).document["campaign"]
    if verb == "launch":
        again = ground.overnight("launch", "--wait", "--json", *words).document
        assert (again["campaign"], again["state"]) == (campaign, "succeeded")
    else:
        assert "no run" in ground.overnight("retry", campaign, code=2).err
    assert lines(ground.work / "told") == ["ran"]
