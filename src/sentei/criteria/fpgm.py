"""Distance to the other channels of the group."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from sentei.criteria.base import (
    CRITERIA,
    Criterion,
    Evidence,
    FloatArray,
    Source,
    require,
    weights_CF,
)
from sentei.graph import Group


@CRITERIA.register("fpgm")
@dataclass(frozen=True, kw_only=True)
class Fpgm(Criterion):
    r"""Sum of Euclidean distances from a channel to all others: small means replaceable.

    .. math:: s_c = \sum_d \lVert w_c - w_d \rVert_2

    Takes :math:`C^2` memory and :math:`C^2 F` time for C channels owning F elements each.

    Source: He et al., Filter Pruning via Geometric Median, CVPR 2019, arXiv:1811.00250.
    Difference: a channel is the vector of all weights that go with it, not the filter alone.
    """

    source: ClassVar[Source] = Source(
        paper="He et al., Filter Pruning via Geometric Median, CVPR",
        year=2019,
        arxiv="1811.00250",
        section="2.1.2",
    )

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the summed distances, shape [C], in the unit of the weights."""
        graph = evidence.graph
        found = np.zeros(graph.num_channels, dtype=np.bool_)
        for part in evidence.weights:
            found[part.channels[part.channels >= 0]] = True
        require(graph, found, "it owns no weights to compare; protect it, or score with 'random'")
        return np.concatenate([*(_distances(evidence, g) for g in graph.groups), np.empty(0)])


def _distances(evidence: Evidence, group: Group) -> FloatArray:
    # One Gram matrix over all slices: neither [C, C, F] nor the joined [C, F] is ever made.
    gram = torch.zeros((), dtype=torch.float64)
    for member in group.members:
        if member.tensor in evidence.parameters and evidence.is_weight(member.tensor):
            rows_CF = weights_CF(group, member, evidence.parameters[member.tensor])
            rows_CF = rows_CF.to(torch.promote_types(rows_CF.dtype, torch.float32))
            gram = gram.to(rows_CF.device) + (rows_CF @ rows_CF.T).double()
    squares = gram.diagonal()
    distances = (squares[:, None] + squares[None, :] - 2 * gram).clamp(min=0).sqrt()
    # Rounding leaves some distance of a channel to itself.
    distances.fill_diagonal_(0)
    summed: FloatArray = distances.sum(dim=1).cpu().numpy()
    return summed
