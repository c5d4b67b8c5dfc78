"""Points: the tensors through which the rest of a model sees the channels of a group.

A *reader* is a convolution, a linear layer or a product with a weight that mixes the channels of
its input into others; the point is that input, after norm and activation. A channel that is zero
at all its points contributes nothing any more. A convolution whose groups go as a whole (a
depthwise one) hands channels on rather than mixing them: its input is no point.

Shapes: P = positions along the dimension of the channels; C = channels that lie there; K =
positions that one of them owns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sentei.graph.capture import OPAQUE, Call, Recording, Ref
from sentei.graph.groups import Graph
from sentei.index.atoms import IntArray

# Function -> argument that holds the input, argument that holds the weight, dimension of the
# channels in the input, counted from the last.
_READERS: dict[str, tuple[int, int, int]] = {
    **{f"conv{rank}d": (0, 1, -1 - rank) for rank in (1, 2, 3)},
    **{f"conv_transpose{rank}d": (0, 1, -1 - rank) for rank in (1, 2, 3)},
    **dict.fromkeys(("linear", "matmul", "__matmul__", "mm"), (0, 1, -1)),
    "addmm": (1, 2, -1),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Point:
    """A tensor that a call reads, and the channels that lie along one of its dimensions.

    Attributes:
        call: Number of the call that reads it.
        function: Name of the function that is called.
        module: Path of the module whose forward calls it.
        arguments: Numbers of the tensor among the call's tensors: several if it is given twice.
        value: The tensor, as the recording numbers it.
        shape: Its sizes in the recorded run.
        dim: The dimension of the channels, counted from the last: -1, -2, ...
        channels: Channel of every position along it, shape [P]; -1 = stays.
        weight: First name of the parameter it is multiplied with, "" if it is none.
        weight_argument: Number of that factor among the call's tensors, -1 if there is none.
    """

    call: int
    function: str
    module: str
    arguments: tuple[int, ...]
    value: int
    shape: tuple[int, ...] = field(repr=False)
    dim: int
    channels: IntArray = field(repr=False)
    weight: str = ""
    weight_argument: int = -1

    @cached_property
    def owned(self) -> IntArray:
        """The channels that lie here, ascending, shape [C]."""
        return np.unique(self.channels[self.channels >= 0])

    @cached_property
    def places(self) -> IntArray:
        """The positions of every channel that lies here, shape [C, K], -1 where it owns fewer."""
        positions = np.flatnonzero(self.channels >= 0)
        positions = positions[np.argsort(self.channels[positions], kind="stable")]
        row = np.searchsorted(self.owned, self.channels[positions])
        counts = np.bincount(row, minlength=len(self.owned))
        column = np.arange(len(positions)) - np.repeat(np.cumsum(counts) - counts, counts)
        found = np.full((len(counts), int(counts.max())), -1, dtype=np.int64)
        found[row, column] = positions
        return found

    def by_channel(self, tensor: Tensor) -> Tensor:
        """Return positions along dimension 1, [N, P, R], by the channel that owns them, [N, C, K R].

        Where channels own different numbers of positions, the shorter rows end in zeros.
        """
        places = self.places
        if places.shape == (tensor.shape[1], 1) and (places[:, 0] == np.arange(len(places))).all():
            return tensor
        if (places < 0).any():
            tensor = torch.cat([tensor, tensor.new_zeros(len(tensor), 1, tensor.shape[2])], dim=1)
        index = torch.from_numpy(places % tensor.shape[1]).to(tensor.device)
        return tensor[:, index].flatten(2)

    @property
    def sample_dim(self) -> int | None:
        """The dimension that counts samples, or None if there is one sample without a dimension."""
        if len(self.shape) == -self.dim:
            return None
        # What torch's attention is given has the sequence first, whatever the module was given.
        return int(self.function == "multi_head_attention_forward" and len(self.shape) == 3)

    def pixels(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the sizes of the dimensions that are neither samples nor channels.

        Args:
            shape: Of the tensor, in any run.
        """
        own = {self.sample_dim, len(shape) + self.dim}
        return tuple(n for dim, n in enumerate(shape) if dim not in own)

    @property
    def has_pixels(self) -> bool:
        """Whether a channel has more than one position in dimensions of its own."""
        return prod(self.pixels(self.shape)) > 1


def points(graph: Graph) -> tuple[Point, ...]:
    """Return all points of a graph, in the order in which the model reads them."""
    return tuple(_Finder(graph).points())


