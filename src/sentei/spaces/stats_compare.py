"""Two populations, or all pairs of several: is one better, by how much, and how sure are we.

Values are errors or drops, so *better* is smaller. Shapes: A, B = recipes of the two populations.
"""

import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sentei.spaces.stats_base import (
    DEFAULTS,
    FloatArray,
    Interval,
    Resampling,
    check_fraction,
    checked,
    generator,
)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A difference ``first - second`` of a statistic.

    Attributes:
        estimate: The difference, in the unit of the values; negative means the first is better.
        interval: Its bootstrap interval.
    """

    estimate: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How two populations differ.

    Attributes:
        ks: Largest distance of the two EDFs, in [0, 1].
        ks_p: p-value of the two-sided Kolmogorov-Smirnov test: exact, or asymptotic where the exact
            sums overflow.
        ks_better_p: p-value of the one-sided test that the first EDF lies above the second
            somewhere (the first is better).
        mann_whitney_p: p-value of the two-sided Mann-Whitney test.
        cliffs_delta: P(first < second) - P(first > second), in [-1, 1]; positive means the first
            is better.
        mean: Difference of the means.
        quantile: Difference of the quantiles at ``quantile_level``.
        quantile_level: Which quantile.
        ks_adjusted_p: ``ks_p`` after Holm's correction over all pairs compared together.
    """

    ks: float
    ks_p: float
    ks_better_p: float
    mann_whitney_p: float
    cliffs_delta: float
    mean: Difference
    quantile: Difference
    quantile_level: float
    ks_adjusted_p: float


def compare(
    first: ArrayLike,
    second: ArrayLike,
    *,
    quantile_level: float = 0.05,
    resampling: Resampling = DEFAULTS,
) -> Comparison:
    """Compare two populations of errors or drops.

    Args:
        first: Values of the first population, shape [A], A >= 2.
        second: Values of the second population, shape [B], B >= 2.
        quantile_level: The good quantile to compare, in (0, 1).
        resampling: How the BCa bootstrap draws.

    Raises:
        ValueError: a population is too small or holds a NaN, or the level is out of range.
    """
    check_fraction("quantile_level", quantile_level)
    first_A, second_B = checked("first", first, least=2), checked("second", second, least=2)
    two_sided = _kolmogorov(first_A, second_B, "two-sided")
    ranks = stats.mannwhitneyu(first_A, second_B)

    def quantile(values: FloatArray, axis: int = -1) -> FloatArray:
        return np.asarray(np.quantile(values, quantile_level, axis=axis))

    return Comparison(
        ks=float(two_sided.statistic),
        ks_p=float(two_sided.pvalue),
        ks_better_p=float(_kolmogorov(first_A, second_B, "greater").pvalue),
        mann_whitney_p=float(ranks.pvalue),
        cliffs_delta=float(1 - 2 * ranks.statistic / (first_A.size * second_B.size)),
        mean=difference(first_A, second_B, statistic=np.mean, resampling=resampling),
        quantile=difference(first_A, second_B, statistic=quantile, resampling=resampling),
        quantile_level=quantile_level,
        ks_adjusted_p=float(two_sided.pvalue),
    )


def _kolmogorov(first_A: FloatArray, second_B: FloatArray, alternative: str) -> Any:  # noqa: ANN401
    """Return scipy's Kolmogorov-Smirnov test: exact, or asymptotic where exact sums overflow."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "ks_2samp: Exact calculation unsuccessful")
        return stats.ks_2samp(first_A, second_B, alternative=alternative)


def difference(
    first_A: FloatArray,
    second_B: FloatArray,
    *,
    statistic: Callable[..., FloatArray],
    resampling: Resampling = DEFAULTS,
) -> Difference:
    """Return ``statistic(first) - statistic(second)`` with its BCa interval.

    Where BCa does not exist (no resample differs from the estimate on one side, as for constant
    populations) the percentile interval is given, and its ``method`` says so.

    Args:
        first_A: Values of the first population, shape [A].
        second_B: Values of the second population, shape [B].
        statistic: Maps values to a number, along ``axis``.
        resampling: How to draw.

    Source: Efron, JASA 1987 (BCa), as scipy.stats.bootstrap computes it.
    """

    def of_both(x: FloatArray, y: FloatArray, axis: int = -1) -> FloatArray:
        return statistic(x, axis=axis) - statistic(y, axis=axis)

    def ends(method: str) -> tuple[float, float]:
        found = stats.bootstrap(
            (first_A, second_B),
            of_both,
            n_resamples=resampling.draws,
            confidence_level=resampling.level,
            method=method,
            rng=generator(resampling.seed, "difference"),
        ).confidence_interval
        return float(found.low), float(found.high)

    with warnings.catch_warnings():
        # A degenerate bootstrap is answered below, by name.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        (low, high), name = ends("BCa"), "BCa bootstrap"
    if not np.isfinite([low, high]).all():
        (low, high), name = ends("percentile"), "percentile bootstrap, BCa does not exist"
    return Difference(
        estimate=float(of_both(first_A, second_B)),
        interval=Interval(low=low, high=high, level=resampling.level, method=name),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values after Holm's step-down correction, in the order given.

    Source: Holm, Scandinavian Journal of Statistics 1979.

    Raises:
        ValueError: a p-value is not in [0, 1].

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    p_M = np.asarray(p_values, np.float64)
    if p_M.size and not (p_M.min() >= 0 and p_M.max() <= 1):
        raise ValueError(f"p-values {p_M.tolist()} were given; all must be in [0, 1]")
    order = np.argsort(p_M, kind="stable")
    stepped = np.maximum.accumulate((p_M.size - np.arange(p_M.size)) * p_M[order])
    adjusted = np.empty_like(p_M)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted.tolist()


def compare_all(
    populations: Mapping[str, ArrayLike],
    *,
    quantile_level: float = 0.05,
    resampling: Resampling = DEFAULTS,
) -> dict[tuple[str, str], Comparison]:
    """Compare every pair of populations, with Holm's correction of the KS test over the pairs.

    Args:
        populations: Name -> values, two or more populations.
        quantile_level: As in :func:`compare`.
        resampling: As in :func:`compare`; its level is not corrected for the number of pairs.

    Returns:
        (first, second) -> comparison, in the order of ``populations``.

    Raises:
        ValueError: there are fewer than two populations.
    """
    if len(populations) < 2:
        raise ValueError(f"{len(populations)} populations were given; at least two are needed")
    pairs = list(itertools.combinations(populations, 2))
    found = [
        compare(
            populations[one],
            populations[other],
            quantile_level=quantile_level,
            resampling=resampling,
        )
        for one, other in pairs
    ]
    adjusted = holm([comparison.ks_p for comparison in found])
    return {
        pair: replace(comparison, ks_adjusted_p=p)
        for pair, comparison, p in zip(pairs, found, adjusted, strict=True)
    }
