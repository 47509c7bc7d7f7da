"""What becomes of a run's processes when the supervisor stalls, ends a stall, or is itself suspended."""

import os
import signal

import pytest
from campaign_world import Ground, ground, lines
from keeper_world import alive, await_that

__all__ = ["ground"]

# Helpers of every kind, a banner of ten lines once each process has told its pid, then silence.
HANGING = """
trap '' TERM
sh -c 'trap "" TERM INT HUP; echo $$ >> "$0"; while :; do sleep 1; done' "$1" &
env -i sh -c 'trap "" TERM; echo $$ >> "$0"; while :; do sleep 1; done' "$1" &
(setsid env -i sh -c '(sh -c "echo \\$\\$ >> $0; exec sleep 600" &) ; exit 0' "$1" > /dev/null 2>&1 &)
echo $$ >> "$1"
until [ $(wc -l < "$1") = 4 ]; do sleep 0.02; done
for n in 1 2 3 4 5 6 7 8 9 10; do echo line $n; done
while :; do sleep 1; done
"""


def test_a_stalled_tree_is_ended_whole(ground):
    """Guards against a killed trainer's daemon that keeps the GPU: TERM ignored, environment wiped, forked twice."""
    ground.file("hanging.sh", HANGING)
    pids = ground.work / "pids"
    campaign = ground.launch(
        "--set", "limits.heartbeat=1s", "--set", "limits.grace=300ms", "--set", "retry.max_attempts=1",
        "--", "sh", "hanging.sh", pids,
    )  # fmt: skip
    await_that(lambda: len(lines(pids)) == 4)
    await_that(lambda: ground.counts(campaign) == {"failed": 1})
    assert [pid for pid in lines(pids) if alive(int(pid))] == []
    (run,) = ground.status(campaign)["runs"]
    assert run["class"] == "stall.output"
    (attempt,) = ground.summary(campaign, run["run_id"])["attempts"]
    assert (attempt["ended_by"], attempt["signal"]) == ("stall", "SIGKILL")


# Saves only while its worker processes live, as one that gathers state from them does; goes on from there.
SAVING = """
worker() { trap 'exit 0' TERM; while :; do sleep 0.05; done; }
worker & one=$!
worker & two=$!
save() {
  kill -0 $one && kill -0 $two && echo step $step > "$1/ckpt.tmp" && mv "$1/ckpt.tmp" "$1/ckpt.txt"
  kill $one $two; exit 1
}
step=0
for word in "$@"; do case $word in resume=*) read -r _ step < "${word#resume=}"; echo resumed at $step;; esac; done
trap 'save "$1"' TERM
if [ $step -gt 0 ]; then kill $one $two; wait; echo step $((step + 1)); exit 0; fi
while :; do step=$((step + 1)); echo step $step; sleep 0.05; done
"""


@pytest.mark.parametrize("ended", ["pause", "timeout"])
def test_a_trainer_that_saves_on_term_keeps_its_checkpoint(ground, ended):
    """Guards against ending a trainer's workers before it: the checkpoint that it is saving dies with them."""
    ground.file("saving.sh", SAVING)
    limit = "60s" if ended == "pause" else "3s"
    words = [
        "--set", "checkpoint.path={out_dir}/ckpt.txt", "--set", "checkpoint.resume=['resume={checkpoint}']",
        "--set", f"limits.attempt_timeout={limit}", "--set", "retry.backoff.first=100ms",
        "--", "sh", "saving.sh", "{out_dir}",
    ]  # fmt: skip
    campaign = ground.launch(*words)
    if ended == "pause":
        log = ground.attempt(campaign, "run-1") / "output.log"
        await_that(lambda: "step 3" in lines(log))
        ground.overnight("pause", campaign, "--now")
        await_that(lambda: ground.counts(campaign).get("pending") == 1)
        ground.overnight("resume", campaign)
    await_that(lambda: ground.counts(campaign) == {"succeeded": 1})
    saved = (ground.out(campaign, "run-1") / "ckpt.txt").read_text().split()[1]
    assert lines(ground.attempt(campaign, "run-1", 2) / "output.log") == [
        f"resumed at {saved}",
        f"step {int(saved) + 1}",
    ]
    first, second = ground.summary(campaign, "run-1")["attempts"]
    assert (first["ended_by"], second["ended_by"]) == (ended, "itself")
    assert second["resumed_from"].endswith("ckpt.txt")


# Prints for as long as it is not told to go; says if anybody signals it.
PRINTING = """
trap 'echo harmed >> told' TERM INT ABRT
n=0
while [ ! -e go ]; do n=$((n + 1)); echo step $n; sleep 0.1; done
echo ended >> told
"""


def printed(ground: Ground, campaign: str) -> int:
    return len(lines(ground.attempt(campaign, "run-1") / "output.log"))


def test_a_suspended_supervisor_harms_nobody(ground):
    """Guards against false stalls after Ctrl-Z, a debugger or a frozen machine: nobody looked, so nobody was silent."""
    ground.file("printing.sh", PRINTING)
    campaign = ground.launch(
        "--set", "limits.heartbeat=1s", "--set", "limits.progress=1s", "--set", "limits.startup=1s",
        "--", "sh", "printing.sh",
    )  # fmt: skip
    await_that(lambda: printed(ground, campaign) > 12)
    supervisor, term = ground.supervisor(), ground.holder["term"]
    for _ in range(2):
        os.kill(supervisor, signal.SIGSTOP)
        lately = printed(ground, campaign)
        await_that(lambda lately=lately: printed(ground, campaign) > lately + 30)  # three limits
        os.kill(supervisor, signal.SIGCONT)
        beat = ground.holder["beat"]
        await_that(lambda beat=beat: ground.holder["beat"] > beat + 10)
    ground.file("go", "")
    await_that(lambda: ground.counts(campaign) == {"succeeded": 1})
    assert (lines(ground.work / "told"), ground.holder["term"]) == (["ended"], term)


def test_a_supervisor_that_stands_still_is_replaced(ground):
    """Guards against a supervisor that lives and does nothing: after 40 s somebody else must be in control."""
    ground.file("printing.sh", PRINTING)
    campaign = ground.launch("--set", "limits.heartbeat=3s", "--", "sh", "printing.sh")
    await_that(lambda: printed(ground, campaign) > 12)
    supervisor, term = ground.supervisor(), ground.holder["term"]
    os.kill(supervisor, signal.SIGSTOP)
    await_that(lambda: ground.holder["term"] > term, seconds=60)
    assert not alive(supervisor)
    ground.file("go", "")
    await_that(lambda: ground.counts(campaign) == {"succeeded": 1})
    assert lines(ground.work / "told") == ["ended"]
