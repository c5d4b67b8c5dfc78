"""The ratios of a population's winners as a band, always beside the band that chance would give.

A winners' band is tight wherever the population is dense, with or without an effect, so it is
evidence only if it is narrower than the bands of permuted populations.

Shapes: N = recipes, B = permutations.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from sentei.registry import Registry
from sentei.spaces.stats_base import (
    DEFAULTS,
    BoolArray,
    FloatArray,
    Resampling,
    Share,
    check_fraction,
    checked,
    generator,
    permutation_p,
    same_length,
)


class WinnerRule(Protocol):
    """Which recipes of a population count as its winners, and how much."""

    def weights(self, drop_N: FloatArray) -> FloatArray:
        """Return the weight of every recipe among the winners, sum 1, shape [N]."""
        ...


WINNERS: Registry[Callable[..., WinnerRule]] = Registry("winner rule")


@WINNERS.register("best1")
@dataclass(frozen=True, kw_only=True)
class Best:
    """The recipe of the smallest drop; tied ones share."""

    def weights(self, drop_N: FloatArray) -> FloatArray:
        """Return 1 / ties for the best recipes."""
        return _equal(drop_N == drop_N.min())


@WINNERS.register("top_q")
@dataclass(frozen=True, kw_only=True)
class TopShare:
    """The best share q of the population, at least one recipe, and those tied with its last.

    Args:
        q: The share, in (0, 1).

    Raises:
        ValueError: ``q`` is out of range.
    """

    q: float = 0.05

    def __post_init__(self) -> None:
        check_fraction("q", self.q)

    def weights(self, drop_N: FloatArray) -> FloatArray:
        """Return equal weights for the best share."""
        num = max(1, math.ceil(self.q * drop_N.size - 1e-9))
        return _equal(drop_N <= np.partition(drop_N, num - 1)[num - 1])


@WINNERS.register("within_eps")
@dataclass(frozen=True, kw_only=True)
class WithinEps:
    """Every recipe whose drop is within ``eps`` of the best.

    Args:
        eps: Percentage points, >= 0; the noise of one evaluation is a good choice.

    Raises:
        ValueError: ``eps`` is negative.
    """

    eps: float

    def __post_init__(self) -> None:
        if self.eps < 0:
            raise ValueError(f"eps is {self.eps}; a drop >= 0 in percentage points was expected")

    def weights(self, drop_N: FloatArray) -> FloatArray:
        """Return equal weights for the recipes near the best."""
        return _equal(drop_N <= drop_N.min() + self.eps)


@WINNERS.register("bootstrap_best")
@dataclass(frozen=True, kw_only=True)
class BootstrapBest:
    r"""The best of a resample, over resamples of a share of the population with replacement.

    The i-th best of n recipes is the best of k draws with probability
    :math:`((n - i + 1)/n)^k - ((n - i)/n)^k`.

    Source: Radosavovic et al., CVPR 2020, arXiv:2003.13678, footnote 4 (25 %, 10^4 resamples).
    Difference: these exact probabilities, the limit of infinitely many resamples, replace the
    resampling; tied recipes share theirs.

    Args:
        share: Size of a resample relative to the population, > 0; at least one draw.

    Raises:
        ValueError: ``share`` is not positive.
    """

    share: float = 0.25

    def __post_init__(self) -> None:
        if self.share <= 0:
            raise ValueError(f"share is {self.share}; a positive number was expected")

    def weights(self, drop_N: FloatArray) -> FloatArray:
        """Return the probability of every recipe to be the best of a resample."""
        num = drop_N.size
        draws = max(1, round(self.share * num))
        _, level_N, ties = np.unique(drop_N, return_inverse=True, return_counts=True)
        better = np.cumsum(ties) - ties
        chance = ((num - better) / num) ** draws - ((num - better - ties) / num) ** draws
        return np.asarray((chance / ties)[level_N])


@dataclass(frozen=True, kw_only=True, eq=False)
class WinnersBand:
    """The ratios of the winners, and the same for populations whose drops are permuted.

    Attributes:
        median: Weighted median of the winners' ratios.
        low: Their weighted quantile at ``(1 - level) / 2``.
        high: Their weighted quantile at ``(1 + level) / 2``.
        level: Share of the winners inside the band, in (0, 1).
        null_low: Median lower edge of the permuted populations' bands.
        null_high: Median upper edge of the permuted populations' bands.
        null_factors: ``high / low`` of every permuted population, shape [B].
        p_value: Share of permuted populations whose band is as narrow as this one; the band says
            something about the ratio only if this is small.
    """

    median: float
    low: float
    high: float
    level: float
    null_low: float
    null_high: float
    null_factors: FloatArray
    p_value: Share

    @property
    def factor(self) -> float:
        """Width of the band, ``high / low`` >= 1."""
        return self.high / self.low

    def narrower_than_chance(self, alpha: float = 0.05) -> bool:
        """Return whether fewer than ``alpha`` of the permuted populations are as narrow."""
        return self.p_value.value < alpha


def winners_band(
    ratio: ArrayLike, drop: ArrayLike, *, rule: WinnerRule, resampling: Resampling = DEFAULTS
) -> WinnersBand:
    """Return the band of the winners' ratios beside its permutation null.

    Args:
        ratio: MACs per parameter relative to the dense network, > 0, shape [N].
        drop: Accuracy drop of every recipe, shape [N].
        rule: Who wins.
        resampling: Level of the band; number of permutations; seed.

    Raises:
        ValueError: lengths differ, a value is not finite, or a ratio is not positive.
    """
    ratio_N, drop_N = checked("ratio", ratio), checked("drop", drop)
    same_length(ratio=ratio_N, drop=drop_N)
    if ratio_N.min() <= 0:
        raise ValueError(f"the smallest value of ratio is {ratio_N.min()}; all must be > 0")
    order = np.argsort(ratio_N, kind="stable")
    log_N = np.log(ratio_N[order])
    weights_N = rule.weights(drop_N)[order]
    shares = ((1 - resampling.level) / 2, 0.5, (1 + resampling.level) / 2)
    low, median, high = _weighted_quantiles(log_N, weights_N[None], shares)[0].tolist()
    shuffled_BN = generator(resampling.seed, "winners").permuted(
        np.tile(weights_N, (resampling.draws, 1)), axis=1
    )
    null_B3 = _weighted_quantiles(log_N, shuffled_BN, shares)
    widths_B = null_B3[:, 2] - null_B3[:, 0]
    return WinnersBand(
        median=math.exp(median),
        low=math.exp(low),
        high=math.exp(high),
        level=resampling.level,
        null_low=math.exp(np.median(null_B3[:, 0])),
        null_high=math.exp(np.median(null_B3[:, 2])),
        null_factors=np.exp(widths_B),
        p_value=permutation_p(-widths_B, -(high - low)),
    )


def _weighted_quantiles(
    sorted_N: FloatArray, weights_BN: FloatArray, shares: tuple[float, ...]
) -> FloatArray:
    """Return the smallest value below or at which each share of the weight lies, shape [B, S]."""
    heights_BN = np.cumsum(weights_BN, axis=1)
    # A height reached up to rounding counts as reached.
    index_BS = np.stack([(heights_BN < share - 1e-9).sum(1) for share in shares], axis=1)
    return sorted_N[np.minimum(index_BS, sorted_N.size - 1)]


def _equal(chosen_N: BoolArray) -> FloatArray:
    return chosen_N / np.count_nonzero(chosen_N)
