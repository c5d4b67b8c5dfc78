"""How much of the spread of a population is noise: repeats of the same recipes tell.

Shapes: N = evaluations, K = recipes.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sentei.spaces.stats_base import Interval, check_fraction, checked, same_length


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Variance of the drops between recipes and between trainings of one recipe.

    Attributes:
        reliability: lambda = structure variance / (structure + seed variance), in [0, 1]: the
            share of the variance of a single evaluation that another training would show again.
        reliability_interval: Its interval, within [0, 1].
        seed_sd: Standard deviation between trainings of one recipe, in percentage points.
        seed_interval: Its interval.
        structure_sd: Standard deviation between recipes, in percentage points.
        recipes: Number of recipes K.
        evaluations: Number of evaluations N.
        f: Ratio of the mean squares between and within recipes.
        p_value: p-value of the test that recipes do not differ at all.
    """

    reliability: float
    reliability_interval: Interval
    seed_sd: float
    seed_interval: Interval
    structure_sd: float
    recipes: int
    evaluations: int
    f: float
    p_value: float


def noise(drop: ArrayLike, recipe: ArrayLike, *, level: float = 0.95) -> Noise:
    r"""Return the variance components of a one-way analysis of variance with random recipes.

    .. math::
        \hat\sigma_{seed}^2 = MS_w, \qquad
        \hat\sigma_{structure}^2 = \max(0, (MS_b - MS_w) / n_0), \qquad
        n_0 = (N - \sum_k n_k^2 / N) / (K - 1)

    Recipes evaluated once count in the variance between recipes. The interval of the reliability
    inverts :math:`F = MS_b / MS_w \sim (1 + n_0 \theta) F_{K-1, N-K}` with
    :math:`\theta = \sigma_{structure}^2 / \sigma_{seed}^2`: exact for normal drops where all
    recipes have as many replicates, approximate otherwise.

    Source: Searle, Casella and McCulloch, Variance Components, 1992.

    Args:
        drop: Drop of every evaluation, shape [N].
        recipe: Recipe of every evaluation, shape [N].
        level: Confidence level, in (0, 1).

    Raises:
        ValueError: fewer than two recipes, none evaluated twice, or replicates that agree exactly.
    """
    check_fraction("level", level)
    drop_N = checked("drop", drop)
    labels, index_N = np.unique(np.asarray(recipe), return_inverse=True)
    num, groups = same_length(drop=drop_N, recipe=index_N), labels.size
    if groups < 2 or num == groups:
        raise ValueError(
            f"{num} evaluations of {groups} recipes cannot tell noise from structure; "
            f"evaluate at least two recipes, some of them with several seeds"
        )
    counts_K = np.bincount(index_N)
    means_K = np.bincount(index_N, weights=drop_N) / counts_K
    within = float(np.square(drop_N - means_K[index_N]).sum()) / (num - groups)
    if within <= 1e-24 * max(1.0, float(np.square(drop_N).max())):
        raise ValueError(
            "all replicates of a recipe agree exactly; give them different training seeds"
        )
    between = float(counts_K @ np.square(means_K - drop_N.mean())) / (groups - 1)
    size = float(num - np.square(counts_K).sum() / num) / (groups - 1)
    structure = max(0.0, (between - within) / size)
    f = between / within
    tails = ((1 + level) / 2, (1 - level) / 2)
    critical = stats.f.ppf(tails, groups - 1, num - groups)
    chi = stats.chi2.ppf(tails, num - groups)
    return Noise(
        reliability=structure / (structure + within),
        reliability_interval=_interval([_reliability(f / c, size) for c in critical], level, "F"),
        seed_sd=math.sqrt(within),
        seed_interval=_interval(
            [math.sqrt((num - groups) * within / c) for c in chi], level, "chi-squared"
        ),
        structure_sd=math.sqrt(structure),
        recipes=groups,
        evaluations=num,
        f=f,
        p_value=float(stats.f.sf(f, groups - 1, num - groups)),
    )


def _reliability(ratio: float, size: float) -> float:
    """Return lambda from F over its quantile: theta = (ratio - 1) / size, theta / (1 + theta)."""
    return max(0.0, (ratio - 1) / (ratio - 1 + size))


def _interval(ends: list[float], level: float, name: str) -> Interval:
    low, high = (float(end) for end in ends)
    return Interval(low=low, high=high, level=level, method=f"{name} distribution")
