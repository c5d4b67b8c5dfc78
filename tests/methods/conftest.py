"""A network that has learned digits, and a task that takes a second."""

import pytest
from torch import nn

from sentei import Budget
from sentei.data import DataSplits
from sentei.methods import Task
from sentei.train import TrainConfig
from tests.support.digits import some_digits, trained_cnn


@pytest.fixture(scope="session")
def digits() -> DataSplits:
    """Return digits with a third of the training images and a hundred validation images."""
    return some_digits(train=400, val=100)


@pytest.fixture(scope="session")
def trained(digits: DataSplits) -> nn.Module:
    return trained_cnn(digits)


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
