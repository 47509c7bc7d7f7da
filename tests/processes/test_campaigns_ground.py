"""The ground that a campaign stands on: shells, disks, a database. What is missing is said, never guessed."""

import json
import os
import signal
import subprocess
import sys

from campaign_world import Ground, ground, unshared
from keeper_world import alive, await_that

__all__ = ["ground"]

AS_TYPED = """
printf '%s|%s|%s|%s\\n' "$FLAVOUR" "$(umask)" "$(ulimit -n)" "$(pwd)" > "$1/told"
touch "$1/made"
"""


def test_a_run_stands_where_its_launch_was_typed(ground):
    """Guards against runs in the supervisor's folder, with its umask, limits and environment: venvs break."""
    ground.file("typed.sh", AS_TYPED)
    ground.overnight("supervisor", "stop", code=None)
    ground.launch("--name", "first", "--", "true")  # brings a supervisor up, from another shell
    inner = ground.work / "inner"
    inner.mkdir()
    script = f"umask 0027; ulimit -n 333; cd inner; FLAVOUR='1 lump' exec {sys.executable} -m overnight launch --wait "
    words = "--json --name second -- sh ../typed.sh {out_dir}"
    typed = subprocess.run(
        ["sh", "-c", script + words], env=ground.env, cwd=ground.work, capture_output=True, text=True
    )
    assert typed.returncode == 0, typed.stderr
    out = ground.out(json.loads(typed.stdout)["campaign"], "run-1")
    assert (out / "told").read_text() == f"1 lump|0027|333|{inner}\n"
    assert (out / "made").stat().st_mode & 0o777 == 0o640


def test_a_full_disk_at_launch(ground):
    """Guards against a launch that half succeeds on a full disk, or dies with a trace."""
    (ground.base / "small").mkdir()
    done = unshared(
        ground,
        """
        mount -t tmpfs -o size=8m none ../small
        head -c 8388608 /dev/zero > ../small/filler 2>/dev/null || true
        $0 launch --root ../small/root --json -- true || echo exit $?
        ls -A ../small
        """,
    )
    answer, code, *left = done.stdout.splitlines()
    assert (code, left) == ("exit 2", ["filler"]), done.stderr
    document = json.loads(answer)
    assert "no space" in document["error"]
    assert "free some space" in document["hint"]


def test_a_root_that_cannot_be_written(ground):
    """Guards against a trace, or a supervisor that fails for ever, where the root is read-only."""
    (ground.base / "sealed").mkdir()
    done = unshared(
        ground,
        """
        mount -t tmpfs -o ro none ../sealed
        $0 launch --root ../sealed/root -- true || echo exit $?
        """,
    )
    assert done.stdout == "exit 2\n"
    assert done.stderr.startswith("warning: ") or done.stderr.startswith("error: ")
    assert "sealed" in done.stderr
    assert "\nhint: " in done.stderr
    assert "Traceback" not in done.stderr


def refused(ground: Ground, *asked: object) -> None:
    """The answer names what would help, and is no trace."""
    answer = ground.overnight(*asked, code=4)
    assert "overnight rebuild --root" in answer.err, (asked, answer.err)
    assert answer.err.count("error: ") == 1
    assert "Traceback" not in answer.err


def test_a_damaged_database(ground):
    """Guards against a campaign that nobody can look at any more, and no word of what to do."""
    campaign = ground.overnight("launch", "--wait", "--json", "--", "true").document["campaign"]
    ground.overnight("supervisor", "stop")
    for name in ("overnight.db-wal", "overnight.db-shm"):
        (ground.state / name).unlink(missing_ok=True)
    (ground.state / "overnight.db").write_bytes(b"lorem ipsum " * 4096)
    for asked in (["status", campaign], ["launch", "--name", "other", "--", "true"], ["why", campaign]):
        refused(ground, *asked)
    ground.overnight("rebuild")
    assert ground.status(campaign)["counts"] == {"succeeded": 1}


def test_a_missing_database(ground):
    """Guards against an empty database made in the place of a lost one: what had run would be run again."""
    words = ["--", "sh", "-c", "echo ran >> told"]
    campaign = ground.overnight("launch", "--wait", "--json", *words).document["campaign"]
    ground.overnight("supervisor", "stop")
    for path in ground.state.glob("overnight.db*"):
        path.unlink()
    for asked in (["launch", *words], ["launch", "--name", "other", *words], ["supervisor", "start"]):
        refused(ground, *asked)
    ground.overnight("rebuild")
    again = ground.overnight("launch", "--wait", "--json", *words).document
    assert (again["campaign"], again["counts"]) == (campaign, {"succeeded": 1})
    assert (ground.work / "told").read_text() == "ran\n"


def test_a_database_lost_under_a_living_supervisor(ground):
    """Guards against a live run that is harmed, doubled or forgotten when its database is taken away."""
    rows = ground.file("rows.csv", "n\n1\n2\n")
    script = "while [ ! -e go ]; do sleep 0.05; done; echo ran $0 >> told"
    campaign = ground.launch("--runs", rows, "--", "sh", "-c", script, "{n}")
    await_that(lambda: ground.counts(campaign).get("running") == 1)
    for path in ground.state.glob("overnight.db*"):
        path.unlink()
    os.kill(ground.supervisor(), signal.SIGKILL)
    await_that(lambda: not alive(ground.keeper_pid()))  # there is nothing that it could do
    refused(ground, "supervisor", "start")
    ground.overnight("rebuild")
    ground.overnight("resume", campaign)
    await_that(lambda: ground.counts(campaign).get("running") == 1)
    ground.file("go", "")
    await_that(lambda: ground.counts(campaign) == {"succeeded": 2})
    assert (ground.work / "told").read_text() == "ran 1\nran 2\n"


def test_a_root_that_was_removed_and_made_again(ground):
    """Guards against `rm -rf` of a root under a living supervisor: it goes, and never answers for the next one."""
    for n in range(3):
        ground.overnight("launch", "--wait", "--json", "--name", f"c{n}", "--", "true")
        pid, keeper = ground.supervisor(), ground.keeper()
        ground.root.rename(ground.base / f"gone{n}")  # at once: what rm does in the middle of a write is another story
        ground.overnight("launch", "--wait", "--json", "--name", f"d{n}", "--", "true")
        await_that(lambda pid=pid: not alive(pid))
        await_that(lambda keeper=keeper: not alive(keeper))
        assert ground.supervisor() != pid
        ground.overnight("supervisor", "stop")
        ground.root.rename(ground.base / f"again{n}")


def test_a_wait_says_why_nothing_starts(ground):
    """Guards against `launch --wait` that sits there without a word, because the host has no slot to give."""
    ground.slots.write_text("no folder")
    waiting = ground.start("launch", "--wait", "--name", "waits", "--", "true")
    await_that(lambda: "cannot be used" in ground.overnight("status", "waits", code=None).out)
    ground.slots.unlink()
    answer = waiting.answer()
    assert answer.code == 0
    assert answer.err.count("waiting for a slot: the slots of this host cannot be used") == 1
