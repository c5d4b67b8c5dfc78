"""Random networks: small programs over tensors, drawn by Hypothesis.

Shapes: N = samples, C = channels, L = positions of a sequence, H W = height and width in pixels.
Every tensor of a program knows which of its dimensions holds the channels; operators are drawn
from those that fit it. Widths and sizes of images overlap on purpose: a number alone never says
what it counts.
"""

# A user's module may hold anything.
# ruff: noqa: ANN401

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tests.support.nets import example, fill

Draw = Callable[[st.SearchStrategy[Any]], Any]
WIDTHS = (4, 6, 8)
_SAMPLES = 2
_MOST_ELEMENTS = 3000


@dataclass(frozen=True, kw_only=True)
class Node:
    """A tensor of a program.

    Attributes:
        name: Its name in the program.
        shape: Its sizes.
        dim: The dimension of its channels.
    """

    name: str
    shape: tuple[int, ...]
    dim: int

    @property
    def width(self) -> int:
        return self.shape[self.dim]

    @property
    def rank(self) -> int:
        return len(self.shape)


@dataclass(frozen=True, kw_only=True)
class Step:
    """An operator of a program.

    Attributes:
        module: Takes the tensors of its sources.
        dim: Dimension of the channels of its results.
        mixes: Channels meet without a weight between them: zeros would count.
    """

    module: nn.Module
    dim: int
    mixes: bool = False


Build = Callable[..., Step]


@dataclass(frozen=True, kw_only=True)
class Operator:
    """How a step is drawn.

    Attributes:
        name: Of the function that builds it.
        build: From a draw function and the nodes it takes.
        fits: Whether it takes a node.
        arity: Number of nodes of equal shape it takes.
    """

    name: str
    build: Build
    fits: Callable[[Node], bool]
    arity: int


OPERATORS: list[Operator] = []


def operator(
    fits: Callable[[Node], bool] = lambda _: True, *, arity: int = 1
) -> Callable[[Build], Build]:
    def add(build: Build) -> Build:
        OPERATORS.append(Operator(name=build.__name__, build=build, fits=fits, arity=arity))
        return build

    return add


class Function(nn.Module):
    """A few lines of a user's forward; numbers are attributes, or written in ``function``."""

    def __init__(self, function: Callable[..., Any], *parts: nn.Module, **sizes: Any) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)
        for name, value in sizes.items():
            setattr(self, name, value)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


