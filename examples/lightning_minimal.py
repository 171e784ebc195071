"""A Lightning training that tells its platform everything: the one line is the first.

    python examples/lightning_minimal.py

Fits a line; nothing is downloaded.
"""

import trainer_hooks

trainer_hooks.autolog("lightning")

import torch  # noqa: E402 - the line above may as well stand here
from lightning.pytorch import LightningModule, Trainer  # noqa: E402
from lightning.pytorch.callbacks import ModelCheckpoint  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402


class Line(LightningModule):
    """One weight and one offset."""

    def __init__(self, rate: float = 0.1) -> None:  # noqa: ARG002 - Lightning reads it by itself
        super().__init__()
        self.save_hyperparameters()
        self.line = torch.nn.Linear(1, 1)

    def _loss(self, batch):
        x, y = batch
        return torch.nn.functional.mse_loss(self.line(x), y)

    def training_step(self, batch, _):
        loss = self._loss(batch)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, _):
        self.log("val_loss", self._loss(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.rate)


def main() -> None:
    x = torch.rand(256, 1)
    data = TensorDataset(x, 3 * x + 1 + 0.1 * torch.randn_like(x))
    best = ModelCheckpoint(monitor="val_loss", save_last=True)
    trainer = Trainer(max_epochs=5, accelerator="cpu", logger=False, callbacks=[best], enable_progress_bar=False)
    trainer.fit(Line(), DataLoader(data, batch_size=32, shuffle=True), DataLoader(data, batch_size=64))


if __name__ == "__main__":
    main()
