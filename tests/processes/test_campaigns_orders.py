"""What a person asks of a campaign in the middle of the night, and what is refused."""

import json

from campaign_world import Ground, ground, lines
from keeper_world import alive, await_that

__all__ = ["ground"]

GATED = "trap 'echo told $0 >> told; exit 1' TERM; echo $$ >> pids; while [ ! -e go ]; do sleep 0.05; done"


def launch(ground: Ground, runs: int = 4, slots: int = 2) -> str:
    """A campaign of which `slots` runs live until somebody says `go`."""
    rows = ground.file("gated.csv", "n\n" + "".join(f"{n}\n" for n in range(runs)))
    words = ["--name", "gated", "--set", "limits.grace=2s", "--slots", slots]
    campaign = ground.launch(*words, "--runs", rows, "--", "sh", "-c", GATED, "{n}")
    await_that(lambda: len(lines(ground.work / "pids")) == slots)
    await_that(lambda: ground.counts(campaign).get("running") == slots)
    return campaign


def test_cancel_one_run_then_all(ground):
    """Guards against a cancel that takes others along, leaves processes, or is undone by a dead supervisor."""
    campaign = launch(ground)
    runs = [run["run_id"] for run in ground.status(campaign)["runs"]]
    ground.overnight("cancel", campaign, runs[0], runs[3])
    await_that(lambda: ground.counts(campaign) == {"cancelled": 2, "running": 2})
    assert {run["run_id"]: run["state"] for run in ground.status(campaign)["runs"]} == dict(
        zip(runs, ("cancelled", "running", "running", "cancelled"), strict=True)
    )
    await_that(lambda: len(lines(ground.work / "pids")) == 3)  # the one that came in the place of the first
    answer = ground.overnight("cancel", campaign, "--json")
    assert answer.document["campaign"] == campaign
    await_that(lambda: ground.counts(campaign) == {"cancelled": 4})
    assert [pid for pid in lines(ground.work / "pids") if alive(int(pid))] == []
    assert sorted(lines(ground.work / "told")) == ["told 0", "told 1", "told 2"]
    document = await_that(lambda: (found := ground.status(campaign))["state"] != "active" and found)
    assert (document["state"], document["failures"]) == ("cancelled", {})
    assert {ground.summary(campaign, run)["state"] for run in runs} == {"cancelled"}
    ground.overnight("cancel", campaign, code=2)
    ground.file("go", "")
    ground.overnight("retry", campaign)
    await_that(lambda: ground.counts(campaign) == {"succeeded": 4})


def test_pause_leaves_live_attempts_alone(ground):
    """Guards against a pause that ends what runs, or a waiting client that never hears that nothing will move."""
    campaign = launch(ground)
    ground.overnight("pause", campaign)
    waiting = ground.start("watch", campaign, "--json")
    ground.file("go", "")
    answer = waiting.answer()
    assert (answer.code, answer.document["state"]) == (1, "paused"), answer.err
    assert answer.document["counts"] == {"succeeded": 2, "pending": 2}
    assert "paused" in ground.overnight("why", campaign, answer.document["runs"][3]["run_id"]).out
    ground.overnight("resume", campaign)
    await_that(lambda: ground.counts(campaign) == {"succeeded": 4})
    assert lines(ground.work / "told") == []


def test_pause_now_ends_live_attempts_uncounted(ground):
    """Guards against a machine that is needed at once, and a pause that spends the runs' attempts."""
    campaign = launch(ground)
    ground.overnight("pause", campaign, "--now")
    await_that(lambda: ground.counts(campaign) == {"pending": 4})
    assert [pid for pid in lines(ground.work / "pids") if alive(int(pid))] == []
    ground.file("go", "")
    ground.overnight("amend", campaign, "--set", "retry.max_attempts=1")
    ground.overnight("resume", campaign)
    await_that(lambda: ground.counts(campaign) == {"succeeded": 4})
    runs = [run["run_id"] for run in ground.status(campaign)["runs"]]
    attempts = [ground.summary(campaign, run)["attempts"] for run in runs]
    assert [[a["ended_by"] for a in each] for each in attempts] == [["pause", "itself"]] * 2 + [["itself"]] * 2


