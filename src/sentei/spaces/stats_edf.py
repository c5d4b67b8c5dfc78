"""Empirical distribution functions of a population, with bands, and what the best of k will be.

Shapes: N = recipes, G = points at which a function is read, B = bootstrap draws, K = values of k.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sentei.spaces.stats_base import (
    DEFAULTS,
    FloatArray,
    Resampling,
    check_fraction,
    checked,
    generator,
    resampling_counts,
    same_length,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Edf:
    r"""Empirical distribution function :math:`F(e) = \sum_i w_i 1[e_i < e] / \sum_i w_i`.

    Source: Radosavovic et al., CVPR 2020, arXiv:2003.13678, equation 1, with weights.

    Attributes:
        points: The sorted values e_i, shape [N].
        weights: Their weights, sum 1, shape [N].
        minimum: Smallest value.
        mean: Weighted mean, the area to the left of the curve.
    """

    points: FloatArray
    weights: FloatArray
    minimum: float
    mean: float

    @property
    def num(self) -> int:
        """Number of values N."""
        return self.points.size

    def at(self, grid: ArrayLike) -> FloatArray:
        """Return the share of values strictly below each point of ``grid``, shape [G]."""
        heights = np.concatenate([[0.0], np.cumsum(self.weights)])
        return heights[np.searchsorted(self.points, np.asarray(grid, np.float64), side="left")]

    def legend(self) -> str:
        """Return ``n|min|mean``, the legend of the figure.

        Example:
            >>> edf([2.0, 1.0]).legend()
            '2|1.00|1.50'
        """
        return f"{self.num}|{self.minimum:.2f}|{self.mean:.2f}"


def edf(values: ArrayLike, weights: ArrayLike | None = None) -> Edf:
    """Return the empirical distribution function of ``values``.

    Args:
        values: Error or drop of every recipe, shape [N]; small is good.
        weights: Weight of every recipe, >= 0, shape [N]; None for equal weights.

    Raises:
        ValueError: a value is not finite, lengths differ, or the weights are negative or all 0.
    """
    values_N = checked("values", values)
    weights_N = np.ones_like(values_N) if weights is None else checked("weights", weights)
    same_length(values=values_N, weights=weights_N)
    if weights_N.min() < 0 or weights_N.sum() == 0:
        raise ValueError("the weights of an EDF must be >= 0 and not all 0")
    weights_N = weights_N / weights_N.sum()
    order = np.argsort(values_N, kind="stable")
    return Edf(
        points=values_N[order],
        weights=weights_N[order],
        minimum=float(values_N.min()),
        mean=float(weights_N @ values_N),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Band:
    """A band around a curve.

    Attributes:
        grid: Where the curve is read, shape [G].
        curve: The curve there, shape [G].
        low: Lower edge, shape [G].
        high: Upper edge, shape [G].
        level: Confidence level, in (0, 1).
        method: How it was made; says whether it holds for the whole curve or point by point.
    """

    grid: FloatArray
    curve: FloatArray
    low: FloatArray
    high: FloatArray
    level: float
    method: str


def dkw_epsilon(num: int, alpha: float = 0.05) -> float:
    r"""Return :math:`\sqrt{\ln(2/\alpha) / 2n}`, half the height of a DKW band.

    Source: Massart, Annals of Probability 1990 (the constant 2).

    Example:
        >>> round(dkw_epsilon(200), 3)
        0.096
    """
    check_fraction("alpha", alpha)
    if num < 1:
        raise ValueError(f"a DKW band of {num} values does not exist; at least 1 is needed")
    return math.sqrt(math.log(2 / alpha) / (2 * num))


def bootstrap_band(
    values: ArrayLike,
    grid: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    resampling: Resampling = DEFAULTS,
) -> Band:
    """Return a pointwise percentile-bootstrap band of an EDF.

    Args:
        values: As in :func:`edf`, shape [N].
        grid: Where to read the function, shape [G].
        weights: As in :func:`edf`.
        clusters: Recipe of every value if recipes are replicated, shape [N].
        resampling: How to draw.
    """
    values_N, grid_G = checked("values", values), checked("grid", grid)
    function = edf(values_N, weights)
    weights_N = np.ones_like(values_N) if weights is None else np.asarray(weights, np.float64)
    counts_BN = resampling_counts(
        values_N.size, resampling.draws, rng=generator(resampling.seed, "edf"), clusters=clusters
    )
    mass_BN = counts_BN * weights_N
    below_NG = (values_N[:, None] < grid_G).astype(np.float64)
    curves_BG = (mass_BN @ below_NG) / mass_BN.sum(1, keepdims=True)
    return _pointwise(grid_G, function.at(grid_G), curves_BG, resampling.level)


def expected_best(values: ArrayLike, counts: ArrayLike) -> FloatArray:
    r"""Return the expected smallest of k draws without replacement, for every k, shape [K].

    .. math:: E_k = \sum_{i=1}^{n} e_{(i)} \binom{n-i}{k-1} / \binom{n}{k}

    Exact for a random search that tests k different recipes of this population.

    Args:
        values: Error or drop of every recipe, shape [N].
        counts: The values of k, integers in [1, N], shape [K].

    Raises:
        ValueError: a k is out of range.

    Example:
        >>> expected_best([1.0, 2.0, 4.0], [1, 2, 3]).round(6).tolist()
        [2.333333, 1.333333, 1.0]
    """
    sorted_N = np.sort(checked("values", values))
    return _chances_of_best(sorted_N.size, counts) @ sorted_N


def best_of_k_band(
    values: ArrayLike, counts: ArrayLike, *, resampling: Resampling = DEFAULTS
) -> Band:
    """Return the curve of :func:`expected_best` over k with a pointwise bootstrap band."""
    values_N = checked("values", values)
    chances_KN = _chances_of_best(values_N.size, counts)
    rng = generator(resampling.seed, "best of k")
    index_BN = rng.integers(values_N.size, size=(resampling.draws, values_N.size))
    curves_BK = np.sort(values_N[index_BN], axis=1) @ chances_KN.T
    curve_K = chances_KN @ np.sort(values_N)
    return _pointwise(np.asarray(counts, np.float64), curve_K, curves_BK, resampling.level)


def _chances_of_best(num: int, counts: ArrayLike) -> FloatArray:
    """Return the chance that the i-th smallest of n is the smallest of k drawn, shape [K, N]."""
    counts_K = np.asarray(counts, np.int64)
    if counts_K.size == 0 or counts_K.min() < 1 or counts_K.max() > num:
        raise ValueError(
            f"k = {counts_K.tolist()} was asked of a population of {num}; 1 <= k <= {num} is needed"
        )
    rank_N = np.arange(1, num + 1)
    rows = []
    for k in counts_K.tolist():
        # P(i is smallest) = P(1st is smallest) * prod of (n-j-k+1)/(n-j); logarithms of binomials
        # would lose digits.
        steps = np.maximum(num - rank_N[:-1] - k + 1, 0) / (num - rank_N[:-1])
        rows.append(k / num * np.concatenate([[1.0], np.cumprod(steps)]))
    return np.asarray(rows)


def _pointwise(
    grid_G: FloatArray, curve_G: FloatArray, curves_BG: FloatArray, level: float
) -> Band:
    low_G, high_G = np.quantile(curves_BG, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Band(
        grid=grid_G,
        curve=curve_G,
        low=low_G,
        high=high_G,
        level=level,
        method="percentile bootstrap, point by point",
    )
