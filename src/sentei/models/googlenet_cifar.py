"""GoogLeNet for 32x32 images.

Source: Szegedy et al., CVPR 2015, arXiv:1409.4842 (the widths of the nine modules).
Difference: as the pruning literature uses it on CIFAR: one 3x3 stem convolution, batch
normalisation, the 5x5 convolution as two 3x3 ones, no auxiliary classifiers.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from sentei.models.base import MODELS, init_convolutions

_STEM = 192
# A module: 1x1; 3x3 reduced and full; 5x5 reduced and full; 1x1 after pooling.
# A max pooling ends the first and the second stage.
_STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
_Widths = tuple[int, int, int, int, int, int]


class Inception(nn.Module):
    """Four branches side by side, concatenated: 1x1, 3x3, 5x5 (as two 3x3), pooling."""

    def __init__(self, in_channels: int, widths: _Widths) -> None:
        super().__init__()
        one, reduced3, three, reduced5, five, pooled = widths
        self.branch1 = nn.Sequential(*_conv_bn_relu(in_channels, one, 1))
        self.branch3 = nn.Sequential(
            *_conv_bn_relu(in_channels, reduced3, 1), *_conv_bn_relu(reduced3, three, 3)
        )
        self.branch5 = nn.Sequential(
            *_conv_bn_relu(in_channels, reduced5, 1),
            *_conv_bn_relu(reduced5, five, 3),
            *_conv_bn_relu(five, five, 3),
        )
        self.branch_pool = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), *_conv_bn_relu(in_channels, pooled, 1)
        )
        self.out_channels = one + three + five + pooled

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, sum of the branches' widths, H, W]."""
        branches = (self.branch1(x), self.branch3(x), self.branch5(x), self.branch_pool(x))
        return torch.cat(branches, dim=1)


class CifarGoogLeNet(nn.Module):
    """A stem and nine inception modules in three stages.

    Args:
        num_classes: Length of the output, >= 1.
        in_channels: Channels of the images, >= 1.
    """

    image_size: ClassVar[int] = 32

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv_bn_relu(in_channels, _STEM, 3))
        stages: list[nn.Module] = []
        width = _STEM
        for i, stage in enumerate(_STAGES):
            if i > 0:
                stages.append(nn.MaxPool2d(3, stride=2, padding=1))
            for widths in stage:
                module = Inception(width, widths)
                stages.append(module)
                width = module.out_channels
        self.stages = nn.Sequential(*stages)
        self.linear = nn.Linear(width, num_classes)
        init_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, in_channels, H, W] to logits [N, num_classes]."""
        out = self.stages(self.stem(x))
        return self.linear(nn.functional.adaptive_avg_pool2d(out, 1).flatten(1))


def _conv_bn_relu(in_channels: int, out_channels: int, kernel_size: int) -> list[nn.Module]:
    # The convolutions keep their bias: the quoted 6.15 M parameters count it.
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


@MODELS.register("googlenet_cifar")
def googlenet_cifar(num_classes: int = 10, in_channels: int = 3) -> CifarGoogLeNet:
    """Build GoogLeNet for CIFAR: 6.2 M parameters, 1.52 G MACs."""
    return CifarGoogLeNet(num_classes=num_classes, in_channels=in_channels)
