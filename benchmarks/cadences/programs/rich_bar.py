"""Lightning as it comes, with rich installed: a banner, then its bar, which writes nothing into a file until it ends.
Needs lightning and rich."""

import sys
from pathlib import Path

import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

EPOCHS, ROWS, WIDTH = 3, 12_800, 512


class Net(lightning.LightningModule):
    """Two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU(), torch.nn.Linear(WIDTH, 1))

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        loss = torch.nn.functional.mse_loss(self.layers(batch[0]), batch[1])
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        self.log("val_loss", torch.nn.functional.mse_loss(self.layers(batch[0]), batch[1]), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


def main(out: Path) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = DataLoader(TensorDataset(torch.rand(ROWS, WIDTH), torch.rand(ROWS, 1)), batch_size=8)
    lightning.Trainer(max_epochs=EPOCHS, accelerator="cpu", logger=False, default_root_dir=out).fit(Net(), data, data)


main(Path(sys.argv[1]))
