"""The optimal ratio m* of a regime: where the expected drop is smallest, and how well that is known.

Shapes: N = recipes, B = bootstrap draws, G = grid of log m, P = columns of a design.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import BSpline

from sentei.seeding import derive_seed
from sentei.spaces.stats_base import (
    DEFAULTS,
    BoolArray,
    FloatArray,
    Interval,
    Observations,
    Resampling,
    check_bounds,
    generator,
    percentile_interval,
    resampling_counts,
)
from sentei.spaces.stats_regression import (
    Curve,
    curve,
    lowest,
    normal_equations,
    resampled_coefficients,
    standardised,
)

_GRID = 201  # points at which a spline is searched for its minimum
_KNOTS = 6  # inner knots; the penalty, not their number, sets the smoothness


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The ratio at which a fitted curve of the drop is smallest, within attainable bounds.

    Attributes:
        ratio: m*, inside ``bounds``.
        interval: Pairs-bootstrap interval of m*. A resample whose curve falls all the way puts its
            m* on a bound, so an interval that reaches a bound means an optimum not shown interior.
        bounds: The attainable bounds of m.
        at_bound: Share of the resamples whose m* lies on a bound, in [0, 1].
        curvature: Coefficient kappa of (log m)^2 in percentage points, or None for a spline.
        drop: Fitted drop at m*, covariates at their means.
        method: ``quadratic`` or ``spline``.
    """

    ratio: float
    interval: Interval
    bounds: tuple[float, float]
    at_bound: float
    curvature: float | None
    drop: float
    method: str

    @property
    def interior(self) -> bool:
        """Whether the interval stays clear of both bounds."""
        return self.interval.within(*self.bounds)


def extra_drop(curvature: float, factor: float) -> float:
    r"""Return :math:`\kappa (\ln factor)^2`, the drop lost ``factor`` away from the optimum.

    Example:
        >>> round(extra_drop(3.1, 1.5), 2)
        0.51
    """
    return curvature * math.log(factor) ** 2


def optimal_ratio(
    observations: Observations,
    *,
    bounds: tuple[float, float],
    resampling: Resampling = DEFAULTS,
) -> Optimum:
    """Return m* of the weighted regression of the drop on log m, (log m)^2 and the covariates.

    Args:
        observations: The population, N > 3 + number of covariates.
        bounds: Attainable bounds of m in this regime, 0 < low < high.
        resampling: How the pairs bootstrap draws.

    Raises:
        ValueError: the bounds are not increasing, or the design is not of full rank.
    """
    fit, log_bounds = curve(observations), check_bounds(bounds)
    coefficients = fit.problem.coefficients(observations.drop)
    draws_B = bootstrap_optima(observations, fit, log_bounds=log_bounds, resampling=resampling)
    best = float(lowest(coefficients, fit, log_bounds))
    return Optimum(
        ratio=math.exp(best),
        interval=percentile_interval(
            np.exp(draws_B), level=resampling.level, method="pairs bootstrap"
        ),
        bounds=bounds,
        at_bound=float(np.mean(_on_bound(draws_B, log_bounds))),
        curvature=float(coefficients[2]),
        drop=float((fit.value_weights(np.array([best])) @ coefficients)[0]),
        method="quadratic",
    )


def bootstrap_optima(
    observations: Observations,
    fit: Curve,
    *,
    log_bounds: tuple[float, float],
    resampling: Resampling,
) -> FloatArray:
    """Return log m* of every pairs-bootstrap resample, shape [B].

    The same seed and population size resample the same recipes, which pairs two measurements of
    one population.
    """
    mass_BN = resampling_counts(
        len(observations), resampling.draws, rng=generator(resampling.seed, "optimum")
    ) * np.square(fit.problem.root_weights)
    coefficients_BP = resampled_coefficients(fit.problem.columns, observations.drop, mass_BN)
    return lowest(coefficients_BP, fit, log_bounds)


@dataclass(frozen=True, kw_only=True)
class Shift:
    """How far apart two optimal ratios are.

    Attributes:
        factor: m* of the first over m* of the second, > 0; 1 means no shift.
        interval: Its bootstrap interval.
        error: Standard error of ``ln factor``.
    """

    factor: float
    interval: Interval
    error: float


def optimum_shift(
    first: Observations,
    second: Observations,
    *,
    bounds: tuple[float, float],
    paired: bool,
    resampling: Resampling = DEFAULTS,
) -> Shift:
    """Return by which factor the m* of two measurements differ.

    Args:
        first: One measurement.
        second: The other one.
        bounds: Attainable bounds of m.
        paired: Both measure the same recipes in the same order, and are resampled together.
        resampling: How the pairs bootstraps draw.

    Raises:
        ValueError: paired measurements have different ratios, or a design is not of full rank.
    """
    if paired and not np.array_equal(first.ratio, second.ratio):
        raise ValueError(
            "the two measurements have different ratios; pair the same recipes in the same order, "
            "or pass paired=False"
        )
    log_bounds = check_bounds(bounds)
    apart = replace(resampling, seed=derive_seed(resampling.seed, "second"))
    fits = [curve(first), curve(second)]
    draws_B = [
        bootstrap_optima(one, fit, log_bounds=log_bounds, resampling=how)
        for one, fit, how in zip(
            (first, second), fits, (resampling, resampling if paired else apart), strict=True
        )
    ]
    best = [
        float(lowest(fit.problem.coefficients(one.drop), fit, log_bounds))
        for one, fit in zip((first, second), fits, strict=True)
    ]
    gap_B = draws_B[0] - draws_B[1]
    return Shift(
        factor=math.exp(best[0] - best[1]),
        interval=percentile_interval(
            np.exp(gap_B),
            level=resampling.level,
            method="paired bootstrap" if paired else "two pairs bootstraps",
        ),
        error=float(gap_B.std()),
    )


