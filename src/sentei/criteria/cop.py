"""Correlation of what reads a channel with what reads others, and what the layer costs."""

# Shapes: C = channels of one group, P = positions (pixels of a kernel, of a flattened map),
# O = outputs of the layer that reads them, G = groups.

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from sentei.cost import CostModel
from sentei.criteria.base import (
    CRITERIA,
    Criterion,
    Evidence,
    FloatArray,
    Source,
    produced_dims,
    require,
    weights_CF,
)
from sentei.criteria.vectors import directions, join, weight_members
from sentei.graph import Graph, Group, Member

# What is left of a constant column when its mean is taken off, relative: rounding, no variance.
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """A slice of the inputs of a layer, and which dimension of its rows counts the outputs."""

    member: Member
    num_outputs: int


@CRITERIA.register("cop")
@dataclass(frozen=True, kw_only=True)
class Cop(Criterion):
    r"""How little the readers of a channel correlate with those of others, and how cheap it is.

    For every layer that reads the group and every position p of its kernel, :math:`\rho_p` is
    the Pearson correlation, over the outputs, of the weights that read channels c and d:

    .. math:: R_{cd} = \operatorname{mean}_{p} |\rho_p(c, d)|, \qquad
        r_c = \operatorname{mean} \operatorname{top}_k \{R_{cd} / \max_{a \ne b} R_{ab} : d \ne c\}

    .. math:: s_c = \alpha (1 - r_c) + \beta \Bigl(1 - \frac{\log_2 M}{\max \log_2 M}\Bigr)
        + \gamma \Bigl(1 - \frac{\log_2 N}{\max \log_2 N}\Bigr)

    M are the multiply-adds and N the parameters that go with all channels of the group, the
    maxima are over the groups. Takes :math:`C^2` memory and :math:`C^2 P O` time.

    Source: Wang et al., COP: Customized Deep Model Compression via Regularized Correlation-Based
    Filter-Level Pruning, IJCAI 2019, arXiv:1906.10337; details as in the authors' code.
    Difference: where several layers read a group, R is the mean over them. Positions of a
    flattened map count as those of a kernel. Inputs of a convolution with groups are compared
    output by output inside their own ones. Constant weights have no correlation. The costs are
    those of the whole network; there they are counted again after each channel that goes, which
    pruning in several rounds comes near.

    Args:
        top_k: How many of the largest correlations count, >= 1; a smaller group has fewer.
        alpha: Weight of the correlation, >= 0.
        beta: Weight of the multiply-adds, >= 0.
        gamma: Weight of the parameters, >= 0.

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Wang et al., COP: Customized Deep Model Compression, IJCAI",
        year=2019,
        arxiv="1906.10337",
        section="2.1.2",
    )
    comparable: ClassVar[bool] = True
    top_k: int = 3
    alpha: float = 1.0
    beta: float = 1.0
    gamma: float = 1.0

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise ValueError(f"top_k={self.top_k}; expected at least 1")
        for name in ("alpha", "beta", "gamma"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name}={getattr(self, name)}; expected a finite weight >= 0")

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the scores, shape [C], in [0, alpha + beta + gamma].

        Raises:
            PruningError: No layer with weights reads a group.
            TraceError: The costs of the network cannot be told.
        """
        graph = evidence.graph
        readers = _readers(evidence)
        found = np.repeat([bool(own) for own in readers.values()], graph.widths)
        missing = "no layer with weights reads it; protect it, or score with 'fpgm'"
        require(graph, found.astype(np.bool_), missing)
        macs_G, parameters_G = _cheapness(graph)
        extra_G = self.beta * macs_G + self.gamma * parameters_G
        return join(
            self.alpha * (1 - self._redundancy(evidence, g, readers[g.name])) + extra_G[g.index]
            for g in graph.groups
        )

    def _redundancy(self, evidence: Evidence, group: Group, readers: list[_Reader]) -> FloatArray:
        """Return the mean of the largest correlations of every channel, shape [C], in [0, 1]."""
        layers = [_correlations(evidence, group, reader) for reader in readers]
        found = np.mean(layers, axis=0)
        np.fill_diagonal(found, 0)
        found /= found.max() or 1.0
        # The diagonal is the smallest of each row: with k < C it is never among the largest.
        k = min(self.top_k, max(group.width - 1, 1))
        largest: FloatArray = np.sort(found, axis=1)[:, -k:].mean(axis=1)
        return largest


def _readers(evidence: Evidence) -> Mapping[str, list[_Reader]]:
    """Return, for every group, the slices of layers that take its channels as inputs."""
    produced = produced_dims(evidence)

    def find(group: Group) -> Iterator[_Reader]:
        for member in weight_members(evidence, group):
            tensor = evidence.parameters[member.tensor]
            if tensor.dim() < 2 or member.tensor in evidence.norms:
                continue
            if member.is_inner:
                yield _Reader(member=member, num_outputs=_num_positions(member))
            elif member.dim != produced[member.tensor]:
                yield _Reader(member=member, num_outputs=tensor.movedim(member.dim, 0).shape[1])

    return {group.name: list(find(group)) for group in evidence.graph.groups}


def _num_positions(member: Member) -> int:
    """Return how many positions of a slice each channel owns."""
    return int(np.bincount(member.channels[member.channels >= 0]).max())


def _correlations(evidence: Evidence, group: Group, reader: _Reader) -> FloatArray:
    """Return the mean absolute correlation of every two channels, shape [C, C]."""
    rows = weights_CF(group, reader.member, evidence.parameters[reader.member.tensor])
    num_places = 1 if reader.member.is_inner else _num_positions(reader.member)
    weights_PCO = rows.reshape(group.width, num_places, reader.num_outputs, -1).permute(1, 3, 0, 2)
    weights_PCO = weights_PCO.flatten(0, 1)
    # One position after the other: the whole in float64 may be large.
    added = sum((_correlation(weights_CO) for weights_CO in weights_PCO), start=0.0)
    return np.asarray(added) / len(weights_PCO)


def _correlation(weights_CO: Tensor) -> FloatArray:
    weights_CO = weights_CO.double()
    centred_CO = weights_CO - weights_CO.mean(dim=1, keepdim=True)
    is_constant = centred_CO.norm(dim=1) <= _ROUNDING * weights_CO.norm(dim=1)
    centred_CO[is_constant] = 0
    products: FloatArray = (centred_CO @ centred_CO.T).cpu().numpy()
    return np.abs(directions(products))


def _cheapness(graph: Graph) -> tuple[FloatArray, FloatArray]:
    """Return 1 - log2 cost / max log2 cost of multiply-adds and of parameters, each [G]."""
    model = CostModel.of(graph)

    def cheap(name: str) -> FloatArray:
        logs_G = np.log2(np.maximum(model.group_saving(name, graph.widths) * graph.widths, 1))
        return 1 - logs_G / (float(logs_G.max(initial=0)) or 1.0)

    return cheap("macs"), cheap("num_parameters")