class Program(nn.Module):
    """Steps and where they read from; returns every tensor that no step has read."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList()
        self.sources: list[tuple[str, ...]] = []
        self.results: list[str] = []

    def forward(self, x: Tensor) -> list[Tensor]:
        values = {"input": x}
        for index, (step, sources) in enumerate(zip(self.steps, self.sources, strict=True)):
            out = step(*(values[name] for name in sources))
            for k, tensor in enumerate([out] if isinstance(out, Tensor) else out):
                values[f"{index}.{k}"] = tensor
        return [values[name] for name in self.results]


# Which tensors -------------------------------------------------------------------------------


def image(x: Node) -> bool:
    return x.rank == 4 and x.dim == 1 and x.shape[2] == x.shape[3]


def tokens(x: Node) -> bool:
    return x.rank == 3 and x.dim == 2


def signal(x: Node) -> bool:
    return x.rank == 3 and x.dim == 1


def volume(x: Node) -> bool:
    return x.rank == 5 and x.dim == 1


def vector(x: Node) -> bool:
    return x.rank == 2 and x.dim == 1


def divisible(by: int) -> Callable[[Node], bool]:
    return lambda x: x.width % by == 0 and x.width > by


def both(*tests: Callable[[Node], bool]) -> Callable[[Node], bool]:
    return lambda x: all(test(x) for test in tests)


def _width(draw: Draw) -> int:
    return int(draw(st.sampled_from(WIDTHS)))


def _others(x: Node) -> list[int]:
    """Dimensions that hold neither samples nor channels."""
    return [d for d in range(1, x.rank) if d != x.dim]


def _aligned(x: Node) -> tuple[int, ...]:
    """Shape that broadcasts one number a channel over ``x``."""
    return tuple(n if d == x.dim else 1 for d, n in enumerate(x.shape))


def channelwise(x: Node) -> bool:
    return x.dim == 1 and x.rank in (3, 4, 5)


_CONV: dict[int, Any] = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
_TRANSPOSED: dict[int, Any] = {3: nn.ConvTranspose1d, 4: nn.ConvTranspose2d, 5: nn.ConvTranspose3d}
_BATCH_NORM: dict[int, Any] = {
    2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d,
}  # fmt: skip
_INSTANCE_NORM: dict[int, Any] = {
    3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d,
}  # fmt: skip


# Convolutions --------------------------------------------------------------------------------


@operator(channelwise)
def conv(draw: Draw, x: Node) -> Step:
    dilation = draw(st.sampled_from([1, 2]))
    out, bias = _width(draw), draw(st.booleans())
    layer = _CONV[x.rank](x.width, out, 3, padding=dilation, dilation=dilation, bias=bias)
    return Step(module=layer, dim=1)


@operator(channelwise)
def pointwise_conv(draw: Draw, x: Node) -> Step:
    return Step(module=_CONV[x.rank](x.width, _width(draw), 1), dim=1)


@operator(both(channelwise, divisible(2)))
def grouped_conv(draw: Draw, x: Node) -> Step:
    return Step(module=_CONV[x.rank](x.width, _width(draw), 3, padding=1, groups=2), dim=1)


@operator(channelwise)
def depthwise_conv(draw: Draw, x: Node) -> Step:
    out = x.width * draw(st.sampled_from([1, 2]))
    return Step(module=_CONV[x.rank](x.width, out, 3, padding=1, groups=x.width), dim=1)


@operator(channelwise)
def transposed_conv(draw: Draw, x: Node) -> Step:
    options = [1, 2, x.width] if x.width % 2 == 0 else [1, x.width]
    groups = draw(st.sampled_from(options))
    out = _width(draw) if groups < 3 else x.width
    return Step(module=_TRANSPOSED[x.rank](x.width, out, 3, padding=1, groups=groups), dim=1)


@operator(image)
def standardized_conv(draw: Draw, x: Node) -> Step:
    def forward(m: Any, t: Tensor) -> Tensor:
        weight = m.parts[0].weight
        weight = weight - weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(t, weight / (weight.std((1, 2, 3), keepdim=True) + 0.1), padding=1)

    layer = nn.Conv2d(x.width, _width(draw), 3, bias=False)
    return Step(module=Function(forward, layer), dim=1, mixes=True)


@operator(channelwise)
def shared_conv(draw: Draw, x: Node) -> Step:
    layer = _CONV[x.rank](x.width, x.width, 3, padding=1)
    return Step(module=Function(lambda m, t: m.parts[0](m.parts[0](t).relu()), layer), dim=1)


@operator(image)
def squeeze_excite(draw: Draw, x: Node) -> Step:
    def forward(m: Any, t: Tensor) -> Tensor:
        return t * m.parts[1](m.parts[0](t.mean((2, 3), keepdim=True)).relu()).sigmoid()

    hidden = _width(draw)
    parts = nn.Conv2d(x.width, hidden, 1), nn.Conv2d(hidden, x.width, 1)
    return Step(module=Function(forward, *parts), dim=1)


@operator(image)
def efficient_channel_attention(draw: Draw, x: Node) -> Step:
    def forward(m: Any, t: Tensor) -> Tensor:
        gate = m.parts[0](t.mean((2, 3)).unsqueeze(1)).sigmoid()
        return t * gate.view(t.shape[0], -1, 1, 1)

    return Step(module=Function(forward, nn.Conv1d(1, 1, 3, padding=1)), dim=1, mixes=True)


# Norms ---------------------------------------------------------------------------------------


@operator(lambda x: x.dim == 1 and x.rank < 6)
def batch_norm(draw: Draw, x: Node) -> Step:
    return Step(module=_BATCH_NORM[x.rank](x.width), dim=1)


@operator(both(channelwise, divisible(2)))
def group_norm(draw: Draw, x: Node) -> Step:
    groups = draw(st.sampled_from([1, 2, x.width]))
    return Step(module=nn.GroupNorm(groups, x.width), dim=1, mixes=True)


@operator(lambda x: channelwise(x) and x.shape[2] > 1)
def instance_norm(draw: Draw, x: Node) -> Step:
    return Step(module=_INSTANCE_NORM[x.rank](x.width, affine=True), dim=1)


@operator(lambda x: x.dim == x.rank - 1 and x.width > 1)
def layer_norm(draw: Draw, x: Node) -> Step:
    kind: Any = draw(st.sampled_from([nn.LayerNorm, nn.RMSNorm]))
    return Step(module=kind(x.width), dim=x.dim, mixes=True)


@operator(image)
def channels_last_norm(draw: Draw, x: Node) -> Step:
    def forward(m: Any, t: Tensor) -> Tensor:
        return m.parts[0](t.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    return Step(module=Function(forward, nn.LayerNorm(x.width)), dim=1, mixes=True)


@operator(lambda x: x.rank > 2)
def normalize(draw: Draw, x: Node) -> Step:
    over = draw(st.integers(1, x.rank - 1))
    return Step(module=Function(lambda _, t: F.normalize(t, dim=over)), dim=x.dim, mixes=True)


# Elementwise ---------------------------------------------------------------------------------

_ACTIVATIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    F.relu, F.gelu, F.silu, torch.sigmoid, torch.tanh, F.hardswish, F.leaky_relu, F.softplus,
    F.elu, F.mish, torch.cos, lambda t: t.clamp(-1, 1), lambda t: t.masked_fill(t > 1, 0.5),
    lambda t: F.dropout(t, 0.5, False), lambda t: t.contiguous() * 2 + 1, lambda t: 1 - t,
    lambda t: F.relu(t.clone(), inplace=True), lambda t: t.clone().mul_(3), torch.Tensor.neg,
    lambda t: torch.where(t > 0, t, torch.zeros_like(t)), lambda t: t.new_ones(t.shape) + t,
    lambda t: t + torch.zeros(t.shape, dtype=t.dtype), lambda t: t.reshape(t.shape),
)  # fmt: skip


@operator()
def activation(draw: Draw, x: Node) -> Step:
    function = draw(st.sampled_from(_ACTIVATIONS))
    return Step(module=Function(lambda _, t: function(t)), dim=x.dim)


@operator(lambda x: x.dim == 1)
def prelu(draw: Draw, x: Node) -> Step:
    return Step(module=nn.PReLU(draw(st.sampled_from([1, x.width]))), dim=1)


class Scale(nn.Module):
    """Two bare parameters."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.empty(shape))
        self.shift = nn.Parameter(torch.empty(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain + self.shift


@operator()
def scale(draw: Draw, x: Node) -> Step:
    shape = draw(st.sampled_from([_aligned(x), (1, *x.shape[1:]), x.shape[1:]]))
    return Step(module=Scale(shape), dim=x.dim)


_BINARY: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    torch.add, torch.sub, torch.mul, torch.maximum, lambda a, b: a / (b.abs() + 1),
    lambda a, b: torch.where(a > b, a, b * 2), lambda a, b: torch.lerp(a, b, 0.3),
    lambda a, b: torch.addcmul(a, a, b), lambda a, b: a.clone().add_(b),
    lambda a, b: (torch.stack([a, b]) * 2).sum(0), lambda a, b: sum(torch.unbind(torch.stack([a, b], 1), 1), a),
)  # fmt: skip


@operator(arity=2)
def binary(draw: Draw, x: Node, _: Node) -> Step:
    function = draw(st.sampled_from(_BINARY))
    return Step(module=Function(lambda _, a, b: function(a, b)), dim=x.dim)


@operator(lambda x: x.rank < 5, arity=2)
def cat(draw: Draw, x: Node, _: Node) -> Step:
    over = draw(st.sampled_from([x.dim, *_others(x)]))
    return Step(module=Function(lambda _, a, b: torch.cat([a, b, a], over)), dim=x.dim)


@operator(lambda x: x.rank < 5, arity=2)
def interleave(draw: Draw, x: Node, _: Node) -> Step:
    where = x.dim + draw(st.integers(0, 1))
    module = Function(lambda _, a, b: torch.stack([a, b], where).flatten(x.dim, x.dim + 1))
    return Step(module=module, dim=x.dim)


# Cutting and joining -------------------------------------------------------------------------


@operator(divisible(2))
def split(draw: Draw, x: Node) -> Step:
    first = draw(st.integers(1, x.width - 1))
    sizes = [first, x.width - first]
    half = x.width // 2
    forms: list[nn.Module] = [
        Function(lambda m, t: t.split(m.sizes, x.dim), sizes=sizes),
        Function(lambda m, t: torch.split(t, [m.a, m.b], dim=x.dim), a=sizes[0], b=sizes[1]),
        Function(lambda _, t: t.split(sizes, x.dim)),
        Function(lambda m, t: t.split(m.half, x.dim), half=half),
        Function(lambda _, t: t.split(t.shape[x.dim] // 2, x.dim)),
        Function(lambda _, t: t.chunk(2, x.dim)),
        Function(lambda m, t: t.tensor_split(m.pieces, x.dim), pieces=2),
        Function(lambda _, t: t.unflatten(x.dim, (2, -1)).unbind(x.dim)),
        Function(lambda _, t: t.unflatten(x.dim, (-1, 2)).unbind(x.dim + 1)),
        Function(lambda m, t: (t.narrow(x.dim, 0, m.a), t.narrow(x.dim, m.a, m.b)),
                 a=sizes[0], b=sizes[1]),
    ]  # fmt: skip
    return Step(module=draw(st.sampled_from(forms)), dim=x.dim)


@operator(divisible(2))
def gate(draw: Draw, x: Node) -> Step:
    def forward(_: Any, t: Tensor) -> Tensor:
        a, b = t.chunk(2, x.dim)
        return a * b.sigmoid()

    forms = [Function(forward), nn.GLU(x.dim)]
    return Step(module=draw(st.sampled_from(forms)), dim=x.dim)


@operator(both(lambda x: x.dim == 1, divisible(2)))
def part(draw: Draw, x: Node) -> Step:
    count = draw(st.integers(1, x.width - 1))
    forms = [
        Function(lambda m, t: t[:, : m.count], count=count),
        Function(lambda m, t: t[:, m.count :], count=count),
        Function(lambda _, t: t[:, :count]),
        Function(lambda _, t: t[:, -count:]),
        Function(lambda _, t: t[:, t.shape[1] // 2 :]),
        Function(lambda _, t: t[:, ::2]),
        Function(lambda _, t: t[:, 1::2] + t[:, ::2]),
        Function(lambda m, t: torch.cat([t[:, : m.count].relu(), t[:, m.count :]], 1), count=count),
    ]
    return Step(module=draw(st.sampled_from(forms)), dim=1)


class Indexed(nn.Module):
    """Positions picked by a buffer of indices."""

    order: Tensor

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], order: list[Any]) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("order", torch.tensor(order))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.order)


@operator(lambda x: x.width > 1)
def index(draw: Draw, x: Node) -> Step:
    forms: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda t, order: t.index_select(x.dim, order % x.width),
        lambda t, order: t.index_select(x.dim, order.abs()),
        lambda t, order: t.movedim(x.dim, 0)[order].movedim(0, x.dim),
        lambda t, order: t.movedim(x.dim, 0)[order.int()].movedim(0, x.dim) + order.numel(),
        lambda t, order: t.movedim(x.dim, 0)[order].movedim(0, x.dim) * order[0],
    ]
    function = draw(st.sampled_from(forms))
    positions = st.integers(1 - x.width, x.width - 1)
    orders: list[st.SearchStrategy[list[Any]]] = [
        st.permutations(range(x.width)),
        st.lists(positions, min_size=1, max_size=2 * x.width),
    ]
    return Step(module=Indexed(function, draw(st.one_of(orders))), dim=x.dim, mixes=True)


@operator(lambda x: x.width > 1)
def select_masked(draw: Draw, x: Node) -> Step:
    def forward(t: Tensor, order: Tensor) -> Tensor:
        return t.movedim(x.dim, 0)[order].movedim(0, x.dim)

    masks = st.lists(st.booleans(), min_size=x.width, max_size=x.width).filter(any)
    return Step(module=Indexed(forward, draw(masks)), dim=x.dim, mixes=True)


@operator()
def rearrange(draw: Draw, x: Node) -> Step:
    last = x.width - 1
    forms: list[Callable[[Tensor], Tensor]] = [
        lambda t: t.flip(x.dim),
        lambda t: t.roll(1, x.dim),
        lambda t: t.roll(-1, x.dim),
        lambda t: t.select(x.dim, last).unsqueeze(x.dim) + t,
        lambda t: t.index_select(x.dim, torch.tensor([0, last])),
        lambda t: t.cumsum(x.dim),
        lambda t: t.repeat_interleave(2, x.dim),
        lambda t: torch.cat([t, -t], x.dim),
        lambda t: t.sort(x.dim).values,
    ]
    function = draw(st.sampled_from(forms))
    return Step(module=Function(lambda _, t: function(t)), dim=x.dim, mixes=True)


@operator(lambda x: x.rank < 5)
def repeat(draw: Draw, x: Node) -> Step:
    times = [2 if d == x.dim else 1 for d in range(x.rank)]
    forms = [
        Function(lambda m, t: t.repeat(m.times), times=times),
        Function(lambda _, t: t.repeat(*times)),
        Function(lambda _, t: t.mean(x.dim, keepdim=True).expand(t.shape)),
        Function(lambda _, t: t.mean(x.dim, keepdim=True).expand_as(t) + t),
        Function(lambda _, t: t.unsqueeze(x.dim).expand(
            *t.shape[: x.dim], 2, *t.shape[x.dim :]).flatten(x.dim, x.dim + 1)),
        Function(lambda _, t: t.unsqueeze(x.dim + 1).expand(
            *t.shape[: x.dim + 1], 2, *t.shape[x.dim + 1 :]).flatten(x.dim, x.dim + 1)),
    ]  # fmt: skip
    return Step(module=draw(st.sampled_from(forms)), dim=x.dim, mixes=True)


@operator(image)
def pad_channels(draw: Draw, x: Node) -> Step:
    before, after = draw(st.integers(0, 2)), draw(st.integers(-1, 2))
    forms = [
        Function(lambda _, t: F.pad(t, (0, 0, 0, 0, before, after))),
        Function(lambda m, t: F.pad(t, (0, 0, 0, 0, m.before, m.after)), before=before, after=after),
        Function(lambda m, t: F.pad(t, (0, 0, 0, 0, 0, m.out - t.shape[1])), out=x.width + 2),
        Function(lambda m, t: torch.cat(
            [t, t.new_zeros(t.shape[0], m.extra, t.shape[2], t.shape[3])], 1), extra=2),
    ]  # fmt: skip
    return Step(module=draw(st.sampled_from(forms)), dim=1)


@operator()
def write(draw: Draw, x: Node) -> Step:
    count = draw(st.integers(1, x.width))

    def forward(m: Any, t: Tensor) -> Tensor:
        out = torch.zeros_like(t)
        out.narrow(x.dim, 0, m.count).copy_(t.narrow(x.dim, 0, m.count))
        return out + t

    def assign(m: Any, t: Tensor) -> Tensor:
        out = t.clone()
        out[:, : m.count] = 2 * t[:, : m.count]
        return out

    function = assign if x.dim == 1 else forward
    return Step(module=Function(function, count=count), dim=x.dim, mixes=True)


# Reshaping -----------------------------------------------------------------------------------


@operator(both(image, divisible(2)))
def channel_shuffle(draw: Draw, x: Node) -> Step:
    def stated(m: Any, t: Tensor) -> Tensor:
        n, c, h, w = t.shape
        t = t.view(n, m.groups, c // m.groups, h, w)
        return t.transpose(1, 2).reshape(n, -1, h, w)

    def written(_: Any, t: Tensor) -> Tensor:
        n, c, h, w = t.size()
        return t.reshape(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)

    forms = [Function(stated, groups=2), Function(written), nn.ChannelShuffle(2)]
    return Step(module=draw(st.sampled_from(forms)), dim=1)


@operator(both(image, divisible(4)))
def pixel_shuffle(draw: Draw, x: Node) -> Step:
    return Step(module=nn.PixelShuffle(2), dim=1)


@operator(lambda x: image(x) and x.shape[2] % 2 == 0)
def pixel_unshuffle(draw: Draw, x: Node) -> Step:
    def by_hand(_: Any, t: Tensor) -> Tensor:
        n, c, h, w = t.shape
        t = t.view(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4)
        return t.reshape(n, 4 * c, h // 2, w // 2)

    forms = [nn.PixelUnshuffle(2), Function(by_hand)]
    return Step(module=draw(st.sampled_from(forms)), dim=1)


@operator(image)
def to_tokens(draw: Draw, x: Node) -> Step:
    forms: list[Callable[[Tensor], Tensor]] = [
        lambda t: t.flatten(2).transpose(1, 2),
        lambda t: t.permute(0, 2, 3, 1).reshape(t.shape[0], -1, t.shape[1]),
        lambda t: t.view(t.shape[0], t.shape[1], -1).mT,
    ]
    function = draw(st.sampled_from(forms))
    return Step(module=Function(lambda _, t: function(t)), dim=2)


@operator(lambda x: x.rank > 2 and x.dim == 1)
def to_vector(draw: Draw, x: Node) -> Step:
    forms: list[Callable[[Tensor], Tensor]] = [
        lambda t: t.flatten(2).mean(2),
        lambda t: t.amax(tuple(range(2, x.rank))),
        lambda t: t.flatten(1),
        lambda t: t.reshape(t.shape[0], -1),
        lambda t: t.view(len(t), -1),
        lambda t: t.var(tuple(range(2, x.rank)), correction=0),
        lambda t: torch.logsumexp(t.flatten(2), 2),
    ]
    function = draw(st.sampled_from(forms))
    return Step(module=Function(lambda _, t: function(t)), dim=1)


@operator(image)
def to_others(draw: Draw, x: Node) -> Step:
    forms: list[tuple[Callable[[Tensor], Tensor], int]] = [
        (lambda t: t.flatten(2), 1),
        (lambda t: t.mean(3), 1),
        (lambda t: t.unsqueeze(2), 1),
        (lambda t: F.unfold(t, min(2, t.shape[2])), 1),
        (lambda t: t.flatten(1, 2), 1),
        (lambda t: t.permute(2, 0, 1, 3).transpose(0, 1), 2),
        (lambda t: t.movedim(1, -1), 3),
        (lambda t: t.transpose(2, 3), 1),
    ]
    function, dim = draw(st.sampled_from(forms))
    return Step(module=Function(lambda _, t: function(t)), dim=dim)


@operator(both(vector, divisible(4)))
def to_image(draw: Draw, x: Node) -> Step:
    forms = [
        Function(lambda _, t: t.view(-1, t.shape[1] // 4, 2, 2)),
        Function(lambda _, t: t.unflatten(1, (-1, 2, 2))),
        Function(lambda m, t: t.view(t.shape[0], m.channels, 2, 2), channels=x.width // 4),
        Function(lambda _, t: t[:, :, None, None].expand(-1, -1, 3, 3)),
    ]
    return Step(module=draw(st.sampled_from(forms)), dim=1)


@operator(volume)
def from_volume(draw: Draw, x: Node) -> Step:
    return Step(module=Function(lambda _, t: t.sum(2)), dim=1)


@operator(signal)
def swap(draw: Draw, x: Node) -> Step:
    return Step(module=Function(lambda _, t: t.transpose(1, 2)), dim=2)


# Space ---------------------------------------------------------------------------------------


@operator(lambda x: image(x) and x.shape[2] >= 2)
def resize(draw: Draw, x: Node) -> Step:
    forms = [
        nn.MaxPool2d(2),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.AdaptiveAvgPool2d(2),
        nn.AdaptiveMaxPool2d(1),
        nn.AdaptiveAvgPool2d(1),
        nn.Upsample(scale_factor=2, mode="nearest"),
        Function(lambda _, t: F.interpolate(t, size=(3, 3), mode="bilinear")),
        Function(lambda _, t: F.pad(t, (1, 1, 1, 1), mode="reflect")),
        Function(lambda _, t: F.pad(t, (1, 0, 1, 0))),
        Function(lambda _, t: t[..., 1:, 1:]),
        Function(lambda _, t: t.roll((1, 1), (2, 3))),
    ]
    return Step(module=draw(st.sampled_from(forms)), dim=1)


@operator(lambda x: x.rank > 2)
def statistic(draw: Draw, x: Node) -> Step:
    d = x.dim
    forms: list[Callable[[Tensor], Tensor]] = [
        lambda t: t - t.mean(d, keepdim=True),
        lambda t: t / (t.var(d, keepdim=True, correction=0) + 1),
        lambda t: t.softmax(d),
        lambda t: t + t.sum(d, keepdim=True),
        lambda t: t * t.amax(d, keepdim=True),
        lambda t: torch.cat([t, t.mean(d, keepdim=True)], d),
        lambda t: t + t.norm(dim=d, keepdim=True),
    ]
    function = draw(st.sampled_from(forms))
    return Step(module=Function(lambda _, t: function(t)), dim=d, mixes=True)


@operator(lambda x: x.rank > 2)
def softmax_elsewhere(draw: Draw, x: Node) -> Step:
    over = draw(st.sampled_from(_others(x)))
    return Step(module=Function(lambda _, t: t.softmax(over)), dim=x.dim)


# Products ------------------------------------------------------------------------------------


@operator(lambda x: x.dim == x.rank - 1)
def linear(draw: Draw, x: Node) -> Step:
    return Step(module=nn.Linear(x.width, _width(draw), bias=draw(st.booleans())), dim=x.dim)


@operator(lambda x: x.dim == x.rank - 1)
def mlp(draw: Draw, x: Node) -> Step:
    hidden = _width(draw)
    up, down = nn.Linear(x.width, 2 * hidden), nn.Linear(hidden, x.width)

    def forward(m: Any, t: Tensor) -> Tensor:
        a, b = m.parts[0](t).chunk(2, -1)
        return t + m.parts[1](F.gelu(a) * b)

    return Step(module=Function(forward, up, down), dim=x.dim)


@operator(lambda x: image(x) or tokens(x))
def einsum(draw: Draw, x: Node) -> Step:
    equation = "nchw,oc->nohw" if image(x) else "nlc,oc->nlo"
    layer = nn.Linear(x.width, _width(draw), bias=False)
    module = Function(lambda m, t: torch.einsum(equation, t, m.parts[0].weight), layer)
    return Step(module=module, dim=x.dim)


@operator(tokens)
def mix_tokens(draw: Draw, x: Node) -> Step:
    layer = nn.Linear(x.shape[1], x.shape[1])
    return Step(module=Function(lambda m, t: m.parts[0](t.mT).mT, layer), dim=2)


@operator(tokens, arity=2)
def product(draw: Draw, x: Node, _: Node) -> Step:
    forms: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda a, b: (a @ b.transpose(1, 2)).softmax(-1) @ b,
        lambda a, b: torch.bmm(torch.bmm(a, b.mT), a),
        lambda a, b: torch.baddbmm(a, a.bmm(b.mT), b),
        lambda a, b: torch.einsum("nlc,nmc->nlm", a, b) @ b,
        lambda a, b: a @ (b.mT @ b).softmax(-1),
        lambda a, b: F.scaled_dot_product_attention(a, b, a),
    ]
    function = draw(st.sampled_from(forms))
    return Step(module=Function(lambda _, a, b: function(a, b)), dim=2, mixes=True)


def _packed(m: Any, t: Tensor) -> Tensor:
    n, length, _ = t.shape
    qkv = m.parts[0](t).reshape(n, length, 3, m.heads, -1).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)
    out = ((q @ k.mT) * 0.3).softmax(-1) @ v
    return m.parts[1](out.transpose(1, 2).reshape(n, length, -1))


def _of_the_stream(m: Any, t: Tensor) -> Tensor:
    n, length, c = t.shape
    qkv = m.parts[0](t).reshape(n, length, 3, m.heads, c // m.heads).permute(2, 0, 3, 1, 4)
    q, k, v = qkv[0], qkv[1], qkv[2]
    out = F.scaled_dot_product_attention(q, k, v)
    return m.parts[1](out.transpose(1, 2).reshape(n, length, c))


def _separate(m: Any, t: Tensor) -> Tensor:
    q, k, v = m.parts[0](t).chunk(3, dim=-1)
    q, k, v = (s.unflatten(-1, (m.heads, -1)).transpose(1, 2) for s in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, scale=0.4)
    return m.parts[1](out.transpose(1, 2).flatten(-2))


@operator(both(tokens, divisible(2)))
def attention(draw: Draw, x: Node) -> Step:
    form = draw(st.sampled_from([_packed, _of_the_stream, _separate]))
    parts = nn.Linear(x.width, 3 * x.width), nn.Linear(x.width, x.width)
    return Step(module=Function(form, *parts, heads=2), dim=2, mixes=True)


@operator(both(tokens, divisible(2)))
def multihead_attention(draw: Draw, x: Node) -> Step:
    layer = nn.MultiheadAttention(x.width, 2, batch_first=True)
    function = Function(lambda m, t: m.parts[0](t, t, t, need_weights=False)[0], layer)
    return Step(module=function, dim=2, mixes=True)


# Programs ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RandomNet:
    """A drawn program.

    Attributes:
        model: float64, eval, filled with distinct weights.
        inputs: What it takes, [2, 3, 4, 4] or [2, 6, 3].
        operators: Names of its operators.
        mixes: Whether channels meet somewhere without a weight between them.
    """

    model: Program
    inputs: Tensor
    operators: tuple[str, ...]
    mixes: bool

    def __repr__(self) -> str:
        return f"RandomNet({' '.join(self.operators)})"


class _Builder:
    def __init__(self, inputs: Tensor, dim: int) -> None:
        self.program = Program().double().eval()
        self.tensors = {"input": inputs}
        self.nodes = [Node(name="input", shape=tuple(inputs.shape), dim=dim)]
        self.used: set[str] = set()
        self.operators: list[str] = []
        self.mixes = False

    def add(self, name: str, step: Step, sources: list[Node]) -> None:
        """Append a step; its results, found by running it, become nodes."""
        fill(step.module, seed=len(self.program.steps))
        with torch.no_grad():
            out = step.module(*(self.tensors[s.name] for s in sources))
        index = len(self.program.steps)
        self.program.steps.append(step.module)
        self.program.sources.append(tuple(s.name for s in sources))
        self.used.update(s.name for s in sources)
        self.operators.append(name)
        self.mixes = self.mixes or step.mixes
        for k, tensor in enumerate([out] if isinstance(out, Tensor) else out):
            own = f"{index}.{k}"
            self.tensors[own] = tensor
            self.nodes.append(Node(name=own, shape=tuple(tensor.shape), dim=step.dim))

    def close(self) -> None:
        """Read every result that no step has read through a linear layer of its own."""
        for node in [n for n in self.nodes if n.name not in self.used]:
            layer = nn.Linear(node.width, 2)
            dim = node.dim
            module = Function(lambda m, t, dim=dim: m.parts[0](t.movedim(dim, -1)), layer)
            self.add("head", Step(module=module, dim=node.rank - 1), [node])
        self.program.results = [n.name for n in self.nodes if n.name not in self.used]


def _drawn_step(draw: Draw, builder: _Builder) -> None:
    nodes = [n for n in builder.nodes[1:] if torch.Size(n.shape).numel() <= _MOST_ELEMENTS]
    if not nodes:
        return
    # The latest tensors first: programs grow long rather than wide.
    node: Node = draw(st.sampled_from(nodes[::-1]))
    alike = [n for n in nodes if (n.shape, n.dim) == (node.shape, node.dim)]
    fitting = [o for o in OPERATORS if o.fits(node)]
    chosen: Operator = draw(st.sampled_from(fitting))
    sources = [node, *(draw(st.sampled_from(alike)) for _ in range(chosen.arity - 1))]
    try:
        builder.add(chosen.name, chosen.build(draw, *sources), sources)
    except RuntimeError as error:
        # A view of transposed memory: this network has one operator less.
        if "view size is not compatible" not in str(error):
            raise


@st.composite
def networks(draw: Draw, *, least: int = 2, most: int = 7) -> RandomNet:
    """Return a strategy of random networks of ``least`` to ``most`` operators between stem and heads."""
    is_image = draw(st.booleans())
    inputs = example(_SAMPLES, 3, 4, 4) if is_image else example(_SAMPLES, 6, 3)
    builder = _Builder(inputs, 1 if is_image else 2)
    for _ in range(draw(st.integers(1, 2))):
        width = _width(draw)
        stem = nn.Conv2d(3, width, 1) if is_image else nn.Linear(3, width)
        builder.add("stem", Step(module=stem, dim=builder.nodes[0].dim), builder.nodes[:1])
    for _ in range(draw(st.integers(least, most))):
        _drawn_step(draw, builder)
    builder.close()
    return RandomNet(
        model=builder.program,
        inputs=builder.tensors["input"],
        operators=tuple(builder.operators),
        mixes=builder.mixes,
    )
