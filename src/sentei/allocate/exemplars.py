"""Widths from how many channels of a group speak for the others."""

# Shapes: C = channels of one group, B = factors of the preference.

from dataclasses import dataclass

import numpy as np

from sentei.allocate.base import SCOPES, Ranking, Scope
from sentei.criteria.base import FloatArray
from sentei.criteria.epruner import check_damping, exemplars
from sentei.criteria.score import weights_of
from sentei.criteria.vectors import distances, gram, require_weights

# Factors of the preference at which exemplars are counted. In between, counts are interpolated;
# at 0 every channel is an exemplar, and beyond the last one is.
_BETAS = 2.0 ** np.arange(-4, 5)


@SCOPES.register("exemplars")
@dataclass(frozen=True, kw_only=True)
class Exemplars(Scope):
    r"""Every group is as wide as it has exemplars, at one preference for all.

    The factor beta of the preference, see the criterion ``epruner``, rises until the budget is
    met: a channel has as its key the smallest beta at which its group has fewer exemplars than
    channels left with it. Exemplars are counted at 1/16, 1/8, ... 16; counts
    never rise with beta. Scores decide within a group only.

    The weights are those of the traced model, whatever was scored. Affinity propagation runs nine
    times a group, in :math:`C^2` time and memory an iteration for C channels.

    Source: Lin et al., Network Pruning Using Adaptive Exemplar Filters, TNNLS 2022,
    arXiv:2101.07985.
    Difference: there beta is given, and the cost is what comes out.

    Args:
        damping: Share of the last message that the next one keeps, in [0.5, 1).

    Raises:
        ValueError: ``damping`` is out of range.
    """

    damping: float = 0.7

    def __post_init__(self) -> None:
        check_damping(self.damping)

    def keys(self, ranking: Ranking) -> list[FloatArray]:
        """Return the values of beta at which the channels go.

        Raises:
            PruningError: A group owns no weights, or the model was changed since it was traced.
        """
        evidence = weights_of(ranking.graph)
        require_weights(evidence)
        grams = (gram(evidence, group) for group in ranking.graph.groups)
        return [_betas(self._counts(distances(gram_CC)), len(gram_CC)) for gram_CC in grams]

    def _counts(self, distances_CC: FloatArray) -> FloatArray:
        """Return the number of exemplars at each of the factors, shape [B]."""
        chosen = [exemplars(distances_CC, beta=b, damping=self.damping) for b in _BETAS]
        return np.array([float(len(c)) for c in chosen])


def _betas(counts_B: FloatArray, width: int) -> FloatArray:
    """Return the factors at which ``width - 1``, ``width - 2``, ... 1, 1 exemplars are left, [C]."""
    counts = np.minimum.accumulate([width, *counts_B, 1.0])
    betas = np.array([0.0, *_BETAS, 2 * _BETAS[-1]])
    left = np.maximum(np.arange(width - 1, -1, -1), 1)
    after = np.searchsorted(-counts, -left)
    drops = counts[after - 1] - counts[after]
    shares = (counts[after - 1] - left) / np.where(drops > 0, drops, 1.0)
    keys: FloatArray = betas[after - 1] + shares * (betas[after] - betas[after - 1])
    return keys
