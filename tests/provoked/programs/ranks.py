"""Data-parallel training over gloo, with a fault in one rank. Started by torchrun: `ranks.py FAULT`."""

import atexit
import contextlib
import ctypes
import os
import signal
import socket
import sys
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d
from torch.distributed.elastic.multiprocessing.errors import record
from torch.nn.parallel import DistributedDataParallel

FAULT_STEP = 3
COLLECTIVE_SECONDS = 4  # what a hanging rank's peer waits
TOLD_IN_PIECES = ("aborts", "segfaults")  # a handler of signals writes word by word: no peer may speak meanwhile


def fail(fault: str) -> None:
    if fault == "raises-silently":  # nothing but its reply file will tell
        sys.stderr = open(os.devnull, "w")
    if fault == "raises-and-lingers":
        atexit.register(linger)
    if fault.startswith("raises"):
        raise ValueError("label 11 is not among 10 classes")
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "hangs":
        signal.pause()
    if fault == "leaves":
        os._exit(0)
    if fault == "aborts":
        os.abort()
    if fault == "segfaults":
        ctypes.string_at(0)


def linger() -> None:
    """Its connections are closed, and it is there until somebody ends it: its peers have time to say whom they lost."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(name))) as connection:
            connection.getpeername()  # what only listens stays
            connection.shutdown(socket.SHUT_RDWR)
    signal.pause()


def main(fault: str) -> None:
    dist.init_process_group("gloo")
    model = DistributedDataParallel(torch.nn.Linear(8, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(6):
        if step == FAULT_STEP and fault in TOLD_IN_PIECES:
            dist.barrier()
        if step == FAULT_STEP and fault == "hangs":  # before, ranks that come late on a slow machine are waited for
            distributed_c10d._set_pg_timeout(timedelta(seconds=COLLECTIVE_SECONDS))
        if step == FAULT_STEP and dist.get_rank() == 1:
            fail(fault)
        loss = torch.nn.functional.cross_entropy(model(torch.randn(4, 8)), torch.zeros(4, dtype=torch.long))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if dist.get_rank() == 0:
            print(f"step {step} loss {loss.item():.4f}", flush=True)
    dist.destroy_process_group()


(record(main) if sys.argv[1] == "raises-silently" else main)(sys.argv[1])
