"""Merging: what reads a removed channel reads a kept one like it instead; without data.

Shapes: C = channels of a group; F = elements that make one of them; R = removed channels of the
group; O = outputs of a layer; P = positions of the channels in what it reads.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sentei.compensate.base import COMPENSATIONS, Compensation, Removal
from sentei.compensate.readers import (
    Maker,
    Reader,
    makers,
    plan_of,
    readers,
    tensor_of,
)
from sentei.criteria.base import FloatArray, Source, weights_CF
from sentei.errors import PruningError, VerificationError
from sentei.graph import Graph, Group
from sentei.index.atoms import IntArray
from sentei.surgery import apply, plan_keep, plan_removal, verify


@COMPENSATIONS.register("merge")
@dataclass(frozen=True, kw_only=True)
class Merge(Compensation):
    r"""Neuron merging: weights that read a removed channel are added to those of one like it.

    With :math:`v_c` all weights that make channel c, times :math:`\gamma_c / \sigma_c` of batch
    norms right behind, and :math:`u_c` the constant added to them, a removed channel i joins the kept
    channel j of its group with the smallest

    .. math:: \lambda \, (1 - \cos(v_i, v_j)) + (1 - \lambda) \, |u_i - a_{ij} u_j|,
        \qquad a_{ij} = \frac{v_i^T v_j}{\lVert v_j \rVert^2}

    (the second term scaled to [0, 1] over j), if the cosine is at least ``least_cosine``; then
    :math:`W_{:,j} \leftarrow W_{:,j} + a_{ij} W_{:,i}` in every layer that reads them. If
    :math:`v_i` and :math:`u_i` are positive multiples of :math:`v_j` and :math:`u_j`, no output
    changes.

    Source: Kim et al., Neuron Merging: Compensating for Pruned Neurons, NeurIPS 2020,
    arXiv:2010.13160.
    Difference: norms are folded into the vectors before the cosines are taken; for filters F with
    :math:`F_i = s F_j` the factor then is :math:`s \gamma_i \sigma_j / (\gamma_j \sigma_i)`. It is
    the projection, which is the paper's ratio of lengths times the cosine: with the ratio, channels
    that are hardly alike do harm. Where several layers make a group (a residual stream), the
    vectors of all are joined.

    Groups stay as they are in which multiples would not merge without loss, which is tried on a
    copy and the traced inputs: behind activations that are not positively homogeneous (SiLU,
    ReLU6), gates, norms of another kind or place, depthwise and grouped convolutions, and where a
    weight is computed or used by several calls.

    Args:
        least_cosine: Channels less alike are not merged, in [0, 1].
        cosine_weight: :math:`\lambda`, in [0, 1].

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Kim et al., Neuron Merging, NeurIPS", year=2020, arxiv="2010.13160", section="2.7.2"
    )
    least_cosine: float = 0.1
    cosine_weight: float = 0.85

    def __post_init__(self) -> None:
        for name in ("least_cosine", "cosine_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}; expected a number in [0, 1]")

    def compensate(self, small: nn.Module, removal: Removal) -> None:
        """Change the weights of ``small`` that read kept channels, in place.

        Raises:
            PruningError: No group of which something is removed merges without loss.
        """
        plan = plan_of(removal)
        made = makers(plan.graph)
        with torch.no_grad():
            given = {name: _makings(plan.graph[name], made, removal.model) for name in plan.removed}
        pairs = {
            name: self._match(plan.graph[name].first, np.array(plan.removed[name]), making)
            for name, making in given.items()
            if making.vectors.any()
        }
        if not _is_lossless(plan.graph, pairs, made, removal.model):
            pairs = {
                name: own
                for name, own in pairs.items()
                if _is_lossless(plan.graph, {name: own}, made, removal.model)
            }
        if plan.removed and not pairs:
            raise PruningError(
                "compensation 'merge': in no group do channels that are multiples of each other "
                "merge without loss (an activation is not positively homogeneous, or something reads "
                "channels together); compensate with 'least-squares'"
            )
        with torch.no_grad():
            for reader in readers(plan):
                for own in pairs.values():
                    _merge_(reader, own, removal.model, small)

    def _match(self, first: int, gone: IntArray, making: "_Making") -> "_Pairs":
        """Return which removed channels of a group join which kept ones."""
        vectors_CF, constants_C = making.vectors, making.constants
        stay = np.delete(np.arange(len(vectors_CF)), gone)
        lengths_C = np.linalg.norm(vectors_CF, axis=1)
        lengths_C[lengths_C == 0] = np.inf  # like nothing, and nothing is like it
        products = vectors_CF[gone] @ vectors_CF[stay].T
        cosine = products / np.outer(lengths_C[gone], lengths_C[stay])
        factors = products / lengths_C[stay] ** 2
        left = np.abs(constants_C[gone, None] - factors * constants_C[None, stay])
        least = left.min(axis=1, keepdims=True)
        spread = left.max(axis=1, keepdims=True) - least
        left = np.divide(left - least, spread, out=np.zeros_like(left), where=spread > 0)
        distance = self.cosine_weight * (1 - cosine) + (1 - self.cosine_weight) * left
        is_alike = cosine >= self.least_cosine
        best = np.where(is_alike, distance, np.inf).argmin(axis=1)
        rows = np.arange(len(gone))
        return _Pairs(
            gone=first + gone,
            kept=first + stay[best],
            factors=np.where(is_alike, factors, 0.0)[rows, best],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pairs:
    """Removed channels, the kept ones they join, and how many times larger they are, each [R].

    The factor of a channel that is like no other is 0.
    """

    gone: IntArray
    kept: IntArray
    factors: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class _Making:
    """How the channels of a group are made.

    Attributes:
        vectors: What layers multiply their inputs with, norms right behind them included, [C, F].
        constants: What they add, [C].
    """

    vectors: FloatArray
    constants: FloatArray


def _makings(group: Group, made: Sequence[Maker], model: nn.Module) -> _Making:
    rows: list[Tensor] = [torch.zeros(group.width, 0, dtype=torch.float64)]
    constants = torch.zeros(group.width, dtype=torch.float64)
    by_weight = {maker.weight: maker for maker in made}
    for member in group.members:
        if member.tensor in by_weight and member.dim == 0 and not member.is_inner:
            vectors, added = _effective(by_weight[member.tensor], model)
            rows.append(weights_CF(group, member, vectors))
            constants += weights_CF(group, member, added).sum(1)
    return _Making(vectors=torch.cat(rows, dim=1).numpy(), constants=constants.numpy())


def _effective(maker: Maker, model: nn.Module) -> tuple[Tensor, Tensor]:
    """Return weight [O, F] and bias [O] of a layer and the norm behind it as one, on the CPU."""

    def values(name: str, other: float) -> Tensor:
        own = tensor_of(model, name).double().cpu() if name else None
        return torch.full((len(weight),), other, dtype=torch.float64) if own is None else own

    weight = tensor_of(model, maker.weight).double().flatten(1).cpu()
    added = values(maker.bias, 0)
    if maker.norm:
        norm = maker.norm
        factor = values(norm.scale, 1) / (values(norm.variance, 1) + norm.epsilon).sqrt()
        weight = weight * factor[:, None]
        added = values(norm.shift, 0) + factor * (added - values(norm.mean, 0))
    return weight, added


def _is_lossless(
    graph: Graph, pairs: Mapping[str, _Pairs], made: Sequence[Maker], model: nn.Module
) -> bool:
    """Return whether nothing changes where channels that are multiples of others join them."""
    joined = copy.deepcopy(model).double().eval()
    removed = {name: (own.gone - graph[name].first).tolist() for name, own in pairs.items()}
    plan = plan_removal(graph, removed)
    with torch.no_grad():
        for own in pairs.values():
            _make_multiples_(graph, own, made, joined)
        small = apply(plan, joined)
        for reader in readers(plan):
            for own in pairs.values():
                _merge_(reader, own, joined, small)
    try:
        verify(joined, small, plan_keep(graph, np.ones(graph.num_channels, np.bool_)), graph.inputs)
    except VerificationError:
        return False
    return True


def _make_multiples_(graph: Graph, pairs: _Pairs, made: Sequence[Maker], model: nn.Module) -> None:
    """Make every removed channel the multiple of the kept one that it joins."""
    for maker in made:
        channels = graph.layouts[maker.weight].dims[0]
        assert channels is not None
        gone, kept, factors = _rows(channels, pairs)
        norm = maker.norm
        # Behind a scale all is alike but the scale and the shift.
        scaled = norm is not None and bool(norm.scale)
        names = (norm.scale, norm.shift) if norm and scaled else (maker.weight, maker.bias)
        alike = (maker.weight, maker.bias, norm.mean, norm.variance) if norm and scaled else ()
        for name in filter(None, alike):
            tensor_of(model, name)[gone] = tensor_of(model, name)[kept]
        for name in filter(None, names):
            tensor = tensor_of(model, name)
            tensor[gone] = tensor[kept] * factors.view(-1, *[1] * (tensor.dim() - 1)).to(tensor)


def _merge_(reader: Reader, pairs: _Pairs, dense: nn.Module, small: nn.Module) -> None:
    """Add columns of the dense weight to those of the pruned one; groups of a convolution not."""
    weight, old = tensor_of(small, reader.weight), tensor_of(dense, reader.weight)
    if old.shape[1] != len(reader.inputs):
        return
    gone, kept, factors = _rows(reader.point.channels, pairs)
    columns = old[torch.from_numpy(reader.outputs)][:, gone]
    columns = columns * factors.view(1, -1, *[1] * (old.dim() - 2)).to(old)
    place = torch.from_numpy(np.cumsum(reader.inputs) - 1)[kept]
    weight.index_add_(1, place.to(weight.device), columns.to(weight))


def _rows(channels: IntArray, pairs: _Pairs) -> tuple[Tensor, Tensor, Tensor]:
    """Return positions of removed channels, those of the kept ones they join, and the factors.

    The n-th position of a channel goes with the n-th of the other; what has none is left out.
    """
    gone, kept, factors = [], [], []
    for one, other, factor in zip(pairs.gone, pairs.kept, pairs.factors, strict=True):
        own, its = np.flatnonzero(channels == one), np.flatnonzero(channels == other)
        count = min(len(own), len(its))
        gone += own[:count].tolist()
        kept += its[:count].tolist()
        factors += [float(factor)] * count
    index = (torch.tensor(gone, dtype=torch.int64), torch.tensor(kept, dtype=torch.int64))
    return *index, torch.tensor(factors, dtype=torch.float64)
