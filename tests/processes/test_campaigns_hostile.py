"""Runs and disks that do what they should not: the others finish, and the campaign comes to its end."""

import json
import os
import subprocess
import sys
from pathlib import Path

from campaign_world import CLIENT, ground, lines

__all__ = ["ground"]


def test_a_run_that_deletes_its_own_folder(ground):
    """Guards against a clean-up gone too far: a run lost for ever, and a night's `--wait` that never returns."""
    rows = ground.file("rows.csv", "how\nat-once\nlate\nnot\n")
    script = (
        'case $0 in at-once) rm -rf "$(dirname "$OVERNIGHT_OUT_DIR")"; sleep 0.2;; '
        'late) sleep 0.4; rm -rf "$(dirname "$OVERNIGHT_OUT_DIR")";; esac'
    )
    document = ground.overnight(
        "launch", "--wait", "--json", "--slots", 3, "--set", "retry.max_attempts=1",
        "--runs", rows, "--", "sh", "-c", script, "{how}", code=1,
    ).document  # fmt: skip
    assert [(run["state"], run["class"]) for run in document["runs"]] == [
        ("failed", "unknown"), ("failed", "unknown"), ("succeeded", None),
    ]  # fmt: skip
    assert document["state"] == "failed"


def test_a_log_that_became_a_pipe(ground):
    """Guards against a look that waits for a writer who never comes, with all that would be verified behind it."""
    script = "rm {run_dir}/attempts/1/output.log && mkfifo {run_dir}/attempts/1/output.log; exit 3"
    words = ["--root", ground.base / "root", "--set", "retry.max_attempts=1", "--", "sh", "-c", script]
    document = ground.overnight("launch", "--wait", "--json", *words, code=1).document
    assert document["counts"] == {"failed": 1}


# Fills the disk under a campaign until nothing can be written, looks on for a while, and makes room again.
FILLING = """
import json, os, pathlib, subprocess, sys, time
client, words, told = json.loads(sys.argv[1]), json.loads(sys.argv[2]), pathlib.Path(sys.argv[3])
def begun():
    return len(told.read_text().splitlines()) if told.exists() else 0
subprocess.run([*client, "launch", "--json", *words], check=True, stdout=subprocess.DEVNULL)
while begun() < 10:
    time.sleep(0.02)
with open(os.environ["OVERNIGHT_ROOT"] + "/../filler", "wb", buffering=0) as filler:
    for size in (65536, 1, 1):
        try:
            while True:
                filler.write(bytes(size))
        except OSError:
            time.sleep(0.5)  # a file that was just being replaced leaves some room behind
refused = subprocess.run([*client, "launch", "--name", "other", "--", "true"], stderr=subprocess.PIPE, text=True)
status = subprocess.run([*client, "status", "--json"], stdout=subprocess.DEVNULL)
os.unlink(filler.name)
done = subprocess.run([*client, "launch", "--wait", "--json", *words], stdout=subprocess.PIPE)
print(json.dumps({"refused": [refused.returncode, refused.stderr], "status": status.returncode,
                  "document": json.loads(done.stdout), "begun": begun()}))
"""


def test_a_disk_that_fills_up_and_empties(ground):
    """Guards against a full disk at 3 a.m. that takes the supervisor, or runs twice what it could not write down."""
    small, told = ground.base / "small", ground.base / "told"
    small.mkdir()
    rows = ground.file("rows.csv", "n\n" + "".join(f"{n}\n" for n in range(30)))
    script = f"echo $0 >> '{told}'; sleep 0.1"
    words = json.dumps(["--slots", "2", "--runs", str(rows), "--", "sh", "-c", script, "{n}"])
    inside = [sys.executable, "-c", FILLING, json.dumps(CLIENT), words, str(told)]
    unshare = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-m", "sh", "-ec"]
    mount = 'mount -t tmpfs -o size=12m none "$0"; exec "$@"'
    env = ground.env | {"OVERNIGHT_ROOT": str(Path(small, "root"))}
    done = subprocess.run([*unshare, mount, small, *inside], env=env, cwd=ground.work, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    code, said = found["refused"]
    assert (code, found["status"]) == (2, 0)
    assert "no space" in said
    assert "Traceback" not in said
    # What was running when nothing could be written any more may have failed, and says why; all others are done.
    failed = [run["class"] for run in found["document"]["runs"] if run["state"] != "succeeded"]
    assert len(failed) <= 2
    assert set(failed) <= {"disk.full"}
    assert sorted(map(int, lines(told))) == list(range(30))
