"""The same share of every group."""

from dataclasses import dataclass

import numpy as np

from sentei.allocate.base import SCOPES, Ranking, Scope
from sentei.criteria.base import FloatArray


@SCOPES.register("local")
@dataclass(frozen=True, kw_only=True)
class Local(Scope):
    """Every group loses the same share of its channels: the uniform allocation.

    Scores decide within a group only.
    """

    def keys(self, ranking: Ranking) -> list[FloatArray]:
        """Return the share of its group that goes before a channel, in (0, 1)."""
        return [_shares(scores_C) for scores_C in ranking.scores]


def _shares(scores_C: FloatArray) -> FloatArray:
    shares = np.empty(len(scores_C))
    shares[np.argsort(scores_C, kind="stable")] = (np.arange(len(scores_C)) + 0.5) / len(scores_C)
    return shares
