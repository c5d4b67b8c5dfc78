"""DenseNet-40 for 32x32 images: growth rate 12, no bottleneck, no compression.

Source: Huang et al., CVPR 2017, arXiv:1608.06993.
Difference: the stem has 24 channels (twice the growth rate), as in the networks whose 1.04 M
parameters and 282 M MACs the pruning literature quotes.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from sentei.models.base import MODELS, init_convolutions


class DenseLayer(nn.Module):
    """Batch norm, ReLU and a 3x3 convolution, whose output joins its input."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C + growth, H, W], the input's channels first."""
        return torch.cat([x, self.conv(nn.functional.relu(self.bn(x)))], dim=1)


class Transition(nn.Module):
    """Batch norm, ReLU, a 1x1 convolution and 2x2 average pooling."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C, H / 2, W / 2]."""
        return nn.functional.avg_pool2d(self.conv(nn.functional.relu(self.bn(x))), 2)


class CifarDenseNet(nn.Module):
    """Three dense blocks with a transition after the first and second.

    Args:
        num_layers: Layers of a block, >= 1.
        growth: Channels a layer adds, >= 1.
        num_classes: Length of the output, >= 1.
        in_channels: Channels of the images, >= 1.
    """

    image_size: ClassVar[int] = 32

    def __init__(self, num_layers: int, growth: int, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        width = 2 * growth
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.block1 = _block(width, growth, num_layers)
        width += num_layers * growth
        self.transition1 = Transition(width)
        self.block2 = _block(width, growth, num_layers)
        width += num_layers * growth
        self.transition2 = Transition(width)
        self.block3 = _block(width, growth, num_layers)
        width += num_layers * growth
        self.bn = nn.BatchNorm2d(width)
        self.linear = nn.Linear(width, num_classes)
        init_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, in_channels, H, W] to logits [N, num_classes]; H, W >= 4."""
        out = self.transition1(self.block1(self.conv1(x)))
        out = self.transition2(self.block2(out))
        out = nn.functional.relu(self.bn(self.block3(out)))
        return self.linear(nn.functional.adaptive_avg_pool2d(out, 1).flatten(1))


def _block(in_channels: int, growth: int, num_layers: int) -> nn.Sequential:
    return nn.Sequential(*(DenseLayer(in_channels + i * growth, growth) for i in range(num_layers)))


@MODELS.register("densenet40")
def densenet40(num_classes: int = 10, in_channels: int = 3) -> CifarDenseNet:
    """Build DenseNet-40 (k = 12): 1.06 M parameters, 282.9 M MACs."""
    return CifarDenseNet(12, 12, num_classes=num_classes, in_channels=in_channels)
