"""Some of the digits, and a tiny network that has learned them in a second."""

import dataclasses
from typing import Any

import torch
from torch import nn

from sentei.data import DataSplits, load_data
from sentei.data.tensor_images import TensorImages
from sentei.models import load_model
from sentei.train import TrainConfig, fit


def some_digits(**counts: int) -> DataSplits:
    """Return digits with the first images of the parts named."""
    data = load_data("digits")
    parts: dict[str, Any] = {}
    for part, count in counts.items():
        images = getattr(data, part)
        assert isinstance(images, TensorImages)
        parts[part] = images.subset(torch.arange(count))
    return dataclasses.replace(data, **parts)


def trained_cnn(data: DataSplits, *, epochs: int = 15) -> nn.Module:
    """Return ``digits_cnn`` in evaluation mode after training."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = load_model("digits_cnn", num_classes=10).model
        batches = data.loader("train", batch_size=50, shuffle=True)
        fit(model, batches, config=TrainConfig(epochs=epochs, learning_rate=0.1))
    return model.eval()
