"""A network that has learned digits, and a task that takes a second."""

import dataclasses

import pytest
import torch
from torch import nn

from sentei import Budget
from sentei.data import DataSplits, load_data
from sentei.data.base import Images
from sentei.data.tensor_images import TensorImages
from sentei.methods import Task
from sentei.models import load_model
from sentei.train import TrainConfig, fit


@pytest.fixture(scope="session")
def digits() -> DataSplits:
    """Return digits with a third of the training images and a hundred validation images."""
    splits = load_data("digits")
    return dataclasses.replace(splits, train=first(splits.train, 400), val=first(splits.val, 100))


def first(images: Images, count: int) -> TensorImages:
    assert isinstance(images, TensorImages)
    return images.subset(torch.arange(count))


@pytest.fixture(scope="session")
def trained(digits: DataSplits) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = load_model("digits_cnn", num_classes=10).model
        batches = digits.loader("train", batch_size=50, shuffle=True)
        fit(model, batches, config=TrainConfig(epochs=15, learning_rate=0.1))
    return model.eval()


@pytest.fixture
def task(digits: DataSplits, trained: nn.Module) -> Task:
    return Task(
        model=trained,
        data=digits,
        budget=Budget(macs=0.5),
        recipe=TrainConfig(epochs=2, learning_rate=0.02),
        batch_size=50,
        calibration_images=100,
        tolerance=0.02,
    )
