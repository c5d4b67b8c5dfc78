"""Do the winners have the optimal ratio: m* from one half of a population, winners of the other.

A population that both sets m* and shows its winners agrees with itself by construction.

Shapes: N = recipes, S = splits, H = recipes of the second half, P = columns of a design.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from sentei.spaces.stats_base import (
    DEFAULTS,
    FloatArray,
    IntArray,
    Interval,
    Observations,
    Resampling,
    Share,
    check_bounds,
    check_fraction,
    generator,
    permutation_p,
)
from sentei.spaces.stats_regression import Curve, curve, lowest, normal_equations


@dataclass(frozen=True, kw_only=True)
class Concentration:
    """How much nearer to an independent m* the winners are than the other recipes.

    Attributes:
        auc: Chance that a winner is nearer to m* in log m than another recipe, mean over the
            splits, in [0, 1]; .5 says nothing.
        error: Standard error of ``auc``.
        interval: Its interval.
        p_value: Share of the populations with permuted drops whose ``auc`` is as large.
        splits: Number of splits.
    """

    auc: float
    error: float
    interval: Interval
    p_value: Share
    splits: int


def split_concentration(
    observations: Observations,
    *,
    bounds: tuple[float, float],
    share: float = 0.05,
    splits: int = 200,
    resampling: Resampling = DEFAULTS,
) -> Concentration:
    r"""Return how concentrated around m* of one half the winners of the other half are.

    Each split fits the quadratic of the drop in log m on a random half and compares
    :math:`|\ln(m / m^*)|` of the best ``share`` of the other half with that of the rest
    (the Mann-Whitney statistic over its maximum). The splits share their recipes, so the variance
    of their mean is :math:`(1/S + n_B / n_A) s^2` with s^2 their variance.

    Source: Nadeau and Bengio, Machine Learning 2003 (the variance).

    Args:
        observations: The population, at least 20 recipes.
        bounds: Attainable bounds of m.
        share: Share of a half that wins, in (0, 1); at least one recipe, and those tied with the
            last.
        splits: Number of random splits, >= 2.
        resampling: Level; number of permutations; seed.

    Raises:
        ValueError: there are too few recipes or splits, or the share is out of range.
    """
    check_fraction("share", share)
    if len(observations) < 20 or splits < 2:
        raise ValueError(
            f"{len(observations)} recipes in {splits} splits were given; at least 20 recipes and 2 "
            f"splits are needed"
        )
    rng = generator(resampling.seed, "split")
    half = len(observations) // 2
    order_SN = np.argsort(rng.random((splits, len(observations))), axis=1)
    halves = _Halves(observations, order_SN, half, check_bounds(bounds))
    auc_S = halves.auc(observations.drop, share)
    null = np.array(
        [
            halves.auc(rng.permutation(observations.drop), share).mean()
            for _ in range(resampling.draws)
        ]
    )
    mean = float(auc_S.mean())
    sizes = (len(observations) - half) / half
    error = math.sqrt((1 / splits + sizes) * float(auc_S.var(ddof=1)))
    reach = float(stats.t.ppf((1 + resampling.level) / 2, splits - 1)) * error
    return Concentration(
        auc=mean,
        error=error,
        interval=Interval(
            low=max(0.0, mean - reach),
            high=min(1.0, mean + reach),
            level=resampling.level,
            method="corrected resampled t",
        ),
        p_value=permutation_p(null, mean),
        splits=splits,
    )


class _Halves:
    """The splits of a design, factored once for any number of drops."""

    def __init__(
        self,
        observations: Observations,
        order_SN: IntArray,
        half: int,
        log_bounds: tuple[float, float],
    ) -> None:
        self._curve: Curve = curve(observations)
        self._log_bounds = log_bounds
        self._other_SH = order_SN[:, half:]
        self._log_SH = observations.log_ratio[self._other_SH]
        inside_SN = np.zeros(order_SN.shape)
        np.put_along_axis(inside_SN, order_SN[:, :half], 1.0, axis=1)
        self._mass_SN = inside_SN * np.square(self._curve.problem.root_weights)
        left, _ = normal_equations(
            self._curve.problem.columns, np.zeros(order_SN.shape[1]), self._mass_SN
        )
        self._inverse_SPP = np.linalg.pinv(left, hermitian=True)

    def auc(self, drop_N: FloatArray, share: float) -> FloatArray:
        """Return how much nearer the winners are in every split, shape [S]."""
        right_SP = self._mass_SN @ (self._curve.problem.columns * drop_N[:, None])
        coefficients_SP = np.einsum("spq,sq->sp", self._inverse_SPP, right_SP)
        best_S = lowest(coefficients_SP, self._curve, self._log_bounds)
        near_SH = np.abs(self._log_SH - best_S[:, None])
        drop_SH = drop_N[self._other_SH]
        size = drop_SH.shape[1]
        wanted = max(1, math.ceil(share * size - 1e-9))
        last_S = np.partition(drop_SH, wanted - 1, axis=1)[:, wanted - 1]
        wins_SH = drop_SH <= last_S[:, None]
        num_S = wins_SH.sum(1)
        # Mann-Whitney: pairs in which the winner is farther, from the ranks of the distances.
        farther_S = (stats.rankdata(near_SH, axis=1) * wins_SH).sum(1) - num_S * (num_S + 1) / 2
        pairs_S = num_S * (size - num_S)
        # A half whose drops are all tied has no winners, and no pairs to compare.
        return np.where(pairs_S > 0, 1 - farther_S / np.maximum(pairs_S, 1), 0.5)
