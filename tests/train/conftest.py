"""Tiny real data for the tests of training."""

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor


@pytest.fixture(scope="session")
def digits() -> list[tuple[Tensor, Tensor]]:
    """Six batches of 32 handwritten digits: images [32, 1, 8, 8] in [0, 1], labels [32]."""
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images[:192] / 16, dtype=torch.float32).view(6, 32, 1, 8, 8)
    return list(zip(images, torch.tensor(labels[:192]).view(6, 32), strict=True))
