"""One process of torch training, with a fault: `train.py FAULT`."""

import os
import signal
import sys

import torch
from torch.utils.data import DataLoader, Dataset

FAULT = sys.argv[1]


class Samples(Dataset[torch.Tensor]):
    """Eight features each, of which the tenth is at fault."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == 10 and FAULT == "worker-killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if index == 10 and FAULT == "worker-raises":
            return {"image": torch.zeros(8)}["pixels"]
        if FAULT in ("shm-small", "too-many-files"):
            return torch.randn(8, 40_000)
        return torch.randn(8)


def train() -> None:
    """A loop whose batches come from workers."""
    if FAULT == "too-many-files":
        torch.multiprocessing.set_sharing_strategy("file_descriptor")
    kept = []
    batch_size = 1 if FAULT == "too-many-files" else 4
    for step, batch in enumerate(DataLoader(Samples(), batch_size=batch_size, num_workers=2)):
        kept.append(batch)
        print(f"step {step} loss {batch.mean().item():.4f}", flush=True)


def bad_shape() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    print(model(torch.randn(4, 8)).shape)


def bad_index() -> None:
    torch.nn.Embedding(100, 8)(torch.tensor([99, 100]))


def nan_backward() -> None:
    """The square root's slope at zero, found by the anomaly mode."""
    weight = torch.zeros(4, requires_grad=True)
    with torch.autograd.detect_anomaly():
        (torch.sqrt(weight) * weight).sum().backward()


def nan_loss() -> None:
    """A trainer that looks after itself."""
    weight, rate = torch.ones(1, requires_grad=True), 1e20
    for step in range(20):
        loss = (weight**4).sum()
        print(f"step {step} loss {loss.item()}", flush=True)
        if not torch.isfinite(loss):
            raise RuntimeError(f"loss is {loss.item()} at step {step}, stopping training")
        (slope,) = torch.autograd.grad(loss, weight)
        weight = (weight - rate * slope).detach().requires_grad_()


def needs_gpu() -> None:
    torch.nn.Linear(8, 8).to("cuda")


def spawned(rank: int) -> None:
    if rank == 1:
        raise KeyError("learning_rate")


def spawn() -> None:
    torch.multiprocessing.spawn(spawned, nprocs=2)


FAULTS = {
    "bad-shape": bad_shape,
    "bad-index": bad_index,
    "nan-backward": nan_backward,
    "nan-loss": nan_loss,
    "needs-gpu": needs_gpu,
    "spawn": spawn,
}

if __name__ == "__main__":
    FAULTS.get(FAULT, train)()
