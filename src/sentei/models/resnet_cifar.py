"""ResNet-20/32/44/56/110 for 32x32 images, with parameter-free shortcuts.

Source: He et al., CVPR 2016, arXiv:1512.03385 (the CIFAR networks of 6n + 2 layers, option A).
"""

from typing import ClassVar

from torch import Tensor, nn

from sentei.models.base import MODELS, init_convolutions


class PadShortcut(nn.Module):
    """Take every second pixel and pad channels with zeros (option A).

    The amounts are plain attributes, so that a pruner can change them.

    Args:
        pad_before: Number of zero channels put before the input's, >= 0.
        pad_after: Number of zero channels put after the input's, >= 0.
    """

    def __init__(self, pad_before: int, pad_after: int) -> None:
        super().__init__()
        self.pad_before = pad_before
        self.pad_after = pad_after

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, pad_before + C + pad_after, ceil(H / 2), ceil(W / 2)]."""
        return nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad_before, self.pad_after))

    def extra_repr(self) -> str:
        """Return the two amounts for ``print(model)``."""
        return f"pad_before={self.pad_before}, pad_after={self.pad_after}"


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        grown = out_channels - in_channels
        self.shortcut: nn.Module = nn.Identity()
        if stride == 2:
            self.shortcut = PadShortcut(grown // 2, grown - grown // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C_in, H, W] to [N, C_out, H / stride, W / stride]."""
        out = nn.functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return nn.functional.relu(out + self.shortcut(x))


class CifarResNet(nn.Module):
    """Three stages of basic blocks, 16, 32 and 64 channels wide.

    Args:
        num_blocks: Blocks of a stage, >= 1; the network has 6 * num_blocks + 2 layers.
        num_classes: Length of the output, >= 1.
        in_channels: Channels of the images, >= 1.
    """

    image_size: ClassVar[int] = 32

    def __init__(self, num_blocks: int, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, num_blocks=num_blocks, stride=1)
        self.layer2 = _stage(16, 32, num_blocks=num_blocks, stride=2)
        self.layer3 = _stage(32, 64, num_blocks=num_blocks, stride=2)
        self.linear = nn.Linear(64, num_classes)
        init_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, in_channels, H, W] to logits [N, num_classes]."""
        out = nn.functional.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        out = nn.functional.adaptive_avg_pool2d(out, 1).flatten(1)
        return self.linear(out)


def _stage(in_channels: int, out_channels: int, *, num_blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, out_channels, stride=stride)
    rest = [BasicBlock(out_channels, out_channels, stride=1) for _ in range(num_blocks - 1)]
    return nn.Sequential(first, *rest)


@MODELS.register("resnet20")
def resnet20(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """Build ResNet-20: 0.27 M parameters, 40.6 M MACs."""
    return CifarResNet(3, num_classes=num_classes, in_channels=in_channels)


@MODELS.register("resnet32")
def resnet32(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """Build ResNet-32: 0.46 M parameters, 68.9 M MACs."""
    return CifarResNet(5, num_classes=num_classes, in_channels=in_channels)


@MODELS.register("resnet44")
def resnet44(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """Build ResNet-44: 0.66 M parameters, 97.2 M MACs."""
    return CifarResNet(7, num_classes=num_classes, in_channels=in_channels)


@MODELS.register("resnet56")
def resnet56(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """Build ResNet-56: 0.85 M parameters, 125.5 M MACs."""
    return CifarResNet(9, num_classes=num_classes, in_channels=in_channels)


@MODELS.register("resnet110")
def resnet110(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """Build ResNet-110: 1.73 M parameters, 252.9 M MACs."""
    return CifarResNet(18, num_classes=num_classes, in_channels=in_channels)
