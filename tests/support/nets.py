"""Small networks, one for every structure a removal of channels must respect.

Shapes: N = samples, C = channels, L = positions of a sequence, H W = height and width in pixels.
Every class takes its widths as arguments, so that a test can build the pruned network by hand.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

Net = Callable[[], nn.Module]
M = TypeVar("M", bound=nn.Module)


def fill(model: M, seed: int = 0) -> M:
    """Fill ``model`` in place with distinct signed weights and random statistics; float64, eval."""
    generator = torch.Generator().manual_seed(seed)
    model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            size = parameter.numel() / parameter.shape[0] if parameter.dim() > 1 else 1.0
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(noise / size**0.5 + 0.1 * noise.sign())
        for name, buffer in model.named_buffers():
            if not buffer.is_floating_point():
                continue
            noise = torch.randn(buffer.shape, generator=generator, dtype=torch.float64)
            buffer.copy_(noise.abs() + 0.5 if name.endswith("running_var") else noise)
    return model


def example(*shape: int, seed: int = 1) -> Tensor:
    """Return normal random numbers of the given shape, float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# Chains ----------------------------------------------------------------------------------------


class PlainNet(nn.Module):
    """Conv, norm, ReLU twice; global average; linear. [N, 3, 8, 8] -> [N, 4]."""

    def __init__(self, first: int = 6, second: int = 8) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, first, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.conv2 = nn.Conv2d(first, second, 3, stride=2)
        self.bn2 = nn.BatchNorm2d(second)
        self.linear = nn.Linear(second, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu(self.bn1(self.conv1(x)))
        x = nn.functional.relu(self.bn2(self.conv2(x)))
        return self.linear(x.mean((2, 3)))


class FlattenNet(nn.Module):
    """Conv, flatten with pixels, linear. [N, 3, 3, 3] -> [N, 4]."""

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 2)
        self.linear = nn.Linear(width * 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(nn.functional.gelu(self.conv(x)).flatten(1))


class DepthwiseNet(nn.Module):
    """Pointwise, depthwise, pointwise, as in MobileNet; [N, 3, 8, 8] -> [N, 4, 6, 6]."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.expand = nn.Conv2d(3, width, 1)
        self.depthwise = nn.Conv2d(width, width, 3, groups=width)
        self.bn = nn.BatchNorm2d(width)
        self.project = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(
            nn.functional.hardswish(self.bn(self.depthwise(nn.functional.silu(self.expand(x)))))
        )


class GroupedNet(nn.Module):
    """A convolution of two groups between dense ones; [N, 3, 6, 6] -> [N, 4, 4, 4]."""

    def __init__(self, first: int = 8, second: int = 12, conv_groups: int = 2) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, first, 1)
        self.grouped = nn.Conv2d(first, second, 3, groups=conv_groups)
        self.leave = nn.Conv2d(second, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(nn.functional.relu(self.grouped(nn.functional.relu(self.enter(x)))))


class TransposedNet(nn.Module):
    """Transposed convolutions in ``dims`` dimensions; [N, 2, 3, ...] -> [N, 3, 9, ...]."""

    def __init__(self, dims: int, width: int = 5) -> None:
        super().__init__()
        kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dims - 1]
        norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1]
        self.up1: nn.Module = kind(2, width, 3, stride=2)
        self.bn: nn.Module = norm(width)
        self.up2: nn.Module = kind(width, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.up2(nn.functional.leaky_relu(self.bn(self.up1(x))))


class Conv1d3dNet(nn.Module):
    """A 1d convolution over features of a 3d one; [N, 2, 3, 3, 3] -> [N, 4, 6]."""

    def __init__(self, width: int = 5, second: int = 6) -> None:
        super().__init__()
        self.volume = nn.Conv3d(2, width, 2)
        self.line = nn.Conv1d(width, second, 3)
        self.head = nn.Conv1d(second, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(
            nn.functional.elu(self.line(nn.functional.softplus(self.volume(x)).flatten(2)))
        )


# Branches --------------------------------------------------------------------------------------


class ResidualNet(nn.Module):
    """A stem and a residual block; [N, 3, 8, 8] -> [N, 4]."""

    def __init__(self, width: int = 6, inner: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.conv1 = nn.Conv2d(width, inner, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.linear = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        y = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(x + self.bn2(self.conv2(y)))
        return self.linear(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class DenseNet(nn.Module):
    """Two layers that see the concatenation of all before; [N, 3, 6, 6] -> [N, 4]."""

    def __init__(self, stem: int = 5, first: int = 3, second: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, stem, 1)
        self.layer1 = nn.Conv2d(stem, first, 3, padding=1)
        self.bn = nn.BatchNorm2d(stem + first)
        self.layer2 = nn.Conv2d(stem + first, second, 3, padding=1)
        self.linear = nn.Linear(stem + first + second, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.layer1(nn.functional.relu(x))], dim=1)
        x = torch.cat([self.layer2(nn.functional.relu(self.bn(x))), x], dim=1)
        return self.linear(x.amax((2, 3)))


class SqueezeExciteNet(nn.Module):
    """Channels scaled by a gate computed from their means; [N, 3, 6, 6] -> [N, 4, 6, 6]."""

    def __init__(self, width: int = 6, squeezed: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.reduce = nn.Conv2d(width, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, width, 1)
        self.head = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        gate = self.expand(nn.functional.relu(self.reduce(x.mean((2, 3), keepdim=True))))
        return self.head(x * torch.sigmoid(gate))


class PadNet(nn.Module):
    """A shortcut padded with zero channels, as in CIFAR's ResNet A; [N, 3, 6, 6] -> [N, 4]."""

    def __init__(self, width: int = 4, wide: int = 7) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 1)
        self.conv = nn.Conv2d(width, wide, 3, padding=1)
        self.linear = nn.Linear(wide, 4)
        self.before = 1
        self.after = wide - width - 1

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu(self.stem(x))
        shortcut = nn.functional.pad(x, (0, 0, 0, 0, self.before, self.after))
        return self.linear(nn.functional.relu(shortcut + self.conv(x)).mean((2, 3)))