def optimal_ratio_spline(
    observations: Observations,
    *,
    bounds: tuple[float, float],
    resampling: Resampling = DEFAULTS,
) -> Optimum:
    r"""Return m* of a penalised cubic spline in log m with linear covariates.

    A generalised additive model with normal errors: B-splines with a penalty on second differences
    whose strength minimises generalised cross-validation once, on the population itself. The curve
    is searched for its minimum only where both the data and the bounds reach.

    Source: Eilers and Marx, Statistical Science 1996 (P-splines).

    Args:
        observations: The population, at least 20 recipes.
        bounds: As in :func:`optimal_ratio`.
        resampling: How the pairs bootstrap draws.

    Raises:
        ValueError: there are too few recipes, or the bounds and the data do not overlap.
    """
    if len(observations) < 20:
        raise ValueError(
            f"a spline through {len(observations)} recipes means nothing; "
            f"use optimal_ratio or evaluate at least 20"
        )
    low, high = check_bounds(bounds)
    log_N = observations.log_ratio
    grid = np.linspace(max(low, log_N.min()), min(high, log_N.max()), _GRID)
    if grid[0] >= grid[-1]:
        raise ValueError(
            f"the ratios of the population do not overlap the bounds {bounds}; check the bounds"
        )
    knots = _knots(log_N)
    basis_NK = _basis(log_N, knots)
    shifts = [standardised(values) for values in observations.covariates.values()]
    columns = np.column_stack([basis_NK, *shifts])
    weights_N = np.ones(log_N.size) if observations.weights is None else observations.weights
    weights_N = weights_N / weights_N.mean()
    penalty = _chosen_penalty(columns, observations.drop, weights_N, num_basis=basis_NK.shape[1])
    coefficients = _penalised(columns, observations.drop, weights_N[None], penalty)[0]
    counts_BN = resampling_counts(
        len(observations), resampling.draws, rng=generator(resampling.seed, "optimum")
    )
    resampled_BP = _penalised(columns, observations.drop, counts_BN * weights_N, penalty)
    on_grid_GK = _basis(grid, knots)
    curve_G = on_grid_GK @ coefficients[: on_grid_GK.shape[1]]
    draws_B = grid[np.argmin(resampled_BP[:, : on_grid_GK.shape[1]] @ on_grid_GK.T, axis=1)]
    return Optimum(
        ratio=math.exp(grid[np.argmin(curve_G)]),
        interval=percentile_interval(
            np.exp(draws_B), level=resampling.level, method="pairs bootstrap, fixed smoothness"
        ),
        bounds=(math.exp(grid[0]), math.exp(grid[-1])),
        at_bound=float(np.mean(_on_bound(draws_B, (grid[0], grid[-1])))),
        curvature=None,
        drop=float(curve_G.min()),
        method="spline",
    )


def _on_bound(log_B: FloatArray, log_bounds: tuple[float, float]) -> BoolArray:
    return np.isclose(log_B, log_bounds[0]) | np.isclose(log_B, log_bounds[1])


def _knots(log_N: FloatArray) -> FloatArray:
    inner = np.linspace(log_N.min(), log_N.max(), _KNOTS + 2)
    return np.concatenate([[inner[0]] * 3, inner, [inner[-1]] * 3])


def _basis(log_ratio: FloatArray, knots: FloatArray) -> FloatArray:
    inside = np.clip(log_ratio, knots[0], knots[-1])
    return np.asarray(BSpline.design_matrix(inside, knots, 3).toarray())


def _penalised(
    columns: FloatArray, response: FloatArray, mass_BN: FloatArray, penalty: FloatArray
) -> FloatArray:
    """Return the penalised coefficients of every row of masses, shape [B, P]."""
    left, right = normal_equations(columns, response, mass_BN)
    return np.asarray(np.linalg.solve(left + penalty, right[..., None])[..., 0])


def _chosen_penalty(
    columns: FloatArray, response: FloatArray, weights_N: FloatArray, *, num_basis: int
) -> FloatArray:
    """Return the penalty matrix whose strength minimises generalised cross-validation."""
    differences = np.diff(np.eye(num_basis), n=2, axis=0)
    shape = np.zeros((columns.shape[1], columns.shape[1]))
    shape[:num_basis, :num_basis] = differences.T @ differences
    normal = columns.T @ (columns * weights_N[:, None])
    ridge = 1e-9 * np.trace(normal) / len(normal) * np.eye(len(normal))
    num = response.size

    def score(penalty: FloatArray) -> float:
        hat = columns @ np.linalg.solve(normal + penalty, columns.T * weights_N)
        error = float(weights_N @ np.square(response - hat @ response))
        return error / (num - float(np.trace(hat))) ** 2

    candidates = [strength * num * shape + ridge for strength in np.logspace(-5, 3, 25)]
    return min(candidates, key=score)
