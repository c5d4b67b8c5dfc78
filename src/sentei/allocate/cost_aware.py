"""One order over the channels of all groups, by what they are worth for what they cost."""

from dataclasses import dataclass

import numpy as np

from sentei.allocate.base import SCOPES, Ranking, Scope
from sentei.criteria.base import FloatArray

_LEAST_SAVING = 1e-3


@SCOPES.register("cost-aware")
@dataclass(frozen=True, kw_only=True)
class CostAware(Scope):
    r"""What is left of its group goes with a channel, times what it weighs, for its cost.

    .. math:: k_{gi} = \frac{s_{gi}}{\sum_{j \ge i} s_{gj}} \cdot \frac{v_g}{c_g}

    with the scores :math:`s` of group g ascending, and :math:`c_g` the cost of the budget that
    one channel saves there, relative to the mean over the groups and no less than a thousandth of
    it. What the group is worth, :math:`v_g`, is the sum of its scores where scores of different
    groups can be compared; elsewhere it is the weights that one channel owns in the whole
    network, and how the scores are scaled in a group makes no difference. The lowest key goes
    first. A channel that many layers read costs much and holds much: of a mean over its slices
    divided by its cost only the cost would be left.

    The first channel of a group has its score over its cost for key. The share of what is left
    grows as the group empties: a sum of scores underrates what channels do together, and one
    group is not emptied before the next is touched.

    Scores must not be negative: dividing them by a cost means nothing.

    Source: the denominator is that of LAMP (Lee et al., ICLR 2021, arXiv:2010.07611), there over
    the squared weights of a layer.

    Raises:
        ValueError: A score is negative.
    """

    def keys(self, ranking: Ranking) -> list[FloatArray]:
        """Return the share of what is left times what the group is worth, over the savings."""
        if any((scores_C < 0).any() for scores_C in ranking.scores):
            raise ValueError(
                "a score is negative; use scope 'global', or a criterion without signs"
            )
        relative = ranking.savings / (np.sum(ranking.savings) or 1.0) * len(ranking.savings)
        worth = ranking.num_weights
        if ranking.comparable:
            worth = np.array([scores_C.sum() for scores_C in ranking.scores])
        factors = worth / np.maximum(relative, _LEAST_SAVING)
        return [_shares(s) * f for s, f in zip(ranking.scores, factors, strict=True)]


def _shares(scores_C: FloatArray) -> FloatArray:
    """Return each score's share of the sum of those not below it; 0 of nothing is 0."""
    left_C = np.cumsum(scores_C[::-1])[::-1]
    return scores_C / np.where(left_C > 0, left_C, 1.0)
