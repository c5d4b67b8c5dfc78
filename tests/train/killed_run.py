"""A short run on digits that can kill its own process in the middle of an epoch."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from sentei.train import Hook, RunOptions, TrainConfig, fit

CONFIG = TrainConfig(
    epochs=4, optimizer="adamw", learning_rate=0.01, ema_decay=0.9, warmup_epochs=0.5, seed=5
)


class ShuffledDigits:
    """Batches whose order is a function of the epoch."""

    def __init__(self) -> None:
        images, labels = load_digits(return_X_y=True)
        self.images = torch.tensor(images[:160] / 16, dtype=torch.float32).view(-1, 1, 8, 8)
        self.labels = torch.tensor(labels[:160])
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return 5

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(160, generator=torch.Generator().manual_seed(self.epoch))
        for indices in order.split(32):
            yield self.images[indices], self.labels[indices]


class KillAtStep(Hook):
    """SIGKILL after a number of steps: no cleanup of any kind runs. 0 never kills."""

    def __init__(self, step: int) -> None:
        self.steps_left = step

    def after_step(self, _model: nn.Module) -> None:
        self.steps_left -= 1
        if self.steps_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def train(directory: Path, *, kill_at_step: int = 0) -> nn.Module:
    """Train with checkpoints in ``directory`` and return the network."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(144, 10),
        )
    batches = ShuffledDigits()
    options = RunOptions(
        val_batches=batches, hooks=(KillAtStep(kill_at_step),), checkpoint_dir=directory
    )
    fit(model, batches, config=CONFIG, options=options)
    return model


if __name__ == "__main__":
    train(Path(sys.argv[1]), kill_at_step=int(sys.argv[2]))
