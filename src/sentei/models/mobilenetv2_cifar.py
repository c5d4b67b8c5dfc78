"""MobileNetV2 for 32x32 images.

Source: Sandler et al., CVPR 2018, arXiv:1801.04381.
Difference: the stem and the second stage keep the resolution (stride 1), so that 32x32 images end
at 4x4 pixels.
"""

from typing import ClassVar

from torch import Tensor, nn

from sentei.models.base import MODELS, init_convolutions

# Expansion of the input's channels, output channels, blocks, stride of the first block.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_STEM, _HEAD = 32, 1280


class InvertedResidual(nn.Module):
    """Expand (1x1), filter each channel (3x3 depthwise), project (1x1); identity where it fits."""

    def __init__(self, in_channels: int, out_channels: int, *, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = expansion * in_channels
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += _conv_bn_relu6(in_channels, hidden, kernel_size=1)
        layers += _conv_bn_relu6(hidden, hidden, stride=stride, conv_groups=hidden)
        layers += [nn.Conv2d(hidden, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)]
        self.layers = nn.Sequential(*layers)
        self.has_identity = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C_in, H, W] to [N, C_out, H / stride, W / stride]."""
        out = self.layers(x)
        return x + out if self.has_identity else out


class CifarMobileNetV2(nn.Module):
    """A stem, seven stages of inverted residuals, and a wide 1x1 convolution.

    Args:
        num_classes: Length of the output, >= 1.
        in_channels: Channels of the images, >= 1.
    """

    image_size: ClassVar[int] = 32

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv_bn_relu6(in_channels, _STEM))
        blocks: list[nn.Module] = []
        width = _STEM
        for expansion, out_channels, num_blocks, first_stride in _STAGES:
            for i in range(num_blocks):
                stride = first_stride if i == 0 else 1
                blocks.append(
                    InvertedResidual(width, out_channels, expansion=expansion, stride=stride)
                )
                width = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(*_conv_bn_relu6(width, _HEAD, kernel_size=1))
        self.linear = nn.Linear(_HEAD, num_classes)
        init_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, in_channels, H, W] to logits [N, num_classes]."""
        out = self.head(self.blocks(self.stem(x)))
        return self.linear(nn.functional.adaptive_avg_pool2d(out, 1).flatten(1))


def _conv_bn_relu6(
    in_channels: int,
    out_channels: int,
    *,
    kernel_size: int = 3,
    stride: int = 1,
    conv_groups: int = 1,
) -> list[nn.Module]:
    return [
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=kernel_size // 2,
            groups=conv_groups,
            bias=False,
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU6(inplace=True),
    ]


@MODELS.register("mobilenetv2_cifar")
def mobilenetv2_cifar(num_classes: int = 10, in_channels: int = 3) -> CifarMobileNetV2:
    """Build MobileNetV2 for CIFAR: 2.2 M parameters, 88 M MACs."""
    return CifarMobileNetV2(num_classes=num_classes, in_channels=in_channels)
