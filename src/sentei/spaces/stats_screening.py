"""What is found where a cheap score chooses the recipes that are evaluated in full.

Scores are drops, so small is good in both. Shapes: N = recipes.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sentei.spaces.stats_base import (
    FloatArray,
    check_fraction,
    checked,
    same_length,
)


def top_recall(proxy: ArrayLike, full: ArrayLike, *, share: float = 0.1) -> float:
    """Return which share of the truly best recipes is among the best by proxy, in [0, 1].

    Recipes tied at the edge of a choice are chosen at random; the expected recall is returned.

    Args:
        proxy: Cheap score, shape [N]; small is good.
        full: Full score, shape [N].
        share: Share of the recipes that counts as best, in (0, 1), rounded up to whole recipes.

    Raises:
        ValueError: lengths differ, or the share is out of range.
    """
    check_fraction("share", share)
    proxy_N, full_N = checked("proxy", proxy), checked("full", full)
    count = math.ceil(share * same_length(proxy=proxy_N, full=full_N) - 1e-9)
    return float(_chosen(proxy_N, count) @ _chosen(full_N, count)) / count


def _chosen(scores_N: FloatArray, count: int) -> FloatArray:
    """Return the chance of every recipe to be among the ``count`` smallest, shape [N]."""
    ranks = stats.rankdata(scores_N, method="min") - 1  # how many are better
    ties = stats.rankdata(scores_N, method="max") - ranks
    return np.clip((count - ranks) / ties, 0, 1)