class GatedNet(nn.Module):
    """A gated linear unit by ``chunk``; [N, L, 3] -> [N, L, 4]."""

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.linear1 = nn.Linear(3, 2 * width)
        self.linear2 = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.linear1(x).chunk(2, dim=-1)
        return self.linear2(value * torch.sigmoid(gate))


class GLUNet(nn.Module):
    """A gated linear unit by ``nn.functional.glu`` over channels; [N, 3, 5, 5] -> [N, 4, 3, 3]."""

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 2 * width, 3)
        self.conv2 = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(nn.functional.glu(self.conv1(x), dim=1))


class SplitNet(nn.Module):
    """Channels split by sizes that attributes state; [N, 3, 5, 5] -> [N, 4, 5, 5]."""

    def __init__(self, left: int = 4, right: int = 3) -> None:
        super().__init__()
        self.sizes = [left, right]
        self.conv = nn.Conv2d(3, left + right, 1)
        self.left = nn.Conv2d(left, 4, 3, padding=1)
        self.right = nn.Conv2d(right, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = nn.functional.relu(self.conv(x)).split(self.sizes, dim=1)
        return self.left(left) * torch.tanh(self.right(right))


# Norms and statistics --------------------------------------------------------------------------


class NormNet(nn.Module):
    """Conv, a norm over channels first, ReLU, conv; [N, 3, 5, 5] -> [N, 4, 3, 3]."""

    def __init__(self, norm: Callable[[int], nn.Module], width: int = 6) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3)
        self.norm = norm(width)
        self.conv2 = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(nn.functional.relu(self.norm(self.conv1(x))))


class TokenNormNet(nn.Module):
    """Linear, a norm over the last dimension, linear; [N, L, 3] -> [N, L, 4]."""

    def __init__(self, norm: Callable[[int], nn.Module], width: int = 6) -> None:
        super().__init__()
        self.linear1 = nn.Linear(3, width)
        self.norm = norm(width)
        self.linear2 = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(nn.functional.gelu(self.norm(self.linear1(x))))


