"""What several runs have in common, with real processes: held, told once, probed, let go; scouts before a success."""

import json
import os
import signal

from campaign_world import Ground, document, ground, unshared
from keeper_world import await_that

from overnight.store import ReadStore

__all__ = ["ground"]

# Fails as the hub's client does until somebody has put the token there.
GATED = """
import pathlib, sys
if not pathlib.Path("token").exists():
    raise RuntimeError("401 Client Error: Unauthorized for url: https://huggingface.co/meta/x")
print("fine")
"""
READER = """
import pathlib, sys
data = pathlib.Path(sys.argv[1])
print(len(data.read_text()))
"""


def sweep(ground: Ground, program: str, *words: object, rows: int = 5) -> list[object]:
    """So many rows of a program."""
    ground.file("train.py", program)
    table = ground.file("sweep.csv", "seed\n" + "".join(f"{n}\n" for n in range(rows)))
    return ["--slots", 2, "--name", "common", "--runs", table, "--", "python3", "train.py", *words, "{seed}"]


def test_a_refused_token_holds_all_and_one_command_lets_them_go(ground):
    """Guards against 96 failed runs with the same line in the morning, and 96 retries of which each counts."""
    done = ground.overnight("launch", "--wait", "--json", *sweep(ground, GATED), code=1).document
    campaign = done["campaign"]
    assert (done["state"], done["counts"], done["settled"]) == ("held", {"held": 5}, True)
    (cause,) = done["causes"]
    assert (cause["class"], cause["about"], cause["held"], cause["proven"]) == ("auth", "huggingface.co", 5, True)
    assert cause["probe_at"] is None
    (need,) = done["needs"]
    assert need["what"] == "5 runs are held: auth (huggingface.co)"
    assert need["command"] == f"overnight resume {campaign}"
    why = ground.overnight("why", campaign, done["runs"][0]["run_id"], "--json").document
    assert "nothing lets it go but a person" in why["words"] and why["next"] == need["command"]
    story = ground.overnight("why", campaign, "--json").document["story"]
    assert sum("met the same" in line["words"] for line in story) == 1
    ground.file("token", "hf_x")
    ground.overnight(*need["command"].split()[1:])
    await_that(lambda: ground.counts(campaign) == {"succeeded": 5})
    folders = [ground.attempt(campaign, done["runs"][0]["run_id"], n) for n in (1, 2)]
    tried = [document(folder / "attempt.json") for folder in folders]
    assert [(each["class"], each["counted"]) for each in tried] == [("auth", False), (None, True)]


def test_missing_data_let_go_by_themselves_while_somebody_waits(ground):
    """Guards against a mount that came back at two and a campaign that waited for a person until eight; and against a
    supervisor that forgets in its death what it held, or a `--wait` that returns while a probe may yet let go."""
    data = ground.work / "set" / "data.bin"
    (ground.work / "set").mkdir()
    ground.file("set/other", "x")  # an empty folder might be a mount point, whose data are only late
    waiting = ground.start("launch", "--wait", "--json", *sweep(ground, READER, data))
    await_that(lambda: any(path.is_dir() for path in ground.root.glob("campaigns/*")))
    campaign = next(ground.root.glob("campaigns/*")).name
    await_that(lambda: ground.counts(campaign) == {"held": 5})
    status = ground.status(campaign)
    assert (status["state"], status["settled"]) == ("held", False)
    assert status["causes"][0]["about"] == str(data) and status["causes"][0]["probe_at"]
    term = ground.holder["term"]
    os.kill(ground.supervisor(), signal.SIGKILL)
    ground.in_control(term)
    assert waiting.process.poll() is None
    data.write_text("tokens")
    answer = waiting.answer()
    assert answer.code == 0, answer.err
    assert answer.document["counts"] == {"succeeded": 5}
    assert {run["attempts"] for run in answer.document["runs"]} == {2}


def test_one_run_of_three_that_is_refused_fails_at_the_end(ground):
    """Guards against a run that is held for a proof that cannot come, and a `--wait` that never returns."""
    program = GATED.replace('if not pathlib.Path("token").exists()', 'if sys.argv[1] == "1"')
    done = ground.overnight("launch", "--wait", "--json", *sweep(ground, program, rows=3), code=1).document
    assert [(run["state"], run["class"]) for run in done["runs"]] == [
        ("succeeded", None), ("failed", "auth"), ("succeeded", None),
    ]  # fmt: skip
    assert done["causes"] == [] and done["state"] == "failed"


def test_a_bug_of_all_rows_is_held_back_until_it_is_mended(ground):
    """Guards against a typing error that fails every row of a night's sweep while nobody looks."""
    words = sweep(ground, "print(1 / 0)\n", rows=20)
    campaign = ground.launch(*words)
    status = await_that(lambda: (found := ground.status(campaign))["scouts"] and found)
    assert status["scouts"]["class"] == "code" and status["scouts"]["started"] == 0
    assert status["needs"][0]["what"] == "nothing but scouts starts: code"
    at_work = {"running", "verifying"}
    counts = await_that(lambda: not (found := ground.status(campaign)["counts"]).keys() & at_work and found)
    failed = counts["failed"]
    # Three prove it; until all of them were looked at the two slots went on, however many that was.
    store = ReadStore(ground.state / "overnight.db")
    (record,), runs = store.campaigns(), store.page(campaign, after=None, limit=None, state=None)
    store.close()
    assert record.hold is not None and runs is not None and 3 <= failed < 20
    assert all(attempt.planned.mono <= record.hold.since.mono for run in runs for attempt in run.attempts)
    ground.file("train.py", "print('mended')\n")
    ground.overnight("resume", campaign)
    await_that(lambda: ground.counts(campaign) == {"failed": failed, "succeeded": 20 - failed}, seconds=55)
    ground.overnight("retry", campaign)
    await_that(lambda: ground.counts(campaign) == {"succeeded": 20}, seconds=55)


WRITER = """
import sys
with open("../small/ckpt-" + sys.argv[1], "wb") as file:
    file.write(b"x" * 100_000)
    file.flush()
"""


def test_a_full_volume_lets_go_when_it_has_room(ground):
    """Guards against a disk that filled up at two, was freed at three and left the night's rest failed; and against a
    look at the wrong volume, since a failed write names no file."""
    (ground.base / "small").mkdir()
    ground.file("train.py", WRITER)
    ground.file("sweep.csv", "seed\n0\n1\n2\n3\n")
    done = unshared(
        ground,
        """
        mount -t tmpfs -o size=8m none ../small
        head -c 8388608 /dev/zero > ../small/filler 2>/dev/null || true
        $0 launch --wait --json --slots 1 --name full --runs sweep.csv -- python3 train.py {seed} > answer &
        until $0 status --json 2>/dev/null | grep -q '"held":4'; do sleep 0.2; done
        $0 status --json
        rm ../small/filler
        wait
        cat answer
        """,
    )
    assert done.returncode == 0, done.stderr
    held, ended = (json.loads(line) for line in done.stdout.splitlines())
    (cause,) = held["causes"]
    assert (cause["class"], cause["about"], held["settled"]) == ("disk.full", str(ground.base / "small"), False)
    assert ended["counts"] == {"succeeded": 4}
