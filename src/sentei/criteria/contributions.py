r"""What every channel adds to what its readers compute, and how these contributions overlap.

A convolution or linear layer adds up one contribution a channel, :math:`y = \sum_c x_c` (bias
aside). Removing a set T of channels changes its outputs by :math:`\sum_{c \in T} x_c`, of squared
length :math:`1_T^T G 1_T`: the Gram matrix G of the contributions answers for all sets at once.

Shapes: N = samples; C = channels at one point; P = positions of the channels there; L = positions
of the outputs; J = those that are looked at; K = elements of a kernel; I = inputs of a group of a
convolution; O = outputs at a position; R = outputs that are looked at; D = channels of one group.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from math import prod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sentei.criteria.base import Criterion, Evidence, FloatArray, Needs, require
from sentei.criteria.watch import Reading, watch
from sentei.errors import PruningError
from sentei.graph import Graph
from sentei.graph.points import Point, points
from sentei.index.atoms import IntArray
from sentei.seeding import make_generator

_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
_PRODUCTS = ("linear", "matmul", "__matmul__", "mm", "addmm")

Draw = Callable[[int, int], Tensor]
"""Number of samples and of positions -> positions that are looked at, shape [N, J]."""

# Contributions made at once.
_BLOCK = 2**24


@dataclass(frozen=True, kw_only=True)
class OnContributions(Criterion):
    """Scores each group by the Gram matrix of what its channels contribute to their readers.

    At every position drawn all outputs count; the Gram matrices of all layers that read a group
    are added, each divided by the squared length of what its layer computes.

    Args:
        positions: Positions of every layer's output that are drawn an image, >= 1.
        seed: Of the draws.

    Raises:
        ValueError: ``positions`` is below 1.
    """

    needs: ClassVar[Needs] = Needs.ACTIVATIONS
    positions: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        check_positions(self.positions)

    @abstractmethod
    def judge(self, gram_DD: FloatArray) -> FloatArray:
        """Return the scores of a group, shape [D], from the Gram matrix of its channels."""

    def observe(
        self, graph: Graph, model: nn.Module
    ) -> AbstractContextManager[Mapping[str, Tensor]]:
        """Add up Gram matrices of contributions."""
        return observe_contributions(
            graph,
            model,
            positions=self.positions,
            seed=self.seed,
            start=lambda count: torch.zeros(count, count, dtype=torch.float64),
            add=_add_gram,
        )

    def score(self, evidence: Evidence) -> FloatArray:
        """Return what :meth:`judge` returns for every group.

        Raises:
            PruningError: No convolution or linear layer reads a group.
        """
        require_readers(evidence.graph)
        grams = _group_grams(evidence)
        return np.concatenate([*map(self.judge, grams), np.empty(0)])


def _add_gram(total_CC: Tensor, numbers_D: Tensor, rows_DR: Tensor) -> None:
    total_CC[numbers_D[:, None], numbers_D] += (rows_DR @ rows_DR.T).double().cpu()


def _group_grams(evidence: Evidence) -> Iterator[FloatArray]:
    """Yield for every group its Gram matrix [D, D], added over readers.

    Each reader's is divided by the squared length of what it computes from all its channels, so
    that :math:`1_T^T G 1_T` adds up relative errors.
    """
    found = readers(evidence.graph)
    grams = {k: evidence.sums[str(k)].numpy() for k in found}
    for group in evidence.graph.groups:
        total = np.zeros((group.width, group.width))
        for k, point in found.items():
            first, last = np.searchsorted(point.owned, (group.first, group.first + group.width))
            own = point.owned[first:last] - group.first
            size = grams[k].sum()
            total[np.ix_(own, own)] += grams[k][first:last, first:last] / (size if size > 0 else 1)
        yield total


@contextmanager
def observe_contributions(
    graph: Graph,
    model: nn.Module,
    *,
    positions: int,
    seed: int,
    start: Callable[[int], Tensor],
    add: Callable[[Tensor, Tensor, Tensor], None],
) -> Iterator[Mapping[str, Tensor]]:
    """Gather contributions while the model runs, reader by reader.

    Args:
        graph: The graph.
        model: The model that will run.
        positions: Positions of the output that are drawn for every sample; all if there are no
            more. At each, all outputs count.
        seed: Of the draws; the split into batches does not matter.
        start: From the number of channels C of a reader to what is gathered, at first.
        add: Changes that in place, given numbers of some channels, [D], and rows [D, R] of
            contributions to outputs to which no other channel contributes.

    Yields:
        By the number of the point, what was gathered.
    """
    found = readers(graph)
    sums = {str(k): start(len(p.owned)) for k, p in found.items()}
    numbers = {p: str(k) for k, p in found.items()}
    generators = {k: make_generator(seed, "contributions", k) for k in sums}

    def read(reading: Reading) -> None:
        number = numbers[reading.point]
        draw = partial(draw_positions, positions=positions, generator=generators[number])
        for channels, rows in contributions(reading, draw):
            add(sums[number], torch.from_numpy(channels), rows)

    with watch(graph, model, found.values(), read=read):
        yield sums


def readers(graph: Graph) -> dict[int, Point]:
    """Return the points that convolutions and products read, by their numbers."""
    linear = (*_CONVOLUTIONS, *_PRODUCTS)
    return {k: p for k, p in enumerate(points(graph)) if p.function in linear}


def require_readers(graph: Graph) -> None:
    """Refuse groups that no convolution or product reads.

    Raises:
        PruningError: There is such a group.
    """
    found = np.zeros(graph.num_channels, dtype=np.bool_)
    for point in readers(graph).values():
        found[point.owned] = True
    missing = "no convolution or linear layer reads it; score with 'l1', or protect it"
    require(graph, found, missing)


def check_positions(positions: int) -> None:
    """Refuse to draw no positions.

    Raises:
        ValueError: ``positions`` is below 1.
    """
    if positions < 1:
        raise ValueError(f"positions={positions}; expected how many an image to look at, >= 1")


def draw_positions(
    num_samples: int, length: int, *, positions: int, generator: torch.Generator
) -> Tensor:
    """Return ``positions`` numbers below ``length`` for every sample, shape [N, J]; all if fewer."""
    if length <= positions:
        return torch.arange(length).expand(num_samples, length)
    return torch.randint(length, (num_samples, positions), generator=generator)


def contributions(reading: Reading, draw: Draw) -> Iterator[tuple[IntArray, Tensor]]:
    """Yield contributions: numbers of channels at the point, and their rows [channels, R].

    Channels that meet in no output (of other groups of a convolution) have rows of their own.
    """
    for share in shares(reading, draw):
        num_outputs = share.kernels.shape[1]
        block = max(1, _BLOCK // (len(share.numbers) * num_outputs))
        for block_CRK in share.patches.split(block, dim=1):
            yield share.numbers, (block_CRK @ share.kernels.mT).flatten(1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Share:
    """What a group of a convolution, or a whole product, makes of its channels.

    Here R = outputs' positions that are looked at, and K goes over all that one output position
    reads of a channel.

    Attributes:
        numbers: Of the channels among those of the point, [C].
        outputs: Which outputs they contribute to.
        patches: What is read, [C, R, K].
        kernels: The weights it is multiplied with, [C, O, K].
    """

    numbers: IntArray = field(repr=False)
    outputs: slice
    patches: Tensor = field(repr=False)
    kernels: Tensor = field(repr=False)


def shares(reading: Reading, draw: Draw) -> Iterator[Share]:
    """Yield what every group of a convolution makes of its channels; a product is one group."""
    patches_NPJK, weight_OIK = patches(reading, draw)
    point = reading.point
    conv_groups = patches_NPJK.shape[1] // weight_OIK.shape[1]
    num_outputs = len(weight_OIK) // conv_groups
    for number, (channels, own_patches, weight) in enumerate(
        zip(
            np.split(point.channels, conv_groups),
            patches_NPJK.chunk(conv_groups, dim=1),
            weight_OIK.chunk(conv_groups, dim=0),
            strict=True,
        )
    ):
        part = replace(point, channels=channels)
        if len(part.owned):
            yield Share(
                numbers=np.searchsorted(point.owned, part.owned),
                outputs=slice(number * num_outputs, (number + 1) * num_outputs),
                patches=_by_channel(part, own_patches),
                kernels=part.by_channel(weight).transpose(0, 1),
            )


def patches(reading: Reading, draw: Draw) -> tuple[Tensor, Tensor]:
    """Return what outputs at drawn positions are made from, [N, P, J, K], and the weight [O, I, K]."""
    is_convolution = reading.point.function in _CONVOLUTIONS
    return (_convolved if is_convolution else _multiplied)(reading, draw)


def products(patches_NPJK: Tensor, weight_OIK: Tensor) -> Tensor:
    """Return what a convolution or product makes of patches, without a bias, [N, O, J]."""
    conv_groups = patches_NPJK.shape[1] // weight_OIK.shape[1]
    patches_NVIJK = patches_NPJK.unflatten(1, (conv_groups, -1))
    weight_VOIK = weight_OIK.unflatten(0, (conv_groups, -1))
    return torch.einsum("nvijk,voik->nvoj", patches_NVIJK, weight_VOIK).flatten(1, 2)


def flat(point: Point, tensor: Tensor) -> Tensor:
    """Return a tensor that a call reads or makes as [samples, positions of channels, L]."""
    batch = tensor[None] if point.sample_dim is None else tensor
    return batch.movedim(point.dim, 1)[..., None].flatten(2)


def _by_channel(point: Point, patches_NPJK: Tensor) -> Tensor:
    """Return patches by the channel that owns them, [C, N J, positions of a channel K]."""
    num_positions, size = patches_NPJK.shape[2:]
    by_channel = point.by_channel(patches_NPJK.flatten(2))
    by_channel = by_channel.unflatten(2, (-1, num_positions, size))
    return by_channel.permute(1, 0, 3, 2, 4).flatten(3).flatten(1, 2)


def _multiplied(reading: Reading, draw: Draw) -> tuple[Tensor, Tensor]:
    """Return what a product reads at drawn positions [N, P, J, 1], and its weight [O, P, 1]."""
    point, weight = reading.point, reading.weight
    if weight.dim() != 2:
        raise PruningError(
            f"{point.module or 'the model'}: {point.function} multiplies with a tensor of shape "
            f"{tuple(weight.shape)}; expected a matrix; score with 'mean-activation', which does not "
            "look at weights"
        )
    weight_OP = weight if point.function == "linear" else weight.T
    flat_NPL = flat(point, reading.input)
    return _gathered(flat_NPL, draw(len(flat_NPL), flat_NPL.shape[2])[:, :, None]), weight_OP[
        ..., None
    ]


def _convolved(reading: Reading, draw: Draw) -> tuple[Tensor, Tensor]:
    """Return the patches at drawn positions [N, P, J, K], and the weight [O, I, K]."""
    point, weight = reading.point, reading.weight
    rank = weight.dim() - 2
    given = _geometry(reading, rank)
    kernel, stride, dilation = weight.shape[2:], given["stride"], given["dilation"]
    batch = reading.input[None] if point.sample_dim is None else reading.input
    padded = nn.functional.pad(batch, given["padding"])
    sizes = padded.shape[2:]
    outputs = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(sizes, kernel, stride, dilation, strict=True)
    ]
    steps = [prod(sizes[dim + 1 :]) for dim in range(rank)]
    at = np.unravel_index(draw(len(batch), prod(outputs)).numpy(), outputs)
    corner_NJ = sum(i * s * step for i, s, step in zip(at, stride, steps, strict=True))
    inside_K = [
        sum(i * d * step for i, d, step in zip(k, dilation, steps, strict=True))
        for k in product(*map(range, kernel))
    ]
    index_NJK = torch.from_numpy(np.asarray(corner_NJ)[:, :, None] + np.array(inside_K))
    return _gathered(padded.flatten(2), index_NJK), weight.flatten(2)


def _gathered(flat_NPL: Tensor, index_NJK: Tensor) -> Tensor:
    index = index_NJK.to(flat_NPL.device).flatten(1)[:, None].expand(-1, flat_NPL.shape[1], -1)
    return flat_NPL.gather(2, index).unflatten(2, index_NJK.shape[1:])


def _geometry(reading: Reading, rank: int) -> dict[str, list[int]]:
    """Return stride, dilation (one a dimension) and padding (as torch's ``pad`` takes it)."""
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    given: dict[str, Any] = {"stride": 1, "padding": 0, "dilation": 1}
    given |= dict(zip(names, reading.args, strict=False)) | reading.kwargs
    stride, dilation = (_each(given[name], rank) for name in ("stride", "dilation"))
    kernel = reading.weight.shape[2:]
    sides: list[int] = []
    for dim in reversed(range(rank)):
        total = dilation[dim] * (kernel[dim] - 1) if given["padding"] == "same" else 0
        before = total // 2
        if not isinstance(given["padding"], str):
            before = _each(given["padding"], rank)[dim]
            total = 2 * before
        sides += [before, total - before]
    return {"stride": stride, "dilation": dilation, "padding": sides}


def _each(value: int | Sequence[int], rank: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * rank if len(values) == 1 else values
