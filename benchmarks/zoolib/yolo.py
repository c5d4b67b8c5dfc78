"""YOLO detectors built from their configuration.

The networks are described as in the files that users of YOLO know: one line a layer,
``(from, repeats, module, arguments)``. The builder, the blocks and the heads are our own, written
from the published architectures: Redmon and Farhadi, "YOLOv3" (arXiv:1804.02767); Jocher et al.,
YOLOv5 (2020), YOLOv8 (2023) and YOLO11 (2024); Wang et al., "YOLOv10" (arXiv:2405.14458). Their
numbers of parameters are those published.

Shapes: N images, C channels, H x W pixels, A anchor points.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Line = tuple[int | Sequence[int], int, str, Sequence[Any]]
NUM_CLASSES = 80
REG_MAX = 16


class Conv(nn.Module):
    """Convolution, batch norm, activation (SiLU unless said otherwise)."""

    def __init__(  # noqa: PLR0913 - the arguments of a line of configuration
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        padding: int | None = None,
        conv_groups: int = 1,
        act: nn.Module | None = None,
    ) -> None:
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride, padding, groups=conv_groups, bias=False
        )
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU() if act is None else act

    def forward(self, x: Tensor) -> Tensor:
        """Return activations, [N C H W]."""
        return self.act(self.bn(self.conv(x)))


def depthwise(inputs: int, outputs: int, kernel: int, stride: int = 1) -> Conv:
    """Return a Conv with as many convolution groups as divide both widths."""
    return Conv(inputs, outputs, kernel, stride, conv_groups=math.gcd(inputs, outputs))


class Bottleneck(nn.Module):
    """Two convolutions with an optional shortcut."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        shortcut: bool = True,
        kernels: tuple[int, int] = (3, 3),
        expansion: float = 0.5,
    ) -> None:
        super().__init__()
        hidden = int(outputs * expansion)
        self.cv1 = Conv(inputs, hidden, kernels[0])
        self.cv2 = Conv(hidden, outputs, kernels[1])
        self.add = shortcut and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return activations, [N C H W]."""
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class C3(nn.Module):
    """Cross-stage block of YOLOv5: a chain of bottlenecks beside a plain branch, concatenated."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        repeats: int = 1,
        shortcut: bool = True,
        *,
        kernels: tuple[int, int] = (1, 3),
    ) -> None:
        super().__init__()
        hidden = outputs // 2
        self.cv1 = Conv(inputs, hidden)
        self.cv2 = Conv(inputs, hidden)
        self.cv3 = Conv(2 * hidden, outputs)
        self.m = nn.Sequential(
            *(
                Bottleneck(hidden, hidden, shortcut=shortcut, kernels=kernels, expansion=1.0)
                for _ in range(repeats)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return activations, [N C H W]."""
        return self.cv3(torch.cat([self.m(self.cv1(x)), self.cv2(x)], dim=1))


class C2f(nn.Module):
    """Block of YOLOv8: split in two, a chain whose every link is kept, all concatenated."""

    def __init__(
        self, inputs: int, outputs: int, repeats: int, make: Callable[[int], nn.Module], e: float
    ) -> None:
        super().__init__()
        hidden = int(outputs * e)
        self.cv1 = Conv(inputs, 2 * hidden)
        self.cv2 = Conv((2 + repeats) * hidden, outputs)
        self.m = nn.ModuleList(make(hidden) for _ in range(repeats))

    def forward(self, x: Tensor) -> Tensor:
        """Return activations, [N C H W]."""
        parts = list(self.cv1(x).chunk(2, dim=1))
        for block in self.m:
            parts.append(block(parts[-1]))
        return self.cv2(torch.cat(parts, dim=1))


class SPPF(nn.Module):
    """Fast spatial pyramid pooling: three max pools in a row, all concatenated."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 5) -> None:
        super().__init__()
        hidden = inputs // 2
        self.cv1 = Conv(inputs, hidden)
        self.cv2 = Conv(4 * hidden, outputs)
        self.pool = nn.MaxPool2d(kernel, 1, kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return activations, [N C H W]."""
        parts = [self.cv1(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.cv2(torch.cat(parts, dim=1))


class SCDown(nn.Module):
    """Downsampling of YOLOv10: pointwise first, then depthwise with stride."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.cv1 = Conv(inputs, outputs)
        self.cv2 = Conv(outputs, outputs, kernel, stride, conv_groups=outputs, act=nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """Return activations, [N C H W]."""
        return self.cv2(self.cv1(x))


class RepDepthwise(nn.Module):
    """Depthwise 7x7 and 3x3 in parallel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = Conv(width, width, 7, conv_groups=width, act=nn.Identity())
        self.conv1 = Conv(width, width, 3, conv_groups=width, act=nn.Identity())
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return activations, [N C H W]."""
        return self.act(self.conv(x) + self.conv1(x))


class CIB(nn.Module):
    """Compact inverted block of YOLOv10: depthwise and pointwise convolutions in turn."""

    def __init__(self, width: int, *, shortcut: bool, large_kernel: bool) -> None:
        super().__init__()
        double = 2 * width
        middle = RepDepthwise(double) if large_kernel else depthwise(double, double, 3)
        self.cv1 = nn.Sequential(
            depthwise(width, width, 3),
            Conv(width, double),
            middle,
            Conv(double, width),
            depthwise(width, width, 3),
        )
        self.add = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return activations, [N C H W]."""
        return x + self.cv1(x) if self.add else self.cv1(x)


class Attention(nn.Module):
    """Self-attention over pixels with a depthwise positional encoding."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.head_dim = width // heads
        self.key_dim = self.head_dim // 2
        self.scale = self.key_dim**-0.5
        identity = nn.Identity()
        self.qkv = Conv(width, width + 2 * self.key_dim * heads, act=identity)
        self.proj = Conv(width, width, act=identity)
        self.pe = Conv(width, width, 3, conv_groups=width, act=identity)

    def forward(self, x: Tensor) -> Tensor:
        """Return activations, [N C H W]."""
        n, _, h, w = x.shape
        sizes = [self.key_dim, self.key_dim, self.head_dim]
        qkv = self.qkv(x).view(n, self.num_heads, sum(sizes), h * w)
        query, key, value = qkv.split(sizes, dim=2)
        weights = (query.transpose(-2, -1) @ key * self.scale).softmax(dim=-1)
        mixed = (value @ weights.transpose(-2, -1)).reshape(n, -1, h, w)
        return self.proj(mixed + self.pe(value.reshape(n, -1, h, w)))


class AttentionBlock(nn.Module):
    """Attention and a feed-forward part, each with a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = Attention(width, max(1, width // 64))
        self.ffn = nn.Sequential(Conv(width, 2 * width), Conv(2 * width, width, act=nn.Identity()))

    def forward(self, x: Tensor) -> Tensor:
        """Return activations, [N C H W]."""
        x = x + self.attn(x)
        return x + self.ffn(x)


class PSA(nn.Module):
    """Partial self-attention of YOLOv10 and YOLO11: attention on half of the channels."""

    def __init__(self, inputs: int, outputs: int, repeats: int = 1) -> None:
        super().__init__()
        self.hidden = inputs // 2
        self.cv1 = Conv(inputs, 2 * self.hidden)
        self.cv2 = Conv(2 * self.hidden, outputs)
        self.m = nn.Sequential(*(AttentionBlock(self.hidden) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        """Return activations, [N C H W]."""
        left, right = self.cv1(x).split((self.hidden, self.hidden), dim=1)
        return self.cv2(torch.cat([left, self.m(right)], dim=1))


class Concat(nn.Module):
    """Concatenate feature maps along channels."""

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return [N, sum of C, H W]."""
        return torch.cat(list(maps), dim=1)


# Heads -----------------------------------------------------------------------------------------


class DFL(nn.Module):
    """Expectation of the discrete distribution that each box side is predicted as.

    Source: Li et al., "Generalized Focal Loss", NeurIPS 2020, arXiv:2006.04388.
    """

    def __init__(self, bins: int = REG_MAX) -> None:
        super().__init__()
        self.bins = bins
        self.conv = nn.Conv2d(bins, 1, 1, bias=False).requires_grad_(False)
        self.conv.weight.data[:] = torch.arange(bins, dtype=torch.float32).view(1, bins, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the four distances, [N 4 A], from logits [N, 4 bins, A]."""
        n, _, anchors = x.shape
        weights = x.view(n, 4, self.bins, anchors).transpose(2, 1).softmax(dim=1)
        return self.conv(weights).view(n, 4, anchors)


def _anchor_points(maps: Sequence[Tensor], strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return centres [1 2 A] and strides [1 1 A] of all cells of all maps."""
    points, scales = [], []
    for features, stride in zip(maps, strides, strict=True):
        h, w = features.shape[-2:]
        y = torch.arange(h, dtype=features.dtype, device=features.device) + 0.5
        x = torch.arange(w, dtype=features.dtype, device=features.device) + 0.5
        grid = torch.stack([x.expand(h, w), y[:, None].expand(h, w)]).flatten(1)
        points.append(grid)
        scales.append(torch.full((1, h * w), stride, dtype=features.dtype, device=features.device))
    return torch.cat(points, dim=1)[None], torch.cat(scales, dim=1)[None]


class Detect(nn.Module):
    """Anchor-free head with distributed box sides (YOLOv8 and later).

    Args:
        widths: Channels of the feature maps.
        strides: Their strides.
        light: Depthwise classification branch (YOLOv10, YOLO11).
        both: A second pair of branches that needs no suppression (YOLOv10).
    """

    def __init__(
        self,
        widths: Sequence[int],
        strides: Sequence[int],
        *,
        light: bool = False,
        both: bool = False,
        classes: int = NUM_CLASSES,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.strides = tuple(strides)
        box = max(16, widths[0] // 4, 4 * REG_MAX)
        cls = max(widths[0], min(classes, 100))
        names = ["", "one2one_"] if both else [""]
        self.names = names
        for name in names:
            boxes = nn.ModuleList(
                nn.Sequential(Conv(c, box, 3), Conv(box, box, 3), nn.Conv2d(box, 4 * REG_MAX, 1))
                for c in widths
            )
            self.add_module(f"{name}cv2", boxes)
            scores = nn.ModuleList(self._scores(c, cls, classes, light) for c in widths)
            self.add_module(f"{name}cv3", scores)
        self.dfl = DFL()

    @staticmethod
    def _scores(inputs: int, hidden: int, classes: int, light: bool) -> nn.Sequential:
        if not light:
            return nn.Sequential(
                Conv(inputs, hidden, 3), Conv(hidden, hidden, 3), nn.Conv2d(hidden, classes, 1)
            )
        return nn.Sequential(
            nn.Sequential(depthwise(inputs, inputs, 3), Conv(inputs, hidden)),
            nn.Sequential(depthwise(hidden, hidden, 3), Conv(hidden, hidden)),
            nn.Conv2d(hidden, classes, 1),
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return for every pair of branches boxes (x, y, w, h) and scores, [N, 4 + classes, A]."""
        return [self._decode(maps, name) for name in self.names]

    def _decode(self, maps: Sequence[Tensor], name: str) -> Tensor:
        boxes: Any = self.get_submodule(f"{name}cv2")
        scores: Any = self.get_submodule(f"{name}cv3")
        joined = torch.cat(
            [
                torch.cat([box(x), score(x)], dim=1).flatten(2)
                for x, box, score in zip(maps, boxes, scores, strict=True)
            ],
            dim=2,
        )
        sides, logits = joined.split((4 * REG_MAX, self.classes), dim=1)
        left_top, right_bottom = self.dfl(sides).chunk(2, dim=1)
        points, strides = _anchor_points(maps, self.strides)
        low, high = points - left_top, points + right_bottom
        box_N4A = torch.cat([(low + high) / 2, high - low], dim=1) * strides
        return torch.cat([box_N4A, logits.sigmoid()], dim=1)


class AnchorDetect(nn.Module):
    """Head with three anchors a cell (YOLOv3, YOLOv5).

    Args:
        widths: Channels of the feature maps.
        strides: Their strides.
        anchors: For every map, width and height of every anchor in pixels.
    """

    anchors: Tensor

    def __init__(
        self,
        widths: Sequence[int],
        strides: Sequence[int],
        anchors: Sequence[Sequence[tuple[int, int]]],
        classes: int = NUM_CLASSES,
    ) -> None:
        super().__init__()
        self.outputs = classes + 5
        self.num_anchors = len(anchors[0])
        self.strides = tuple(strides)
        self.register_buffer("anchors", torch.tensor(anchors, dtype=torch.float32))
        self.m = nn.ModuleList(nn.Conv2d(c, self.outputs * self.num_anchors, 1) for c in widths)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return boxes, objectness and scores, [N, A, 5 + classes]."""
        found = []
        for index, (features, conv) in enumerate(zip(maps, self.m, strict=True)):
            x = conv(features)
            n, _, h, w = x.shape
            x = x.view(n, self.num_anchors, self.outputs, h, w).permute(0, 1, 3, 4, 2).sigmoid()
            centre, size, rest = x.split((2, 2, self.outputs - 4), dim=4)
            rows = torch.arange(h, dtype=x.dtype, device=x.device)[:, None].expand(h, w)
            columns = torch.arange(w, dtype=x.dtype, device=x.device).expand(h, w)
            grid = torch.stack([columns, rows], dim=-1) - 0.5
            centre = (2 * centre + grid) * self.strides[index]
            size = (2 * size) ** 2 * self.anchors[index].view(1, -1, 1, 1, 2)
            found.append(torch.cat([centre, size, rest], dim=4).view(n, -1, self.outputs))
        return torch.cat(found, dim=1)


# Configurations --------------------------------------------------------------------------------

_ANCHORS5 = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
_ANCHORS3_TINY = (((10, 14), (23, 27), (37, 58)), ((81, 82), (135, 169), (344, 319)))

CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "v3-tiny": {
        "depth": 1.0,
        "width": 1.0,
        "act": lambda: nn.LeakyReLU(0.1),
        "layers": (
            (-1, 1, "Conv", (16, 3, 1)),
            (-1, 1, "MaxPool", (2, 2)),
            (-1, 1, "Conv", (32, 3, 1)),
            (-1, 1, "MaxPool", (2, 2)),
            (-1, 1, "Conv", (64, 3, 1)),
            (-1, 1, "MaxPool", (2, 2)),
            (-1, 1, "Conv", (128, 3, 1)),
            (-1, 1, "MaxPool", (2, 2)),
            (-1, 1, "Conv", (256, 3, 1)),
            (-1, 1, "MaxPool", (2, 2)),
            (-1, 1, "Conv", (512, 3, 1)),
            (-1, 1, "ZeroPad", (0, 1, 0, 1)),
            (-1, 1, "MaxPool", (2, 1)),
            (-1, 1, "Conv", (1024, 3, 1)),
            (-1, 1, "Conv", (256, 1, 1)),
            (-1, 1, "Conv", (512, 3, 1)),
            (-2, 1, "Conv", (128, 1, 1)),
            (-1, 1, "Upsample", ()),
            ((-1, 8), 1, "Concat", ()),
            (-1, 1, "Conv", (256, 3, 1)),
            ((19, 15), 1, "AnchorDetect", ((16, 32), _ANCHORS3_TINY)),
        ),
    },
    "v5n": {
        "depth": 1 / 3,
        "width": 0.25,
        "layers": (
            (-1, 1, "Conv", (64, 6, 2, 2)),
            (-1, 1, "Conv", (128, 3, 2)),
            (-1, 3, "C3", (128,)),
            (-1, 1, "Conv", (256, 3, 2)),
            (-1, 6, "C3", (256,)),
            (-1, 1, "Conv", (512, 3, 2)),
            (-1, 9, "C3", (512,)),
            (-1, 1, "Conv", (1024, 3, 2)),
            (-1, 3, "C3", (1024,)),
            (-1, 1, "SPPF", (1024, 5)),
            (-1, 1, "Conv", (512, 1, 1)),
            (-1, 1, "Upsample", ()),
            ((-1, 6), 1, "Concat", ()),
            (-1, 3, "C3", (512, False)),
            (-1, 1, "Conv", (256, 1, 1)),
            (-1, 1, "Upsample", ()),
            ((-1, 4), 1, "Concat", ()),
            (-1, 3, "C3", (256, False)),
            (-1, 1, "Conv", (256, 3, 2)),
            ((-1, 14), 1, "Concat", ()),
            (-1, 3, "C3", (512, False)),
            (-1, 1, "Conv", (512, 3, 2)),
            ((-1, 10), 1, "Concat", ()),
            (-1, 3, "C3", (1024, False)),
            ((17, 20, 23), 1, "AnchorDetect", ((8, 16, 32), _ANCHORS5)),
        ),
    },
    "v8n": {
        "depth": 1 / 3,
        "width": 0.25,
        "layers": (
            (-1, 1, "Conv", (64, 3, 2)),
            (-1, 1, "Conv", (128, 3, 2)),
            (-1, 3, "C2f", (128, True)),
            (-1, 1, "Conv", (256, 3, 2)),
            (-1, 6, "C2f", (256, True)),
            (-1, 1, "Conv", (512, 3, 2)),
            (-1, 6, "C2f", (512, True)),
            (-1, 1, "Conv", (1024, 3, 2)),
            (-1, 3, "C2f", (1024, True)),
            (-1, 1, "SPPF", (1024, 5)),
            (-1, 1, "Upsample", ()),
            ((-1, 6), 1, "Concat", ()),
            (-1, 3, "C2f", (512,)),
            (-1, 1, "Upsample", ()),
            ((-1, 4), 1, "Concat", ()),
            (-1, 3, "C2f", (256,)),
            (-1, 1, "Conv", (256, 3, 2)),
            ((-1, 12), 1, "Concat", ()),
            (-1, 3, "C2f", (512,)),
            (-1, 1, "Conv", (512, 3, 2)),
            ((-1, 9), 1, "Concat", ()),
            (-1, 3, "C2f", (1024,)),
            ((15, 18, 21), 1, "Detect", ((8, 16, 32),)),
        ),
    },
    "v10n": {
        "depth": 1 / 3,
        "width": 0.25,
        "layers": (
            (-1, 1, "Conv", (64, 3, 2)),
            (-1, 1, "Conv", (128, 3, 2)),
            (-1, 3, "C2f", (128, True)),
            (-1, 1, "Conv", (256, 3, 2)),
            (-1, 6, "C2f", (256, True)),
            (-1, 1, "SCDown", (512, 3, 2)),
            (-1, 6, "C2f", (512, True)),
            (-1, 1, "SCDown", (1024, 3, 2)),
            (-1, 3, "C2f", (1024, True)),
            (-1, 1, "SPPF", (1024, 5)),
            (-1, 1, "PSA", (1024,)),
            (-1, 1, "Upsample", ()),
            ((-1, 6), 1, "Concat", ()),
            (-1, 3, "C2f", (512,)),
            (-1, 1, "Upsample", ()),
            ((-1, 4), 1, "Concat", ()),
            (-1, 3, "C2f", (256,)),
            (-1, 1, "Conv", (256, 3, 2)),
            ((-1, 13), 1, "Concat", ()),
            (-1, 3, "C2f", (512,)),
            (-1, 1, "SCDown", (512, 3, 2)),
            ((-1, 10), 1, "Concat", ()),
            (-1, 3, "C2fCIB", (1024, True, True)),
            ((16, 19, 22), 1, "DetectTwice", ((8, 16, 32),)),
        ),
    },
    "11n": {
        "depth": 0.5,
        "width": 0.25,
        "layers": (
            (-1, 1, "Conv", (64, 3, 2)),
            (-1, 1, "Conv", (128, 3, 2)),
            (-1, 2, "C3k2", (256, False, 0.25)),
            (-1, 1, "Conv", (256, 3, 2)),
            (-1, 2, "C3k2", (512, False, 0.25)),
            (-1, 1, "Conv", (512, 3, 2)),
            (-1, 2, "C3k2", (512, True)),
            (-1, 1, "Conv", (1024, 3, 2)),
            (-1, 2, "C3k2", (1024, True)),
            (-1, 1, "SPPF", (1024, 5)),
            (-1, 2, "PSA", (1024,)),
            (-1, 1, "Upsample", ()),
            ((-1, 6), 1, "Concat", ()),
            (-1, 2, "C3k2", (512, False)),
            (-1, 1, "Upsample", ()),
            ((-1, 4), 1, "Concat", ()),
            (-1, 2, "C3k2", (256, False)),
            (-1, 1, "Conv", (256, 3, 2)),
            ((-1, 13), 1, "Concat", ()),
            (-1, 2, "C3k2", (512, False)),
            (-1, 1, "Conv", (512, 3, 2)),
            ((-1, 10), 1, "Concat", ()),
            (-1, 2, "C3k2", (1024, True)),
            ((16, 19, 22), 1, "DetectLight", ((8, 16, 32),)),
        ),
    },
}


# Builder ---------------------------------------------------------------------------------------


class Yolo(nn.Module):
    """A network of lines: each takes the line before it, or those it names.

    Args:
        layers: The modules.
        sources: For every module the lines it reads; negative counts back.
    """

    def __init__(self, layers: Sequence[nn.Module], sources: Sequence[int | Sequence[int]]) -> None:
        super().__init__()
        self.model = nn.ModuleList(layers)
        self.sources = [s if isinstance(s, int) else tuple(s) for s in sources]

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Return what the last line (the head) returns for images [N 3 H W]."""
        seen: list[Any] = []
        out: Any = x
        for layer, source in zip(self.model, self.sources, strict=True):
            if isinstance(source, tuple):
                out = layer([seen[i] for i in source])
            else:
                out = layer(out if source == -1 else seen[source])
            seen.append(out)
        return out


def build_yolo(config: Mapping[str, Any]) -> Yolo:
    """Return the network that a configuration describes.

    Args:
        config: ``depth`` and ``width`` multiples, ``layers`` (lines of ``(from, repeats, module,
            arguments)``), and optionally ``act``, which makes the activation of plain Convs.

    Raises:
        ValueError: A line names a module that does not exist.
    """
    modules: list[nn.Module] = []
    widths: list[int] = []
    for source, repeats, name, arguments in config["layers"]:
        if name not in _MAKERS:
            raise ValueError(f"no YOLO module {name!r}; there are {', '.join(sorted(_MAKERS))}")
        count = max(round(repeats * config["depth"]), 1) if repeats > 1 else repeats
        if isinstance(source, int):
            inputs = [widths[source] if widths else 3]
        else:
            inputs = [widths[i] for i in source]
        module, width = _MAKERS[name](config, inputs, count, *arguments)
        modules.append(module)
        widths.append(width)
    return Yolo(modules, [line[0] for line in config["layers"]])


def _scaled(config: Mapping[str, Any], width: int) -> int:
    """Return a width times the multiple, rounded up to a multiple of 8."""
    return math.ceil(min(width, 1024) * config["width"] / 8) * 8


def _block(make: Callable[..., nn.Module]) -> Callable[..., tuple[nn.Module, int]]:
    """Return a maker for a block ``make(inputs, outputs, repeats, ...)``."""

    def maker(
        config: Mapping[str, Any], inputs: Sequence[int], repeats: int, width: int, *rest: float
    ) -> tuple[nn.Module, int]:
        outputs = _scaled(config, width)
        return make(inputs[0], outputs, repeats, *rest), outputs

    return maker


def _plain(make: Callable[..., nn.Module]) -> Callable[..., tuple[nn.Module, int]]:
    """Return a maker for a block that is never repeated: ``make(inputs, outputs, ...)``."""
    return _block(lambda inputs, outputs, _, *rest: make(inputs, outputs, *rest))


def _conv(
    config: Mapping[str, Any], inputs: Sequence[int], _: int, width: int, *rest: int
) -> tuple[nn.Module, int]:
    kernel, stride, padding = (*rest, None)[:3]
    outputs = _scaled(config, width)
    act = config["act"]() if "act" in config else None
    return Conv(inputs[0], outputs, kernel or 1, stride or 1, padding=padding, act=act), outputs


def _c2f(inputs: int, outputs: int, repeats: int, shortcut: bool = False) -> C2f:
    def make(c: int) -> nn.Module:
        return Bottleneck(c, c, shortcut=shortcut, expansion=1.0)

    return C2f(inputs, outputs, repeats, make, 0.5)


def _c3k2(inputs: int, outputs: int, repeats: int, deep: bool, e: float = 0.5) -> C2f:
    def make(c: int) -> nn.Module:
        return C3(c, c, 2, kernels=(3, 3)) if deep else Bottleneck(c, c)

    return C2f(inputs, outputs, repeats, make, e)


def _c2f_cib(inputs: int, outputs: int, repeats: int, shortcut: bool, large_kernel: bool) -> C2f:
    def make(c: int) -> nn.Module:
        return CIB(c, shortcut=shortcut, large_kernel=large_kernel)

    return C2f(inputs, outputs, repeats, make, 0.5)


def _same(make: Callable[..., nn.Module]) -> Callable[..., tuple[nn.Module, int]]:
    """Return a maker for a module that leaves the number of channels as it is."""
    return lambda _config, inputs, _repeats, *rest: (make(*rest), inputs[0])


def _head(make: Callable[..., nn.Module], **options: bool) -> Callable[..., tuple[nn.Module, int]]:
    """Return a maker for a head: ``make(widths, ...)``."""
    return lambda _config, inputs, _repeats, *rest: (make(inputs, *rest, **options), 0)


class Upsample(nn.Module):
    """Double height and width by repeating pixels."""

    def forward(self, x: Tensor) -> Tensor:
        """Return [N C 2H 2W]."""
        return functional.interpolate(x, scale_factor=2.0, mode="nearest")


_MAKERS: Mapping[str, Callable[..., tuple[nn.Module, int]]] = {
    "Conv": _conv,
    "C3": _block(C3),
    "C2f": _block(_c2f),
    "C3k2": _block(_c3k2),
    "C2fCIB": _block(_c2f_cib),
    "SPPF": _plain(SPPF),
    "SCDown": _plain(SCDown),
    "PSA": _block(PSA),
    "MaxPool": _same(nn.MaxPool2d),
    "ZeroPad": _same(lambda *sides: nn.ZeroPad2d(sides)),
    "Upsample": _same(Upsample),
    "Concat": lambda _config, inputs, _repeats: (Concat(), sum(inputs)),
    "Detect": _head(Detect),
    "DetectLight": _head(Detect, light=True),
    "DetectTwice": _head(Detect, light=True, both=True),
    "AnchorDetect": _head(AnchorDetect),
}
