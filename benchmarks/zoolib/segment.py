"""Segmentation networks: U-Net, FPN and DeepLab v3+ decoders on encoders of timm.

Our own code from Ronneberger et al. (arXiv:1505.04597), Kirillov et al., "Panoptic Feature
Pyramid Networks" (arXiv:1901.02446), and Chen et al. (arXiv:1802.02611).

Shapes: N images, C channels, H x W pixels.
"""

from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

NUM_CLASSES = 21
ENCODERS = (
    "resnet18",
    "mobilenetv3_small_050",
    "efficientnet_lite0",
    "regnety_002",
    "densenet121",
    "convnext_atto",
    "mobilevit_xxs",
)


def _conv(inputs: int, outputs: int, kernel: int = 3, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


class UNet(nn.Module):
    """From the deepest map up: enlarge, concatenate the encoder's map, convolve twice."""

    def __init__(self, widths: Sequence[int], hidden: int = 256) -> None:
        super().__init__()
        skips = [*reversed(widths[:-1])]
        blocks, inputs = [], widths[-1]
        for index, skip in enumerate(skips):
            outputs = max(hidden >> index, 16)
            blocks.append(nn.Sequential(_conv(inputs + skip, outputs), _conv(outputs, outputs)))
            inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.up = nn.ConvTranspose2d(inputs, inputs, 2, stride=2)
        self.classify = nn.Conv2d(inputs, NUM_CLASSES, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits, [N classes h w]."""
        x = maps[-1]
        for block, skip in zip(self.blocks, reversed(maps[:-1]), strict=True):
            x = block(torch.cat([_resized(x, skip), skip], dim=1))
        return self.classify(self.up(x))


class FPN(nn.Module):
    """Top-down sums of lateral maps; every level is normalised, enlarged, and all are added."""

    def __init__(self, widths: Sequence[int], hidden: int = 128) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(w, 2 * hidden, 1) for w in widths)
        self.smooth = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(2 * hidden, hidden, 3, padding=1, bias=False),
                nn.GroupNorm(32, hidden),
                nn.ReLU(inplace=True),
            )
            for _ in widths
        )
        self.dropout = nn.Dropout2d(0.1)
        self.classify = nn.Conv2d(hidden, NUM_CLASSES, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits, [N classes h w]."""
        levels = [conv(x) for conv, x in zip(self.lateral, maps, strict=True)]
        for index in range(len(levels) - 1, 0, -1):
            finer = levels[index - 1]
            levels[index - 1] = finer + functional.interpolate(levels[index], size=finer.shape[-2:])
        smooth = [conv(x) for conv, x in zip(self.smooth, levels, strict=True)]
        total = smooth[0]
        for x in smooth[1:]:
            total = total + _resized(x, smooth[0])
        return self.classify(self.dropout(total))


class DeepLab(nn.Module):
    """Atrous spatial pyramid pooling on the deepest map, refined with a fine one."""

    def __init__(self, widths: Sequence[int], hidden: int = 128) -> None:
        super().__init__()
        deep, fine = widths[-1], widths[1]
        self.branches = nn.ModuleList(
            [_conv(deep, hidden, 1), *(_conv(deep, hidden, 3, rate) for rate in (2, 4, 6))]
        )
        self.pooled = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(deep, hidden, 1), nn.ReLU(inplace=True)
        )
        self.project = _conv(5 * hidden, hidden, 1)
        self.fine = _conv(fine, 48, 1)
        self.refine = nn.Sequential(
            nn.Conv2d(hidden + 48, hidden + 48, 3, padding=1, groups=hidden + 48, bias=False),
            _conv(hidden + 48, hidden, 1),
        )
        self.classify = nn.Conv2d(hidden, NUM_CLASSES, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits, [N classes h w]."""
        deep, fine = maps[-1], maps[1]
        parts = [branch(deep) for branch in self.branches]
        parts.append(self.pooled(deep).expand(-1, -1, *deep.shape[-2:]))
        x = _resized(self.project(torch.cat(parts, dim=1)), fine)
        return self.classify(self.refine(torch.cat([x, self.fine(fine)], dim=1)))


DECODERS = {"unet": UNet, "fpn": FPN, "deeplab": DeepLab}


class Segmenter(nn.Module):
    """Encoder, decoder, and logits at the size of the image."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N classes H W] for images [N 3 H W]."""
        return _resized(self.decoder(self.encoder(x)), x)


def build_segmenter(decoder: str, encoder: str) -> Segmenter:
    """Return a segmenter with random weights.

    Args:
        decoder: ``unet``, ``fpn`` or ``deeplab``.
        encoder: A timm network that gives features.

    Raises:
        ValueError: There is no such decoder.
    """
    if decoder not in DECODERS:
        raise ValueError(f"no decoder {decoder!r}; there are {', '.join(DECODERS)}")
    network: Any = timm.create_model(encoder, features_only=True, pretrained=False)
    return Segmenter(network, DECODERS[decoder](network.feature_info.channels()))
