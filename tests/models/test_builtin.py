"""The built-in networks against the numbers of the literature."""

import math

import pytest
import torch
from torch import Tensor, nn

from sentei.models import MODELS
from sentei.models.resnet_cifar import PadShortcut

# Millions: MACs and parameters as papers quote them, and the relative difference allowed. Papers
# count batch norms, biases and projection shortcuts differently; two per cent covers that.
QUOTED = {
    "resnet20": (40.8, 0.27),
    "resnet32": (69.0, 0.46),
    "resnet56": (125.5, 0.85),
    "resnet110": (253.0, 1.72),
    "vgg16_bn": (313.7, 14.7),
    "densenet40": (282.0, 1.04),
    "googlenet_cifar": (1520.0, 6.15),
}


def count_macs(model: nn.Module, x: Tensor) -> int:
    """Return multiply-adds of convolutions and linear layers: outputs times fan-in."""
    total = 0

    def add(module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d | nn.Linear)
        total += output[0].numel() * math.prod(module.weight.shape[1:])

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    model.eval()(x)
    return total


@pytest.mark.parametrize("name", QUOTED)
def test_macs_match_the_literature(name: str) -> None:
    macs = count_macs(MODELS[name](), torch.zeros(1, 3, 32, 32))

    assert macs / 1e6 == pytest.approx(QUOTED[name][0], rel=0.02)


@pytest.mark.parametrize("name", QUOTED)
def test_parameters_match_the_literature(name: str) -> None:
    parameters = sum(p.numel() for p in MODELS[name]().parameters())

    assert parameters / 1e6 == pytest.approx(QUOTED[name][1], rel=0.02)


def test_resnet20_macs_by_hand() -> None:
    stem = 32 * 32 * 16 * 3 * 9
    stage1 = 6 * 32 * 32 * 16 * 16 * 9
    stage2 = 16 * 16 * 32 * 9 * (16 + 5 * 32)
    stage3 = 8 * 8 * 64 * 9 * (32 + 5 * 64)

    macs = count_macs(MODELS["resnet20"](), torch.zeros(1, 3, 32, 32))

    assert macs == stem + stage1 + stage2 + stage3 + 64 * 10


def test_mobilenetv2_has_the_papers_convolution_weights() -> None:
    # The paper's rows: expand, depthwise, project of every block; stem, head, classifier.
    rows = [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]
    expected, width = 3 * 32 * 9, 32
    for expansion, out, repeats in rows:
        for _ in range(repeats):
            hidden = expansion * width
            expected += (width * hidden if expansion > 1 else 0) + hidden * 9 + hidden * out
            width = out
    expected += 320 * 1280 + 1280 * 10

    model = MODELS["mobilenetv2_cifar"]()
    weights = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear))

    assert weights == expected


def test_mobilenetv2_ends_at_four_by_four_pixels() -> None:
    model = MODELS["mobilenetv2_cifar"]().eval()
    blocks = nn.Sequential(model.get_submodule("stem"), model.get_submodule("blocks"))

    assert blocks(torch.zeros(1, 3, 32, 32)).shape == (1, 320, 4, 4)


def test_digits_cnn_is_tiny() -> None:
    assert 15_000 < sum(p.numel() for p in MODELS["digits_cnn"]().parameters()) < 30_000


def test_pad_shortcut_takes_every_second_pixel_between_zero_channels() -> None:
    x = torch.arange(2 * 4 * 4, dtype=torch.float32).view(1, 2, 4, 4)

    y = PadShortcut(1, 2)(x)

    assert y[0, :, 1, 1].tolist() == [0.0, x[0, 0, 2, 2].item(), x[0, 1, 2, 2].item(), 0.0, 0.0]


def test_pad_shortcut_follows_its_changed_attributes() -> None:
    shortcut = PadShortcut(1, 2)

    shortcut.pad_before, shortcut.pad_after = 0, 3

    assert shortcut(torch.ones(1, 2, 4, 4))[0, :, 0, 0].tolist() == [1, 1, 0, 0, 0]


def test_resnet_keys_are_those_of_published_files() -> None:
    keys = MODELS["resnet20"]().state_dict().keys()

    assert {"conv1.weight", "bn1.bias", "layer1.0.conv1.weight", "layer3.2.bn2.running_var"} <= keys
    assert {key.split(".")[0] for key in keys} == {
        "conv1", "bn1", "layer1", "layer2", "layer3", "linear",
    }  # fmt: skip


@pytest.mark.parametrize("name", list(MODELS))
def test_every_network_takes_classes_and_channels(name: str) -> None:
    model = MODELS[name](num_classes=7, in_channels=2).eval()
    size = model.image_size
    assert isinstance(size, int)

    assert model(torch.zeros(1, 2, size, size)).shape == (1, 7)
