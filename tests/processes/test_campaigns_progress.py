"""Real programs that end badly, work silently, or say what they are about."""

import time

from campaign_world import ground
from keeper_world import await_that

__all__ = ["ground"]

TRAINS = """
import atexit, os, socket, sys, threading, time
for step in range(1, 21):
    print(f"step {step}/20 loss 1.5", flush=True)
open(os.environ["OVERNIGHT_OUT_DIR"] + "/model.bin", "w").write("weights")
how = sys.argv[1]
if how == "lock":
    lock = threading.Lock()
    lock.acquire()
    atexit.register(lambda: lock.acquire())
elif how == "thread":
    threading.Thread(target=threading.Event().wait).start()
elif how == "stubborn":
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=threading.Event().wait).start()
elif how == "upload":
    server = socket.create_server(("127.0.0.1", 0))
    socket.create_connection(server.getsockname()).recv(1)
elif how == "error":
    threading.Thread(target=threading.Event().wait).start()
    raise ValueError("the final evaluation does not fit")
elif how == "quiet":
    from overnight.run import phase, progress
    with phase("eval", quiet="1m"):
        while not os.path.exists("go"):
            time.sleep(0.05)
    progress(20, 20, score=0.75)
"""


def test_done_and_hung_is_told_from_work(ground):
    """Guards against a training of a night that is trained again because its last line hung, and against an upload
    that is cut off and called a success."""
    ground.file("train.py", TRAINS)
    ground.file("rows.csv", "how\nlock\nthread\nstubborn\nupload\nerror\n")
    document = ground.overnight(
        "launch", "--wait", "--json", "--slots", 5, "--runs", "rows.csv", "--set", "limits.heartbeat=2s",
        "--set", "limits.grace=1s", "--set", "retry.max_attempts=1", "--", "python3", "train.py", "{how}", code=1,
    ).document  # fmt: skip
    runs = {run["run_id"]: run for run in document["runs"]}
    for how in ("lock", "thread", "stubborn"):
        run = runs[f"how_{how}"]
        assert (run["state"], run["flags"]) == ("succeeded", ["teardown.hung"]), run
        (attempt,) = ground.summary(document["campaign"], run["run_id"])["attempts"]
        assert (attempt["class"], attempt["ended_by"]) == ("teardown.hung", "stall")
    for how in ("upload", "error"):
        assert (runs[f"how_{how}"]["state"], runs[f"how_{how}"]["class"]) == ("failed", "stall.output")


def test_a_declared_quiet_phase_outlives_the_heartbeat(ground):
    """Guards against an evaluation that said how long it would be silent, and was ended all the same."""
    ground.file("train.py", TRAINS)
    campaign = ground.launch(
        "--set", "limits.heartbeat=2s", "--set", "retry.max_attempts=1", "--", "python3", "train.py", "quiet"
    )
    run = await_that(lambda: (found := ground.status(campaign)["runs"][0])["phase"] and found)
    began = time.monotonic()
    assert run["phase"] == "eval"
    while time.monotonic() < began + 6.0:  # three times the heartbeat
        assert ground.status(campaign)["runs"][0]["state"] == "running"
    ground.file("go", "")
    await_that(lambda: ground.counts(campaign) == {"succeeded": 1})
    assert ground.status(campaign)["runs"][0]["phase"] is None
    assert ground.summary(campaign, run["run_id"])["metrics"]["score"] == 0.75
