"""One order over the channels of all groups, by score for what they cost."""

from dataclasses import dataclass

import numpy as np

from sentei.allocate.base import (
    SCOPES,
    Normalization,
    Ranking,
    Scope,
    check_normalization,
    normalized,
)
from sentei.criteria.base import FloatArray

_LEAST_SAVING = 1e-3


@SCOPES.register("cost-aware")
@dataclass(frozen=True, kw_only=True)
class CostAware(Scope):
    """The lowest normalized score for the cost it saves goes first.

    The cost is that of the budget, the saving that of one channel in the whole network relative
    to the mean over the groups; no saving counts as less than a thousandth of that mean. Negative
    scores are refused: dividing them by a cost means nothing.

    Args:
        normalization: How the scores of a group are put on the scale of the others; None does
            what the criterion declares. ``standard`` is not possible: it makes scores negative.

    Raises:
        ValueError: ``normalization`` is unknown or ``standard``, or a score is negative.
    """

    normalization: Normalization | None = None

    def __post_init__(self) -> None:
        check_normalization(self.normalization)
        if self.normalization == "standard":
            raise ValueError("normalization='standard' makes scores negative; use 'mean' instead")

    def keys(self, ranking: Ranking) -> list[FloatArray]:
        """Return the normalized scores divided by the savings."""
        if any((scores_C < 0).any() for scores_C in ranking.scores):
            raise ValueError(
                "a score is negative; use scope 'global', or a criterion without signs"
            )
        relative = ranking.savings / (ranking.savings.mean() or 1.0)
        divisors = np.maximum(relative, _LEAST_SAVING)
        scores = normalized(ranking, self.normalization)
        return [s / d for s, d in zip(scores, divisors, strict=True)]
