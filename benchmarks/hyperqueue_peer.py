"""HyperQueue in a process of its own: its server and one worker come up, then the array is timed.

`python hyperqueue_peer.py DIRECTORY RUNS SLOTS COMMAND`: prints seconds. Each task writes its own output files,
as it does by default and as our runs do. Its server keeps no journal here, which is to its advantage.
"""

import sys
import time
from pathlib import Path

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig


def main(directory: Path, runs: int, slots: int, command: str) -> None:
    """Submit, wait, print."""
    with LocalCluster(str(directory / "server"), WorkerConfig(cores=slots)) as cluster:
        client = cluster.client()
        warm = Job(default_workdir=directory)
        warm.program([command])
        client.wait_for_jobs([client.submit(warm)])
        begun = time.perf_counter()
        job = Job(default_workdir=directory)
        for n in range(runs):
            job.program([command, str(n)])
        client.wait_for_jobs([client.submit(job)])
        print(time.perf_counter() - begun)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
