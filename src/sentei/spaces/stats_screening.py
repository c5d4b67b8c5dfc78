"""What is lost where a cheap score chooses the recipes that are evaluated in full.

Scores are drops, so small is good in both. Shapes: N = recipes.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sentei.spaces.stats_base import (
    DEFAULTS,
    FloatArray,
    Resampling,
    check_fraction,
    checked,
    generator,
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


def screening_loss(proxy: ArrayLike, full: ArrayLike, *, keep: int) -> float:
    """Return how much worse the best of the ``keep`` best by proxy is than the best of all.

    Args:
        proxy: Cheap score, shape [N]; small is good, ties in the order given.
        full: Full score, shape [N].
        keep: Recipes that are evaluated in full, in [1, N].

    Raises:
        ValueError: lengths differ, or ``keep`` is out of range.
    """
    proxy_N, full_N = checked("proxy", proxy), checked("full", full)
    _check_keep(keep, same_length(proxy=proxy_N, full=full_N))
    kept = np.argsort(proxy_N, kind="stable")[:keep]
    return float(full_N[kept].min() - full_N.min())


@dataclass(frozen=True, kw_only=True)
class Regret:
    """What screening by a proxy is expected to lose.

    Attributes:
        value: Expected distance to the best of all, in standard deviations of the population.
        mc_error: Its Monte-Carlo standard error.
        draws: Simulated populations.
    """

    value: float
    mc_error: float
    draws: int


def expected_regret(
    tau: float, *, num: int, keep: int, resampling: Resampling = DEFAULTS
) -> Regret:
    r"""Return the expected loss of screening ``num`` recipes down to ``keep`` by a proxy.

    Proxy and full score are normal with correlation :math:`\rho = \sin(\pi \tau / 2)`, which gives
    them Kendall's tau ``tau``. With ``tau = 0`` this is the regret of a random search.

    Args:
        tau: Kendall's tau of proxy and full score, in [-1, 1].
        num: Recipes screened.
        keep: Recipes evaluated in full, in [1, num].
        resampling: Number of simulated populations; seed.

    Raises:
        ValueError: ``tau`` or ``keep`` is out of range.
    """
    if not -1 <= tau <= 1:
        raise ValueError(f"tau is {tau}; a rank correlation in [-1, 1] was expected")
    _check_keep(keep, num)
    rho = math.sin(math.pi * tau / 2)
    rng = generator(resampling.seed, "regret")
    losses = np.empty(resampling.draws)
    for draw in range(resampling.draws):
        full_N, other_N = rng.standard_normal((2, num))
        proxy_N = rho * full_N + math.sqrt(1 - rho**2) * other_N
        kept = np.argpartition(proxy_N, keep - 1)[:keep]
        losses[draw] = full_N[kept].min() - full_N.min()
    return Regret(
        value=float(losses.mean()),
        mc_error=float(losses.std()) / math.sqrt(resampling.draws),
        draws=resampling.draws,
    )


def _chosen(scores_N: FloatArray, count: int) -> FloatArray:
    """Return the chance of every recipe to be among the ``count`` smallest, shape [N]."""
    ranks = stats.rankdata(scores_N, method="min") - 1  # how many are better
    ties = stats.rankdata(scores_N, method="max") - ranks
    return np.clip((count - ranks) / ties, 0, 1)


def _check_keep(keep: int, num: int) -> None:
    if not 1 <= keep <= num:
        raise ValueError(f"keep is {keep} of {num} recipes; 1 <= keep <= {num} is needed")
