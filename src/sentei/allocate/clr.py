"""Cross-layer ranking: widths from a threshold over all weights."""

# Shapes: C = channels of one group, G = groups, W = weights that go with a group.

from dataclasses import dataclass

import numpy as np
import torch

from sentei.allocate.base import SCOPES, Ranking, Scope
from sentei.criteria.base import Evidence, FloatArray, weights_CF
from sentei.criteria.score import weights_of
from sentei.criteria.vectors import require_weights, weight_members
from sentei.graph import Group

_LEAST_COST = 1e-3


@SCOPES.register("clr")
@dataclass(frozen=True, kw_only=True)
class CrossLayerRanking(Scope):
    r"""Every group loses the share of its weights that lie below one threshold for all.

    A weight w of group g counts as :math:`|w| / c_g^\lambda`, where :math:`c_g` is the cost of
    the budget that goes with all channels of the group, relative to the mean over the groups and
    no less than a thousandth of it. The threshold rises until the budget is met. So the channel
    that leaves when i of C are gone has as its key the weight below or at which the share
    :math:`(i + 1/2) / C` of its group lies. Scores decide within a group only.

    The weights are those of the traced model, whatever was scored.

    Source: Lin et al., Pruning Networks with Cross-Layer Ranking and k-Reciprocal Nearest
    Filters, TNNLS 2022, arXiv:2202.07190; the criterion ``clr-rnf`` is its other half.
    Difference: the weights of a group are all that go with its channels, not those of one layer
    alone, and the cost is the budget's, there always multiply-adds.

    Args:
        power: The exponent :math:`\lambda` of the cost, >= 0; 0 ignores it. The authors' code
            has 0.5 for VGG-16, 10 for ResNet-56 and 5 for ResNet-110, whose layers cost nearly
            the same.

    Raises:
        ValueError: ``power`` is negative.
    """

    power: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.power < np.inf:
            raise ValueError(f"power={self.power}; expected a finite exponent >= 0")

    def keys(self, ranking: Ranking) -> list[FloatArray]:
        """Return the weighted quantiles.

        Raises:
            PruningError: A group owns no weights, or the model was changed since it was traced.
        """
        evidence = weights_of(ranking.graph)
        require_weights(evidence)
        costs_G = ranking.savings * ranking.graph.widths
        relative_G = np.maximum(costs_G / (costs_G.mean() or 1.0), _LEAST_COST)
        return [
            _quantiles(_sizes(evidence, group), group.width) / cost**self.power
            for group, cost in zip(ranking.graph.groups, relative_G, strict=True)
        ]


def _sizes(evidence: Evidence, group: Group) -> FloatArray:
    """Return the absolute weights that go with a group, ascending, shape [W]."""
    parts = [
        weights_CF(group, member, evidence.parameters[member.tensor]).abs().flatten()
        for member in weight_members(evidence, group)
    ]
    sizes: FloatArray = torch.cat(parts).sort().values.double().cpu().numpy()
    return sizes


def _quantiles(sizes_W: FloatArray, width: int) -> FloatArray:
    """Return the sizes below or at which the middle of each channel's share lies, [width]."""
    shares = (np.arange(width) + 0.5) / width
    return sizes_W[np.ceil(shares * len(sizes_W)).astype(np.int64) - 1]