class ChannelMeanNet(nn.Module):
    """The mean and maximum over channels scale pixels, as in CBAM; [N, 3, 5, 5] -> [N, 4, 5, 5]."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 1)
        self.spatial = nn.Conv2d(2, 1, 3, padding=1)
        self.head = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return self.head(x * torch.sigmoid(self.spatial(pooled)))


class StandardizedConv2d(nn.Conv2d):
    """A convolution whose weight has mean 0 and variance 1 in every output channel."""

    def forward(self, x: Tensor) -> Tensor:
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        std = self.weight.std((1, 2, 3), keepdim=True, correction=0)
        weight = (self.weight - mean) / (std + 1e-5)
        return self._conv_forward(x, weight, self.bias)


class StandardizedNet(nn.Module):
    """Two standardised convolutions; [N, 3, 6, 6] -> [N, 4, 2, 2]."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.conv1 = StandardizedConv2d(3, width, 3)
        self.conv2 = StandardizedConv2d(width, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(nn.functional.relu(self.conv1(x)))


class WeightNormNet(nn.Module):
    """Two convolutions under torch's weight norm; [N, 3, 6, 6] -> [N, 4, 2, 2]."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        weight_norm = nn.utils.parametrizations.weight_norm
        self.conv1 = weight_norm(nn.Conv2d(3, width, 3))
        self.conv2 = weight_norm(nn.Conv2d(width, 4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(nn.functional.relu(self.conv1(x)))


class PReLUNet(nn.Module):
    """A slope for every channel; [N, 3, 5, 5] -> [N, 4, 3, 3]."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3)
        self.act = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.act(self.conv1(x)))


# Shapes ----------------------------------------------------------------------------------------


class ShuffleNet(nn.Module):
    """Channels shuffled between two groups by reshape; [N, 3, 5, 5] -> [N, 4, 5, 5]."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 1)
        self.conv2 = nn.Conv2d(width, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu(self.conv1(x))
        samples, channels, height, width = x.shape
        x = x.view(samples, 2, channels // 2, height, width).transpose(1, 2)
        return self.conv2(x.reshape(samples, channels, height, width))


class PixelShuffleNet(nn.Module):
    """Four channels become one of twice the height and width; [N, 3, 4, 4] -> [N, 4, 8, 8]."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4 * width, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)
        self.conv2 = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(nn.functional.relu(self.shuffle(self.conv1(x))))