def test_another_command_under_the_same_name_starts_nothing(ground):
    """Guards against an edited line that silently becomes a second campaign, or changes half of the first."""
    campaign = launch(ground)
    rows = ground.work / "gated.csv"
    words = ["--name", "gated", "--runs", rows, "--", "sh", "-c", "echo other >> told", "{n}"]
    answer = ground.overnight("launch", "--json", *words, code=2)
    assert campaign in answer.document["error"]
    assert "overnight amend" in answer.document["hint"]
    assert "--fresh" in answer.document["hint"]
    (fault,) = answer.document["faults"]
    assert "command" in json.dumps(fault)
    assert "echo other" in json.dumps(fault)
    spoken = ground.overnight("launch", *words, code=2)
    assert spoken.err.startswith("error: ")
    assert "echo other" in spoken.err
    assert "\nhint: " in spoken.err
    assert "Traceback" not in spoken.err
    assert [folder.name for folder in (ground.root / "campaigns").iterdir()] == [campaign]
    ground.file("go", "")
    other = ground.launch("--fresh", *words)
    await_that(lambda: ground.counts(campaign) == ground.counts(other) == {"succeeded": 4})
    assert other != campaign


def test_launched_again_it_goes_on(ground):
    """Guards against a launch typed twice that starts twice, or sits there until the first one is through."""
    campaign = launch(ground)
    rows = ground.work / "gated.csv"
    words = [
        "--name",
        "gated",
        "--set",
        "limits.grace=2s",
        "--slots",
        2,
        "--runs",
        rows,
        "--",
        "sh",
        "-c",
        GATED,
        "{n}",
    ]
    answer = ground.overnight("launch", *words)
    assert f"{campaign} is active already; nothing is started twice" in answer.err
    assert ground.status(campaign)["counts"] == {"running": 2, "pending": 2}
    ground.file("go", "")
    await_that(lambda: ground.counts(campaign) == {"succeeded": 4})
    again = ground.overnight("launch", "--json", *words).document
    assert (again["campaign"], again["runs"]) == (campaign, 4)
    assert len(lines(ground.work / "pids")) == 4


def test_eight_clients_at_once_in_a_fresh_root(ground):
    """Guards against two supervisors, or a run started twice, when a script launches in parallel."""
    typed = [
        ground.start(
            "launch", "--wait", "--json", "--name", f"c{n % 4}", "--", "sh", "-c", "echo $OVERNIGHT_CAMPAIGN >> told"
        )
        for n in range(8)
    ]
    answers = [client.answer() for client in typed]
    assert [answer.code for answer in answers] == [0] * 8, [answer.err for answer in answers]
    campaigns = {answer.document["campaign"] for answer in answers}
    assert sorted(lines(ground.work / "told")) == sorted(campaigns)
    assert (len(campaigns), ground.holder["term"]) == (4, 1)


def test_the_final_document(ground):
    """Guards against scripts that read `--wait --json`: one document on stdout, and the exit code."""
    rows = ground.file("codes.csv", "code\n0\n3\n")
    words = ["--set", "retry.max_attempts=1", "--runs", rows, "--", "sh", "-c", "echo says $0; exit $0", "{code}"]
    answer = ground.overnight("launch", "--wait", "--json", *words, code=1)
    document = answer.document
    assert (document["state"], document["counts"]) == ("failed", {"succeeded": 1, "failed": 1})
    assert document["failures"] == {document["runs"][1]["class"]: 1}
    assert document["supervisor"] == {
        "alive": True, "pid": ground.supervisor(), "watch_only": False, "words": "", "problem": "",
    }  # fmt: skip
    assert (document["runs_total"], document["runs"][0]["class"]) == (2, None)
    assert ground.status(document["campaign"])["runs"] == document["runs"]
    assert ground.summary(document["campaign"], document["runs"][1]["run_id"])["final"] is True
