"""Workers that never meet: `meeting.py alone|port PORT|nccl`."""

import sys
from datetime import timedelta

import torch.distributed as dist

fault = sys.argv[1]
print("joining the others", flush=True)
if fault == "alone":
    store = dist.TCPStore("127.0.0.1", 0, world_size=2, is_master=True, timeout=timedelta(seconds=2))
elif fault == "port":
    store = dist.TCPStore("127.0.0.1", int(sys.argv[2]), world_size=2, is_master=True, timeout=timedelta(seconds=2))