def activations(graph: Graph) -> tuple[Point, ...]:
    """Return the distinct tensors that readers see, each as it was before its pixels were pooled.

    Where a point has one number a channel (an average over pixels) or its pixels and channels in
    one dimension (flattened maps), this is the nearest tensor before it that has pixels in
    dimensions of their own, if there is one on a straight way; else the point itself.
    """
    finder = _Finder(graph)
    found = {p.value: p for p in map(finder.before_pooling, finder.points())}
    return tuple(sorted(found.values(), key=lambda p: p.call))


class _Finder:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.recording: Recording = graph.recording
        self.is_computed = computed_values(self.recording)
        self.makers = {
            value: index
            for index, call in reversed(list(enumerate(self.recording.calls)))
            for value in call.results
            if value not in call.tensors  # in-place calls return what they were given
        }

    def points(self) -> Iterator[Point]:
        for index, call in enumerate(self.recording.calls):
            if call.function in OPAQUE:
                for value in dict.fromkeys(call.tensors):
                    yield from self._point(index, value, -1)
            elif call.function in _READERS:
                yield from self._weighted(index, call)

    def _weighted(self, index: int, call: Call) -> Iterator[Point]:
        argument, weight, dim = _READERS[call.function]
        own = call.tensors[weight] if weight < len(call.tensors) else -1
        if own < 0 or self.is_computed[own] or self._hands_on(call, dim):
            return
        for point in self._point(index, call.tensors[argument], dim):
            yield replace(point, weight=_origin(self.recording, own), weight_argument=weight)

    def before_pooling(self, point: Point) -> Point:
        """Return the nearest point on the straight way back that has pixels, or ``point``."""
        current = point
        while not current.has_pixels:
            before = list(self._before(current))
            if len(before) != 1:
                return point
            current = before[0]
        return current

    def _before(self, point: Point) -> Iterator[Point]:
        """Yield what the call was given that made a tensor, if it has the same channels."""
        index = self.makers.get(point.value, -1)
        given = {v for v in self.recording.calls[index].tensors if self.is_computed[v]}
        if index < 0 or len(given) != 1:
            return
        (value,) = given
        dims = self.graph.values.get(value, ())
        own = [k - len(dims) for k, channels in enumerate(dims) if channels is not None]
        for dim in own if len(own) == 1 else ():
            found = list(self._point(index, value, dim))
            if np.array_equal(found[0].owned, point.owned):
                yield from found

    def _point(self, index: int, value: int, dim: int) -> Iterator[Point]:
        dims = self.graph.values.get(value, ())
        channels = dims[dim] if len(dims) >= -dim else None
        call = self.recording.calls[index]
        if self.is_computed[value] and channels is not None:
            yield Point(
                call=index,
                function=call.function,
                module=call.module,
                arguments=tuple(k for k, v in enumerate(call.tensors) if v == value),
                value=value,
                shape=self.recording.values[value].shape,
                dim=dim,
                channels=channels,
            )

    def _hands_on(self, call: Call, dim: int) -> bool:
        """Return whether a convolution has one channel a group, on either side."""
        shape, weight = (self.recording.values[v].shape for v in call.tensors[:2])
        if not call.function.startswith("conv"):
            return False
        num_in, num_out = shape[dim], self.recording.values[call.results[0]].shape[dim]
        whole = num_out if "transpose" in call.function else num_in
        conv_groups = whole // weight[1]
        return conv_groups > 1 and conv_groups in (num_in, num_out)


def computed_values(recording: Recording) -> NDArray[np.bool_]:
    """Return for every value whether it depends on the inputs of the model."""
    found = np.array([v.kind == "input" for v in recording.values], dtype=np.bool_)
    for op in recording.ops:
        if any(found[ref.value] for argument in op.args.values() for ref in _refs(argument)):
            found[list(op.outputs)] = True
    return found


def _refs(argument: object) -> Iterator[Ref]:
    if isinstance(argument, Ref):
        yield argument
    elif isinstance(argument, list):
        for item in argument:
            yield from _refs(item)


def _origin(recording: Recording, value: int) -> str:
    """Return the name of the parameter of two or more dimensions that a value is made from."""
    ahead, seen = [value], set()
    while ahead:
        current = ahead.pop(0)
        own = recording.values[current]
        if own.kind == "param" and len(own.shape) > 1:
            return own.name
        if own.producer >= 0 and current not in seen:
            seen.add(current)
            arguments = recording.ops[own.producer].args.values()
            ahead += [ref.value for argument in arguments for ref in _refs(argument)]
    return ""
