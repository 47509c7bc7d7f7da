"""A small language model under torch.compile: silent while it compiles, then a line each ten steps, recompiling for
evaluation. Needs torch."""

import sys
from pathlib import Path

import torch
from torch import nn

STEPS, LOG, EVALUATE, SAVE = 240, 10, 80, 80


class Block(nn.Module):
    """Attention and a wide layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.wide = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.wide(self.second(x))


def main(out: Path) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    width, words = 128, 256
    net = nn.Sequential(nn.Embedding(words, width), *(Block(width) for _ in range(3)), nn.Linear(width, words))
    model = torch.compile(net)
    adam = torch.optim.AdamW(net.parameters(), lr=3e-4)
    print(f"parameters: {sum(p.numel() for p in net.parameters()):,}", flush=True)
    for step in range(1, STEPS + 1):
        batch = torch.randint(0, words, (8, 129))
        loss = nn.functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step % LOG == 0:
            print(f"iter {step}: loss {loss.item():.4f}", flush=True)
        if step % EVALUATE == 0:
            net.eval()
            with torch.no_grad():
                losses = [
                    nn.functional.cross_entropy(model(b[:, :-1]).flatten(0, 1), b[:, 1:].flatten()).item()
                    for b in (torch.randint(0, words, (8, 129)) for _ in range(60))
                ]
            net.train()
            print(f"step {step}: val loss {sum(losses) / len(losses):.4f}", flush=True)
        if step % SAVE == 0:
            torch.save(net.state_dict(), out / f"ckpt-{step}.pt")


main(Path(sys.argv[1]))
