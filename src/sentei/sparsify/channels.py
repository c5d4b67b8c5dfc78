"""Vectors over channels and the parameters of a model: sums, norms, products, in torch.

What `sentei.criteria.base` does in NumPy for scores is done here on the parameters being trained:
on their device, and so that gradients flow.
"""

# Shapes: C = channels of all groups, P = positions of all slices of a selection together.

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from sentei.criteria.base import Evidence, FloatArray, broadcast_index, require
from sentei.criteria.score import owned_parameters
from sentei.graph import Graph, Slice
from sentei.index.atoms import BoolArray


def evidence_of(graph: Graph, model: nn.Module) -> Evidence:
    """Return the evidence on a model in training: its own parameters, attached.

    Raises:
        PruningError: The model does not have the shapes of the graph.
    """
    return Evidence(graph=graph, parameters=owned_parameters(graph, model))


def expand(vector_C: Tensor, index: Tensor) -> Tensor:
    """Return the entry of every position's channel, and 1 where there is none.

    Args:
        vector_C: One number a channel, shape [C].
        index: Of :func:`broadcast_index`, on the same device.
    """
    return torch.cat([vector_C, vector_C.new_ones(1)])[index]


class Selection:
    """Some slices of a model's parameters, seen channel by channel.

    A channel owns the elements of all its slices. An element in two slices (a weight between two
    groups, or twice in one) counts in each.

    Args:
        evidence: The graph, and the parameters being trained.
        slices: Which slices count.
    """

    def __init__(self, evidence: Evidence, slices: Iterable[Slice]) -> None:
        self.slices: Sequence[Slice] = tuple(slices)
        self.parameters: Mapping[str, Tensor] = {
            s.tensor: evidence.parameters[s.tensor] for s in self.slices
        }
        self.num_channels = evidence.graph.num_channels

    @cached_property
    def _index(self) -> Tensor:
        """Channel of every position, C where there is none, shape [P]."""
        flat = [torch.from_numpy(s.channels).flatten() for s in self.slices]
        index = torch.cat([torch.zeros(0, dtype=torch.int64), *flat])
        index[index < 0] = self.num_channels
        return index.to(next(iter(self.parameters.values())).device)

    @cached_property
    def _broadcast(self) -> list[Tensor]:
        parameters = [self.parameters[s.tensor] for s in self.slices]
        return [
            broadcast_index(s, p.dim()).to(p.device)
            for s, p in zip(self.slices, parameters, strict=True)
        ]

    @cached_property
    def counts(self) -> Tensor:
        """Number of elements of each channel, shape [C]."""
        with torch.no_grad():
            return self.sums(torch.ones_like)

    def sums(self, elements: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the sum over the elements of each channel, shape [C], differentiable.

        Args:
            elements: From a parameter, one number for each of its elements, of its shape.
        """
        return self.add({name: elements(p) for name, p in self.parameters.items()})

    def add(self, values: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of given numbers over the elements of each channel, shape [C].

        Args:
            values: By name of the parameter one number for each of its elements, of its shape.
        """
        flat = [_positions(values[s.tensor], s) for s in self.slices]
        zeros = flat[0].new_zeros(self.num_channels + 1)
        return zeros.index_add(0, self._index, torch.cat(flat))[:-1]

    def norms(self) -> Tensor:
        """Return the Euclidean norm of each channel, shape [C]; its gradient at 0 is 0."""
        return safe_sqrt(self.sums(torch.square))

    def rms(self) -> Tensor:
        """Return the root of the mean square of the elements of each channel, shape [C]."""
        return safe_sqrt(self.sums(torch.square) / self.counts.clamp(min=1))

    @torch.no_grad()
    def map_(self, function: Callable[[Tensor, Tensor], Tensor], vector_C: Tensor) -> None:
        """Replace what channels own, slice by slice, in place, without gradient.

        An element in two slices is replaced twice.

        Args:
            function: From the parameter and, for each position, its channel's number (it
                broadcasts to the parameter), the new values.
            vector_C: One number a channel, shape [C].
        """
        for part, index in zip(self.slices, self._broadcast, strict=True):
            parameter = self.parameters[part.tensor]
            new = function(parameter, expand(vector_C, index))
            parameter.copy_(torch.where(index >= 0, new, parameter))

    def scale_(self, factors_C: Tensor) -> None:
        """Multiply every slice by its channel's factor, in place, without gradient."""
        self.map_(torch.mul, factors_C)

    @torch.no_grad()
    def shrink_(self, thresholds_C: Tensor) -> None:
        r"""Shorten what every channel owns by its threshold, to zero at most, in place.

        The proximal map of :math:`\sum_c t_c \lVert w_c \rVert_2` where channels share no element.
        """
        norms = self.norms()
        factors = (1 - thresholds_C / norms).clamp(min=0)
        self.scale_(torch.where(norms > 0, factors, 0.0))


def _positions(values: Tensor, part: Slice) -> Tensor:
    """Return the sums over all dimensions but the slice's, flat."""
    others = [d for d in range(values.dim()) if d not in part.dims]
    return (values.sum(others) if others else values).flatten()


def safe_sqrt(squares: Tensor) -> Tensor:
    """Return the square root, with gradient 0 (a subgradient) where the argument is 0."""
    is_zero = squares == 0
    return torch.where(is_zero, 0.0, torch.where(is_zero, 1.0, squares).sqrt())


def as_scores(values_C: Tensor) -> FloatArray:
    """Return a vector over channels as scores."""
    scores: FloatArray = values_C.detach().to(device="cpu", dtype=torch.float64).numpy()
    return scores


def owned_by(evidence: Evidence, slices: Iterable[Slice]) -> BoolArray:
    """Return whether some of the slices belong to each channel, shape [C]."""
    found = np.zeros(evidence.graph.num_channels + 1, dtype=np.bool_)
    for part in slices:
        found[part.channels] = True
    return found[:-1]


def norm_scales(evidence: Evidence) -> Selection:
    """Return the scales of the norms that act on channels.

    Raises:
        PruningError: A group has none.
    """
    scales = [s for s in evidence.slices if s.tensor in evidence.norms]
    require(
        evidence.graph,
        owned_by(evidence, scales),
        "no norm with a scale acts on it; sparsify with 'ssl', which needs none, or "
        "protect the group",
    )
    return Selection(evidence, scales)


def group_sums(graph: Graph, values_C: Tensor) -> Tensor:
    """Return the sum over the channels of each group, shape [G], differentiable."""
    widths = torch.from_numpy(graph.widths)
    owner = torch.repeat_interleave(torch.arange(len(widths)), widths).to(values_C.device)
    return values_C.new_zeros(len(widths)).index_add(0, owner, values_C)
