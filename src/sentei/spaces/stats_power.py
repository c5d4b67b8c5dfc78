"""What a study could have found: the power of its design, and the smallest effect it can detect.

Shapes: N = recipes, R = simulated populations.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from sentei.spaces.simulate import Effect, simulated_drops
from sentei.spaces.stats_base import (
    DEFAULTS,
    Observations,
    Resampling,
    Share,
    check_bounds,
    check_fraction,
    generator,
    share_of,
)
from sentei.spaces.stats_existence import two_lines, valley_p
from sentei.spaces.stats_optimum import extra_drop
from sentei.spaces.stats_regression import curve

_LARGEST = 1e6  # percentage points; an effect that is not found at this curvature never is


def optimum_power(
    observations: Observations,
    effect: Effect,
    *,
    bounds: tuple[float, float],
    both: bool = False,
    simulation: Resampling = DEFAULTS,
) -> Share:
    """Return how often Lind and Mehlum's test rejects on populations of this design.

    The ratios, covariates and weights are those of ``observations``; its drops are replaced by
    simulated ones of equal variance. With ``curvature=0`` this is the size of the test.

    Args:
        observations: The design.
        effect: How simulated drops come about.
        bounds: Attainable bounds of m.
        both: Whether the two lines must reject as well; about a millisecond a population.
        simulation: Number of simulated populations; the test's level is 1 - ``level``; seed.

    Raises:
        ValueError: the bounds are not increasing, or the design is not of full rank.
    """
    log_bounds = check_bounds(bounds)
    drops_NR = simulated_drops(
        observations.log_ratio,
        effect,
        rng=generator(simulation.seed, "power"),
        rounds=simulation.draws,
    )
    alpha = 1 - simulation.level
    found = valley_p(curve(observations), drops_NR, log_bounds) < alpha
    if both:
        for index in np.flatnonzero(found):
            simulated = replace(observations, drop=drops_NR[:, index])
            found[index] = two_lines(simulated).p_value < alpha
    return share_of(int(found.sum()), simulation.draws)


@dataclass(frozen=True, kw_only=True)
class Detectable:
    """The smallest effect that a design finds with the wanted power.

    Attributes:
        curvature: kappa in percentage points.
        loss: Drop lost at ``factor`` times the optimum, in percentage points.
        factor: At which distance from the optimum the loss is stated.
        power: The simulated power at this curvature.
    """

    curvature: float
    loss: float
    factor: float
    power: Share


def detectable_effect(
    observations: Observations,
    effect: Effect,
    *,
    bounds: tuple[float, float],
    power: float = 0.8,
    factor: float = 1.5,
    simulation: Resampling = DEFAULTS,
) -> Detectable:
    """Return the minimum detectable curvature of a design, to 1 %, by bisection.

    All curvatures are tried on the same simulated noise, so that power rises with curvature.

    Args:
        observations: The design, as in :func:`optimum_power`.
        effect: Noise and place of the optimum; its curvature is replaced.
        bounds: Attainable bounds of m.
        power: Wanted power, in (0, 1).
        factor: Distance from the optimum at which its loss is stated, > 1.
        simulation: Number of simulated populations; the test's level is 1 - ``level``; seed.

    Raises:
        ValueError: no curvature reaches the power: the optimum is not inside the bounds.
    """
    check_fraction("power", power)

    def reached(curvature: float) -> Share:
        tried = replace(effect, curvature=curvature)
        return optimum_power(observations, tried, bounds=bounds, simulation=simulation)

    low, high = 0.0, 0.1
    while reached(high).value < power:
        low, high = high, 2 * high
        if high > _LARGEST:
            raise ValueError(
                f"no curvature gives a power of {power} for an optimum at {effect.optimum} within "
                f"{bounds}; place the optimum well inside the bounds"
            )
    while high - low > 0.01 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle).value >= power else (middle, high)
    return Detectable(
        curvature=high, loss=extra_drop(high, factor), factor=factor, power=reached(high)
    )


def normal_power(
    effect: float, error: float, *, alpha: float = 0.05, sides: int = 2, dof: int | None = None
) -> float:
    r"""Return the power of a z-test, :math:`\Phi(|effect| / error - z_{1 - \alpha / sides})`.

    The chance to reject in the wrong direction is left out.

    Args:
        effect: True distance from the null.
        error: Standard error of its estimate, >= 0.
        alpha: Level of the test, in (0, 1).
        sides: 1 or 2.
        dof: Degrees of freedom of the error, whose t replaces z; None where it is known.

    Example:
        >>> round(normal_power(2.8, 1.0), 2)
        0.8
    """
    check_fraction("alpha", alpha)
    if error <= 0:
        return 1.0 if effect else 0.0
    normal = dof is None
    critical = stats.norm.ppf(1 - alpha / sides) if normal else stats.t.ppf(1 - alpha / sides, dof)
    return float(stats.norm.cdf(abs(effect) / error - critical))


def mean_power(effect: float, spread: float, num: int, *, alpha: float = 0.05) -> float:
    r"""Return the power of a two-sided one-sample t-test of normal values.

    The mean over the estimated spread s of :math:`\Phi(d - c s)`, with d the true mean in standard
    errors and c the critical t, on 2000 quantiles of s. The chance to reject in the wrong direction
    is left out.

    Args:
        effect: True mean.
        spread: Standard deviation of the values, > 0.
        num: Number of values, >= 2.
        alpha: Level of the test, in (0, 1).
    """
    check_fraction("alpha", alpha)
    dof = num - 1
    quantiles = (np.arange(2000) + 0.5) / 2000
    scale = np.sqrt(stats.chi2.ppf(quantiles, dof) / dof)
    distance = abs(effect) / spread * math.sqrt(num)
    return float(stats.norm.cdf(distance - stats.t.ppf(1 - alpha / 2, dof) * scale).mean())
