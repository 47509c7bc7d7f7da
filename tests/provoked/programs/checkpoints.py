"""Checkpoints that will not load or cannot be written: `checkpoints.py FAULT FOLDER`."""

import sys
from pathlib import Path

import torch

fault, path = sys.argv[1], Path(sys.argv[2], "ckpt.pt")


class Settings:
    """What a trainer once put into its checkpoint."""

    rate = 0.1


model = torch.nn.Linear(256, 256)
if fault == "full":
    for step in range(100):
        print(f"step {step} loss 0.5", flush=True)
        torch.save(model.state_dict(), path.with_name(f"ckpt-{step}.pt"))
torch.save({"model": model.state_dict(), "settings": Settings()} if fault == "foreign" else model.state_dict(), path)
print(f"saved {path.stat().st_size} bytes", flush=True)
if fault == "truncated":
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
if fault == "begun":
    with path.open("r+b") as file:
        file.truncate(9000)
if fault == "overwritten":
    path.write_bytes(b"\0" * path.stat().st_size)
if fault == "garbage":
    path.write_bytes(b"\xff" * path.stat().st_size)
if fault == "empty":
    path.write_bytes(b"")
if fault == "missing":
    path.unlink()
other = torch.nn.Linear(256, 128) if fault == "misfit" else torch.nn.Linear(256, 256)
other.load_state_dict(torch.load(path))