class AttentionNet(nn.Module):
    """Self attention with fused queries, keys, values; [N, L, 6] -> [N, L, 6]."""

    def __init__(self, heads: int = 3, head_dim: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = head_dim
        self.qkv = nn.Linear(6, 3 * heads * head_dim)
        self.proj = nn.Linear(heads * head_dim, 6)

    def forward(self, x: Tensor) -> Tensor:
        samples, length, _ = x.shape
        qkv = self.qkv(x).reshape(samples, length, 3, self.heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        # A constant scale: the scale of the unpruned network must survive.
        attention = (q @ k.transpose(-2, -1) * 0.5).softmax(-1)
        return self.proj((attention @ v).transpose(1, 2).flatten(2))


class SDPANet(AttentionNet):
    """The same with torch's fused attention and its default scale."""

    def forward(self, x: Tensor) -> Tensor:
        samples, length, _ = x.shape
        qkv = self.qkv(x).reshape(samples, length, 3, self.heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        out = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).flatten(2))


class MultiheadNet(nn.Module):
    """torch's own multi-head attention between two linear layers; [N, L, 3] -> [N, L, 4]."""

    def __init__(self, width: int = 8, hidden: int = 5, heads: int = 2) -> None:
        super().__init__()
        self.linear1 = nn.Linear(3, width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.linear2 = nn.Linear(width, hidden)
        self.linear3 = nn.Linear(hidden, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear1(x)
        x, _ = self.attention(x, x, x, need_weights=False)
        return self.linear3(nn.functional.relu(self.linear2(x)))


class LSTMNet(nn.Module):
    """A recurrent layer between two linear ones; [N, L, 3] -> [N, L, 4]."""

    def __init__(self, width: int = 5, hidden: int = 6) -> None:
        super().__init__()
        self.linear1 = nn.Linear(3, width)
        self.linear2 = nn.Linear(width, width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.linear3 = nn.Linear(hidden, 4)

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.lstm(self.linear2(nn.functional.relu(self.linear1(x))))
        return self.linear3(x)


# Parameters ------------------------------------------------------------------------------------


class EmbeddingNet(nn.Module):
    """Words to scores through an embedding; integers [N, L] below 7 -> [N, L, 4]."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, width)
        self.linear = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(nn.functional.relu(self.embed(x)))


class TiedNet(nn.Module):
    """The embedding is the classifier too; integers [N, L] below 7 -> [N, L, 7]."""

    def __init__(self, width: int = 6, hidden: int = 5) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.head = nn.Linear(width, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        return self.head(x + self.down(nn.functional.relu(self.up(x))))


class TwiceNet(nn.Module):
    """One layer used twice and one module under two names; [N, 3, 6, 6] -> [N, 4, 6, 6]."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 1)
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(width)
        self.norm2 = self.norm1
        self.head = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu(self.norm1(self.conv(nn.functional.relu(self.stem(x)))))
        return self.head(nn.functional.relu(self.norm2(self.conv(x))))


class FunctionalNet(nn.Module):
    """Bare parameters in functional calls; [N, 3, 6, 6] -> [N, 4]."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(width, 3, 3, 3))
        self.scale = nn.Parameter(torch.empty(1, width, 1, 1))
        self.matrix = nn.Parameter(torch.empty(width, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu(nn.functional.conv2d(x, self.kernel) * self.scale)
        return x.mean((2, 3)) @ self.matrix


class BufferNet(nn.Module):
    """Buffers with an entry for every channel; [N, 3, 5, 5] -> [N, 4, 5, 5]."""

    offset: Tensor
    gain: Tensor

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 1)
        self.conv2 = nn.Conv2d(width, 4, 1)
        self.register_buffer("offset", torch.empty(width, 1, 1))
        self.register_buffer("gain", torch.empty(1, width, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(nn.functional.relu(self.conv1(x) * self.gain + self.offset))


class IndexNet(nn.Module):
    """Channels reordered, chosen and masked by buffers; [N, 3, 5, 5] -> [N, 4, 5, 5].

    Args:
        order: Position of the source of every channel after the first convolution.
        chosen: Of them, counted after the reordering, those that the second one reads.
    """

    order: Tensor
    chosen: Tensor

    def __init__(
        self,
        width: int = 6,
        *,
        order: tuple[int, ...] = (4, 0, 2, 5, 1, 3),
        chosen: tuple[int, ...] = (5, -6, 1, 1),
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 1)
        self.conv2 = nn.Conv2d(len(order), 4, 1)
        self.conv3 = nn.Conv2d(len(chosen), 4, 1)
        self.register_buffer("order", torch.tensor(order))
        self.register_buffer("chosen", torch.tensor(chosen, dtype=torch.int32), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu(self.conv1(x)).index_select(1, self.order)
        return self.conv2(x) + self.conv3(x[:, self.chosen.to(x.device)])


class OwnConv2d(nn.Conv2d):
    """A user's convolution: scaled, and with one more attribute."""

    def __init__(self, in_channels: int, out_channels: int, factor: float) -> None:
        super().__init__(in_channels, out_channels, 3)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.factor


class SubclassNet(nn.Module):
    """The user's own subclasses of standard layers; [N, 3, 6, 6] -> [N, 4, 2, 2]."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.conv1 = OwnConv2d(3, width, 0.7)
        self.conv2 = OwnConv2d(width, 4, 1.3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(nn.functional.relu(self.conv1(x)))


# Inputs and outputs ----------------------------------------------------------------------------


@dataclass
class Pair:
    """Two tensors and a number, as a model may return them."""

    first: Tensor
    second: Tensor
    count: int


class Scores(NamedTuple):
    """A named tuple of outputs."""

    coarse: Tensor
    fine: Tensor


class NestedNet(nn.Module):
    """Dict, tuple, dataclass, named tuple, None and int as outputs; [N, 3, 5, 5]."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(3, width, 3)
        self.heads = nn.ModuleList(nn.Conv2d(width, 2, 1) for _ in range(4))

    def forward(self, x: Tensor) -> dict[str, Any]:
        x = nn.functional.relu(self.trunk(x))
        outs = [head(x) for head in self.heads]
        return {
            "pair": Pair(outs[0], outs[1], 3),
            "scores": Scores(outs[2], outs[3]),
            "rest": (None, 5, [outs[0] * 2]),
        }


class TwoInputNet(nn.Module):
    """Two inputs, one optional; a [N, 3, 5, 5], b [N, 2, 5, 5] -> [N, 4, 5, 5]."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, width, 1)
        self.b = nn.Conv2d(2, width, 1)
        self.head = nn.Conv2d(width, 4, 3, padding=1)

    def forward(self, a: Tensor, b: Tensor, scale: float = 1.0) -> Tensor:
        return self.head(nn.functional.relu(self.a(a) + scale * self.b(b)))


class DictInputNet(TwoInputNet):
    """The same, taking one dict as a positional argument."""

    def forward(self, batch: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        return super().forward(batch["a"], batch["b"])


@dataclass(frozen=True, kw_only=True)
class Case:
    """A filled network and inputs for it.

    Attributes:
        model: float64, in eval mode.
        inputs: As :func:`sentei.graph.trace` takes them.
    """

    model: nn.Module
    inputs: Any


def _image(channels: int, size: int) -> Tensor:
    return example(2, channels, size, size)


def _words() -> Tensor:
    return torch.tensor([[0, 3, 6, 2, 5], [1, 1, 4, 0, 6]])


_TABLE: dict[str, tuple[Net, Callable[[], Any]]] = {
    "plain": (PlainNet, lambda: _image(3, 8)),
    "flatten": (FlattenNet, lambda: _image(3, 3)),
    "depthwise": (DepthwiseNet, lambda: _image(3, 8)),
    "grouped": (GroupedNet, lambda: _image(3, 6)),
    "grouped 4": (lambda: GroupedNet(8, 12, 4), lambda: _image(3, 6)),
    "transposed 1d": (lambda: TransposedNet(1), lambda: example(2, 2, 3)),
    "transposed 2d": (lambda: TransposedNet(2), lambda: example(2, 2, 3, 3)),
    "transposed 3d": (lambda: TransposedNet(3), lambda: example(2, 2, 3, 3, 3)),
    "conv 1d 3d": (Conv1d3dNet, lambda: example(2, 2, 3, 3, 3)),
    "residual": (ResidualNet, lambda: _image(3, 8)),
    "dense": (DenseNet, lambda: _image(3, 6)),
    "squeeze-excite": (SqueezeExciteNet, lambda: _image(3, 6)),
    "pad": (PadNet, lambda: _image(3, 6)),
    "gated": (GatedNet, lambda: example(2, 5, 3)),
    "glu": (GLUNet, lambda: _image(3, 5)),
    "split": (SplitNet, lambda: _image(3, 5)),
    "group norm 1": (lambda: NormNet(lambda c: nn.GroupNorm(1, c)), lambda: _image(3, 5)),
    "group norm 2": (lambda: NormNet(lambda c: nn.GroupNorm(2, c)), lambda: _image(3, 5)),
    "group norm C": (lambda: NormNet(lambda c: nn.GroupNorm(c, c)), lambda: _image(3, 5)),
    "instance norm": (
        lambda: NormNet(lambda c: nn.InstanceNorm2d(c, affine=True)),
        lambda: _image(3, 5),
    ),
    "instance norm with statistics": (
        lambda: NormNet(lambda c: nn.InstanceNorm2d(c, affine=True, track_running_stats=True)),
        lambda: _image(3, 5),
    ),
    "layer norm": (lambda: TokenNormNet(nn.LayerNorm), lambda: example(2, 5, 3)),
    "rms norm": (lambda: TokenNormNet(nn.RMSNorm), lambda: example(2, 5, 3)),
    "channel mean": (ChannelMeanNet, lambda: _image(3, 5)),
    "standardized": (StandardizedNet, lambda: _image(3, 6)),
    "weight norm": (WeightNormNet, lambda: _image(3, 6)),
    "prelu": (PReLUNet, lambda: _image(3, 5)),
    "shuffle": (ShuffleNet, lambda: _image(3, 5)),
    "pixel shuffle": (PixelShuffleNet, lambda: _image(3, 4)),
    "attention": (AttentionNet, lambda: example(2, 5, 6)),
    "sdpa": (SDPANet, lambda: example(2, 5, 6)),
    "multihead": (MultiheadNet, lambda: example(2, 5, 3)),
    "lstm": (LSTMNet, lambda: example(2, 5, 3)),
    "embedding": (EmbeddingNet, _words),
    "tied": (TiedNet, _words),
    "twice": (TwiceNet, lambda: _image(3, 6)),
    "functional": (FunctionalNet, lambda: _image(3, 6)),
    "buffers": (BufferNet, lambda: _image(3, 5)),
    "index buffers": (IndexNet, lambda: _image(3, 5)),
    "subclass": (SubclassNet, lambda: _image(3, 6)),
    "nested outputs": (NestedNet, lambda: _image(3, 5)),
    "two inputs": (TwoInputNet, lambda: (_image(3, 5), example(2, 2, 5, 5, seed=2), 0.5)),
    "keyword inputs": (
        TwoInputNet,
        lambda: {"b": example(2, 2, 5, 5, seed=2), "a": _image(3, 5)},
    ),
    "dict input": (
        DictInputNet,
        lambda: ({"a": _image(3, 5), "b": example(2, 2, 5, 5, seed=2)},),
    ),
}

NAMES = tuple(_TABLE)
"""Names of all networks that :func:`case` makes."""


def case(name: str) -> Case:
    """Return a fresh network of the table above, filled, with inputs."""
    make, inputs = _TABLE[name]
    return Case(model=fill(make()), inputs=inputs())
