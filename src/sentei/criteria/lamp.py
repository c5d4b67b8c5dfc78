"""Magnitude made comparable between groups."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Source
from sentei.criteria.reduce import Reduction, check_reduction, reduce_slices


@CRITERIA.register("lamp")
@dataclass(frozen=True, kw_only=True)
class Lamp(Criterion):
    r"""Squared size of a channel over that of all channels of its group that are not smaller.

    .. math:: s_c = \frac{n_c}{\sum_{d:\, n_d \ge n_c} n_d},
        \quad n_c = \operatorname{reduce}_m \sum_{w \in m(c)} w^2

    In (0, 1]; the largest channel of a group has 1 and is never removed before any other.

    Source: Lee et al., Layer-adaptive sparsity for the magnitude-based pruning, ICLR 2021,
    arXiv:2010.07611.
    Difference: there over single weights of a layer, here over the channels of a group; equal
    channels get equal scores; a channel of zeros gets 0.

    Args:
        reduction: How the slices m of a group become one number.

    Raises:
        ValueError: ``reduction`` is unknown.
    """

    source: ClassVar[Source] = Source(
        paper="Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning, ICLR",
        year=2021,
        arxiv="2010.07611",
        section="2.1.1",
    )
    comparable: ClassVar[bool] = True
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        check_reduction(self.reduction)

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the shares, shape [C], in [0, 1]."""
        sizes = reduce_slices(
            evidence,
            evidence.weights,
            lambda weight: weight.double().square(),
            reduction=self.reduction,
            missing="it owns no weights to measure; protect it, or score with 'random'",
        )
        parts = [share_of_larger(sizes[g.first : g.first + g.width]) for g in evidence.graph.groups]
        return np.concatenate([*parts, np.empty(0)])


def share_of_larger(sizes: FloatArray) -> FloatArray:
    """Return every size over the sum of those that are not smaller, shape as given; 0 for 0.

    Example:
        >>> share_of_larger(np.array([1.0, 4.0, 3.0])).tolist()
        [0.125, 1.0, 0.42857142857142855]
    """
    ascending = np.sort(sizes)
    sums = np.cumsum(ascending[::-1])[::-1]
    larger = sums[np.searchsorted(ascending, sizes)]
    return np.divide(sizes, larger, out=np.zeros_like(sizes), where=larger > 0)
