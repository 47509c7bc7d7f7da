"""What every tool runs: `program.py FOLDER RUN`. Works in steps, saves each, goes on where it was, and meets its fault.

In FOLDER/RUN: `step` (the checkpoint), `struck` (the fault has been), `starts` (a line each), `done`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(100000)"


def main(folder: Path, run_id: str) -> None:
    plan = json.loads((folder / "plan.json").read_text())[run_id]
    own = folder / run_id
    own.mkdir(exist_ok=True)
    with (own / "starts").open("a") as file:
        file.write(f"{time.time()}\n")
    if plan["fault"] == "certain":
        print(
            "usage: program.py [-h] --lr LR\nprogram.py: error: unrecognized arguments: --lr-decy 0.1", file=sys.stderr
        )
        sys.exit(2)
    done = int((own / "step").read_text()) if (own / "step").exists() else 0
    for step in range(done + 1, plan["steps"] + 1):
        if step == plan["at"] and not (own / "struck").exists():
            (own / "struck").touch()
            strike(plan["fault"])
        time.sleep(0.2)
        (own / "step.new").write_text(str(step))
        (own / "step.new").rename(own / "step")
        print(f"step {step}/{plan['steps']} loss {1 / step:.4f}", flush=True)
    (own / "done").touch()


def strike(fault: str) -> None:
    if fault == "silent":
        time.sleep(100_000)
    elif fault == "spinning":
        while True:
            print("still waiting for data", flush=True)
            time.sleep(0.1)
    elif fault == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", DEAF], start_new_session=True)
        time.sleep(100_000)
    elif fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "transient":
        host = "HTTPSConnectionPool(host='hub.example.org', port=443)"
        raise ConnectionError(f"{host}: Max retries exceeded with url: /tokenizer.json (Connection reset by peer)")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
