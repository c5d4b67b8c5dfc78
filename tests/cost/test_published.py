"""The counter agrees with totals that the literature reports for well-known networks."""

from functools import cache

import pytest
import torch

from sentei.cost import Counts, measure
from sentei.models import load_model


@cache
def counts_of(spec: str) -> Counts:
    with torch.device("meta"):
        loaded = load_model(spec)
        assert loaded.input_shape is not None
        return measure(loaded.model.eval(), torch.empty(1, *loaded.input_shape))


# Lowest and highest multiply-adds in use for each network; papers differ in whether they count
# biases, norms, pooling, and an extra classifier layer.
@pytest.mark.parametrize(
    ("spec", "lowest", "highest"),
    [
        ("resnet20", 40.5e6, 40.9e6),
        ("resnet56", 125.4e6, 126.6e6),
        ("vgg16_bn", 313.1e6, 313.8e6),
        ("densenet40", 281.5e6, 283.0e6),
        ("googlenet_cifar", 1.515e9, 1.525e9),
        ("torchvision:resnet18", 1.81e9, 1.82e9),
        ("torchvision:resnet34", 3.64e9, 3.68e9),
        ("torchvision:resnet50", 4.085e9, 4.13e9),
        ("torchvision:mobilenet_v2", 2.99e8, 3.02e8),
    ],
)
def test_macs_are_in_the_published_range(spec: str, lowest: float, highest: float) -> None:
    assert lowest <= counts_of(spec).macs <= highest


@pytest.mark.parametrize(
    ("spec", "millions"),
    [
        ("resnet20", 0.27),
        ("resnet56", 0.85),
        ("vgg16_bn", 14.7),
        ("densenet40", 1.06),
        ("googlenet_cifar", 6.2),
        ("torchvision:resnet18", 11.7),
        ("torchvision:resnet34", 21.8),
        ("torchvision:resnet50", 25.6),
        ("torchvision:mobilenet_v2", 3.5),
    ],
)
def test_parameters_are_those_published(spec: str, millions: float) -> None:
    assert counts_of(spec).num_parameters == pytest.approx(millions * 1e6, rel=0.02)


def test_macs_of_resnet20_follow_the_paper() -> None:
    # Three stages of six convolutions at 32, 16 and 8 pixels; shortcuts without parameters.
    stem = 32 * 32 * 9 * 3 * 16
    first = 32 * 32 * 9 * 6 * 16 * 16
    second = 16 * 16 * 9 * (16 * 32 + 5 * 32 * 32)
    third = 8 * 8 * 9 * (32 * 64 + 5 * 64 * 64)

    assert counts_of("resnet20").macs == stem + first + second + third + 64 * 10


def test_macs_of_resnet50_are_exact() -> None:
    # Bottlenecks (1x1 in, 3x3, 1x1 out) of 64 to 512 channels at 56 to 7 pixels; torchvision
    # halves the resolution in the 3x3, so the first 1x1 of a stage still runs at twice the size.
    total = 112 * 112 * 49 * 3 * 64 + 2048 * 1000
    inputs = 64
    for width, size, blocks in ((64, 56, 3), (128, 28, 4), (256, 14, 6), (512, 7, 3)):
        before = size if width == 64 else 2 * size
        total += before**2 * inputs * width + size**2 * (9 * width**2 + 4 * width**2)
        total += size**2 * inputs * 4 * width  # the projection of the shortcut
        total += (blocks - 1) * size**2 * (4 * width**2 + 9 * width**2 + 4 * width**2)
        inputs = 4 * width

    assert counts_of("torchvision:resnet50").macs == total
