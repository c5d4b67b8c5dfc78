"""VGG-16 with batch normalisation for 32x32 images.

Source: Simonyan & Zisserman, ICLR 2015, arXiv:1409.1556, configuration D.
Difference: batch normalisation after each convolution and one linear layer in place of three, as
the pruning literature uses it on CIFAR.
"""

from typing import ClassVar

from torch import Tensor, nn

from sentei.models.base import MODELS, init_convolutions

# The widths of each stage; a max pooling ends each.
_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class CifarVGG(nn.Module):
    """A plain chain of 3x3 convolutions.

    Args:
        num_classes: Length of the output, >= 1.
        in_channels: Channels of the images, >= 1.
    """

    image_size: ClassVar[int] = 32

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = in_channels
        for stage in _STAGES:
            for out_channels in stage:
                layers += [
                    nn.Conv2d(width, out_channels, 3, padding=1, bias=False),
                    nn.BatchNorm2d(out_channels),
                    nn.ReLU(inplace=True),
                ]
                width = out_channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, num_classes)
        init_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, in_channels, H, W] to logits [N, num_classes]; H, W >= 32."""
        out = nn.functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1)
        return self.classifier(out)


@MODELS.register("vgg16_bn")
def vgg16_bn(num_classes: int = 10, in_channels: int = 3) -> CifarVGG:
    """Build VGG-16 with batch normalisation: 14.7 M parameters, 313.2 M MACs."""
    return CifarVGG(num_classes=num_classes, in_channels=in_channels)
