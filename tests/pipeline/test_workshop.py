"""The layout of weights: channels last where that is fast and sound."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from sentei.pipeline.workshop import use_fast_format


def is_channels_last(model: nn.Module) -> bool:
    weights = [p for p in model.parameters() if p.dim() == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert weights
    return all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)


def residual(shortcut: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 20, 3), shortcut, nn.Conv2d(20, 8, 3))


@pytest.mark.parametrize(
    "shortcut",
    [
        nn.Conv2d(20, 20, 1, stride=2),
        nn.Conv2d(20, 20, 1),
        nn.Conv2d(20, 20, 3, stride=2, groups=20),
        nn.Identity(),
    ],
)
def test_weights_lie_channels_last(shortcut: nn.Module) -> None:
    model = residual(shortcut)

    use_fast_format(model)

    assert is_channels_last(model)


@pytest.mark.parametrize(
    "shortcut", [nn.Conv2d(15, 20, 1, stride=2), nn.Conv2d(20, 20, 1, stride=(1, 2), groups=2)]
)
def test_where_a_1x1_convolution_strides_over_few_channels_they_do_not(shortcut: nn.Module) -> None:
    model = residual(shortcut).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    use_fast_format(model)

    assert not is_channels_last(model)


def test_networks_with_3d_convolutions_stay_as_they_are() -> None:
    model = nn.Sequential(nn.Conv3d(3, 4, 3), nn.Conv2d(4, 4, 3))

    use_fast_format(model)

    assert not is_channels_last(model)


TRAINING = """
import torch
from torch import nn
from sentei.pipeline.workshop import use_fast_format

model = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 56, 1, stride=2), nn.Conv2d(56, 2, 1))
use_fast_format(model)
images = torch.randn(16, 3, 32, 32)
for _ in range(30):
    model(images).square().mean().backward()
"""


def test_a_narrow_shortcut_trains_without_writing_past_its_memory() -> None:
    """Channels last, glibc ends this process (AVX2, torch 2.13.0: corrupted size, invalid pointer)."""
    ended = subprocess.run(
        [sys.executable, "-c", TRAINING], check=False, capture_output=True, text=True
    )

    assert (ended.returncode, ended.stderr) == (0, "")
