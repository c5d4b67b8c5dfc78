"""Is there an optimum inside the attainable range, or does the drop fall all the way, or not at all.

All tests are on the drop, so an interior optimum is a valley: the slope is negative at the low end
and positive at the high end. Shapes: N = recipes, G = grid of log m.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.optimize import lsq_linear

from sentei.spaces.stats_base import FloatArray, Observations, check_bounds
from sentei.spaces.stats_regression import (
    Curve,
    curve,
    least_squares,
    lowest,
    one_sided_p,
    standardised,
)


@dataclass(frozen=True, kw_only=True)
class Valley:
    """Two slopes and the test that the first is negative and the second positive.

    Attributes:
        slope_low: Slope at the low side, percentage points per unit of log m.
        slope_high: Slope at the high side.
        error_low: Standard error of ``slope_low`` (HC3).
        error_high: Standard error of ``slope_high``.
        p_value: The larger of the two one-sided p-values, an intersection-union test.
        turn: m at which the slope changes: the vertex inside the bounds, or the break.
    """

    slope_low: float
    slope_high: float
    error_low: float
    error_high: float
    p_value: float
    turn: float


def lind_mehlum(observations: Observations, *, bounds: tuple[float, float]) -> Valley:
    """Test for a valley by the slopes of the fitted quadratic at both attainable bounds.

    Source: Lind and Mehlum, Oxford Bulletin of Economics and Statistics 2010.

    Args:
        observations: The population.
        bounds: Attainable bounds of m in the regime, not the range that happened to be sampled.

    Raises:
        ValueError: the bounds are not increasing, or the regression is not of full rank.
    """
    fit, log_bounds = curve(observations), check_bounds(bounds)
    sides = [
        fit.problem.contrast(observations.drop, fit.slope_weights(bound)) for bound in log_bounds
    ]
    best = lowest(fit.problem.coefficients(observations.drop), fit, log_bounds)
    return _valley(sides, fit.problem.dof, turn=float(np.exp(best)))


def valley_p(fit: Curve, drops: FloatArray, log_bounds: tuple[float, float]) -> FloatArray:
    """Return Lind and Mehlum's p-value of many drops of one design at once, shape [R].

    Args:
        fit: The design, of degree 2.
        drops: Shape [N, R].
        log_bounds: Logarithms of the attainable bounds.
    """
    low, high = (fit.problem.contrast(drops, fit.slope_weights(bound)) for bound in log_bounds)
    dof = fit.problem.dof
    return np.maximum(one_sided_p(-low[0], low[1], dof), one_sided_p(high[0], high[1], dof))


def two_lines(observations: Observations) -> Valley:
    """Test for a valley by two straight lines, without assuming a quadratic.

    The break is set where the fitted quadratic's flat region, split in proportion to the strength
    of the two slopes, favours the weaker line (the "Robin Hood" rule); an interrupted regression,
    a line on each side with a jump between, then gives the slopes.

    Source: Simonsohn, Advances in Methods and Practices in Psychological Science 2018.
    Difference: the first curve is the quadratic of :func:`lind_mehlum` rather than a smoothing
    spline, the flat region is where it lies within one standard error of its lowest value, and
    each side keeps at least a tenth of the recipes (and 3).

    Raises:
        ValueError: there are fewer than 10 recipes, or too few different ratios.
    """
    if len(observations) < 10:
        raise ValueError(
            f"two lines through {len(observations)} recipes mean nothing; evaluate at least 10"
        )
    flat = _flat_region(observations)
    sides, _, _ = _interrupted(observations, float(np.median(flat)))
    strength = [abs(float(slope)) / max(float(error), 1e-300) for slope, error in sides]
    # A stronger right line gives up recipes: the break then moves right.
    share = strength[1] / sum(strength) if sum(strength) > 0 else 0.5
    sides, dof, point = _interrupted(observations, float(np.quantile(flat, share)))
    return _valley(sides, dof, turn=float(np.exp(point)))


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Which shape explains the drops: monotone in the ratio, or with a turn.

    Attributes:
        aic_flat: Akaike's criterion without the ratio; smaller is better for all four.
        aic_linear: With log m.
        aic_monotone: With the best quadratic that is monotone between the bounds.
        aic_quadratic: With the best quadratic.
        lrt_p: p-value of the likelihood-ratio test of the linear against the quadratic model.
        preferred: ``flat``, ``monotone`` or ``quadratic``. ``quadratic`` only if its criterion
            beats every monotone model: a quadratic that is monotone anyway is called monotone.
    """

    aic_flat: float
    aic_linear: float
    aic_monotone: float
    aic_quadratic: float
    lrt_p: float
    preferred: str


def monotone_or_quadratic(
    observations: Observations, *, bounds: tuple[float, float]
) -> ModelChoice:
    """Compare flat, linear, monotone quadratic and free quadratic models of the drop in log m.

    Args:
        observations: The population.
        bounds: Attainable bounds of m, between which "monotone" is meant.

    Raises:
        ValueError: the bounds are not increasing, or the regression is not of full rank.
    """
    log_bounds = check_bounds(bounds)
    fit = curve(observations)
    num, width = fit.problem.columns.shape
    flat = np.delete(fit.problem.columns, [1, 2], axis=1)
    line = np.delete(fit.problem.columns, 2, axis=1)
    errors = {
        "flat": _error_of(flat, observations),
        "linear": _error_of(line, observations),
        "monotone": _monotone_error(fit, observations.drop, log_bounds),
        "quadratic": float(fit.problem.squared_error(observations.drop)),
    }
    sizes = {"flat": width - 2, "linear": width - 1, "monotone": width, "quadratic": width}
    # A perfect fit has no likelihood; the floor keeps the order of the models.
    floor = 1e-30 * max(1.0, float(np.square(observations.drop).sum()))
    deviance = {name: num * np.log(max(error, floor) / num) for name, error in errors.items()}
    aic = {name: float(deviance[name] + 2 * (sizes[name] + 1)) for name in errors}
    monotone = min(aic["linear"], aic["monotone"])
    preferred = "monotone"
    if aic["flat"] <= min(monotone, aic["quadratic"]):
        preferred = "flat"
    # Constrained and free errors agree to rounding where the free quadratic is monotone.
    elif aic["quadratic"] < monotone - 1e-6 * num:
        preferred = "quadratic"
    return ModelChoice(
        aic_flat=aic["flat"],
        aic_linear=aic["linear"],
        aic_monotone=aic["monotone"],
        aic_quadratic=aic["quadratic"],
        lrt_p=float(stats.chi2.sf(deviance["linear"] - deviance["quadratic"], 1)),
        preferred=preferred,
    )


@dataclass(frozen=True, kw_only=True)
class Flatness:
    """Whether the drop is the same over the attainable range, up to a margin.

    Attributes:
        swing: Largest distance of the fitted curve from its mean over the range, in percentage
            points.
        margin: The margin that counts as equal.
        p_value: p-value of the test of equivalence; small means flat.
    """

    swing: float
    margin: float
    p_value: float


def flatness(observations: Observations, *, bounds: tuple[float, float], margin: float) -> Flatness:
    """Test that the fitted quadratic stays within ``margin`` of its mean over the range (TOST).

    At every point of the range two one-sided tests ask whether the curve minus its mean over log m
    lies above ``-margin`` and below ``margin``; the largest p-value is reported, which makes an
    intersection-union test of the stated level.

    Source: Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 1987 (two one-sided tests).

    Args:
        observations: The population.
        bounds: Attainable bounds of m.
        margin: Largest difference that does not matter, > 0 percentage points.

    Raises:
        ValueError: the margin is not positive.
    """
    if margin <= 0:
        raise ValueError(f"the margin of flatness is {margin}; a positive number is needed")
    fit = curve(observations)
    grid = np.linspace(*check_bounds(bounds), 101)
    values_GP = fit.value_weights(grid)
    mean_P = np.trapezoid(values_GP, grid, axis=0) / (grid[-1] - grid[0])
    gap_G, error_G = fit.problem.contrast(observations.drop, values_GP - mean_P)
    p_G = one_sided_p(margin - np.abs(gap_G), error_G, fit.problem.dof)
    return Flatness(swing=float(np.abs(gap_G).max()), margin=margin, p_value=float(p_G.max()))


def _valley(sides: list[tuple[FloatArray, FloatArray]], dof: int, *, turn: float) -> Valley:
    (low, error_low), (high, error_high) = sides
    p_value = np.maximum(one_sided_p(-low, error_low, dof), one_sided_p(high, error_high, dof))
    return Valley(
        slope_low=float(low),
        slope_high=float(high),
        error_low=float(error_low),
        error_high=float(error_high),
        p_value=float(p_value),
        turn=turn,
    )


def _flat_region(observations: Observations) -> FloatArray:
    """Return the log m of the population at which the fitted quadratic is near its lowest value."""
    fit = curve(observations)
    log_N = np.sort(observations.log_ratio)
    values_NP = fit.value_weights(log_N)
    best = lowest(fit.problem.coefficients(observations.drop), fit, (log_N[0], log_N[-1]))
    at_best = fit.value_weights(best[None])[0]
    height_N, _ = fit.problem.contrast(observations.drop, values_NP - at_best)
    _, error = fit.problem.contrast(observations.drop, at_best)
    flat = log_N[height_N <= error]
    return flat if flat.size else best[None]


def _interrupted(
    observations: Observations, point: float
) -> tuple[list[tuple[FloatArray, FloatArray]], int, float]:
    """Return both slopes with errors, the degrees of freedom, and the break that was used."""
    log_N = observations.log_ratio
    least = max(3, log_N.size // 10)
    ordered = np.sort(log_N)
    point = float(np.clip(point, ordered[least - 1], ordered[-least - 1]))
    right_N = (log_N > point).astype(np.float64)
    gap_N = log_N - point
    shifts = [standardised(values) for values in observations.covariates.values()]
    columns = np.column_stack(
        [gap_N * (1 - right_N), gap_N * right_N, right_N, np.ones_like(gap_N), *shifts]
    )
    problem = least_squares(columns, observations.weights)
    pick = np.eye(columns.shape[1])
    return [problem.contrast(observations.drop, row) for row in pick[:2]], problem.dof, point


def _error_of(columns: FloatArray, observations: Observations) -> float:
    problem = least_squares(columns, observations.weights)
    return float(problem.squared_error(observations.drop))


def _monotone_error(fit: Curve, drop: FloatArray, log_bounds: tuple[float, float]) -> float:
    """Return the smallest squared error of a quadratic whose two end slopes agree in sign."""
    root_N = fit.problem.root_weights
    low, high = (bound - fit.centre for bound in log_bounds)
    # In terms of the end slopes: f = s_low (high z - z^2/2)/(high-low) + s_high (z^2/2 - low z)/...
    to_slopes = np.array([[high, -low], [-0.5, 0.5]]) / (high - low)
    columns = fit.problem.columns.copy()
    columns[:, 1:3] = columns[:, 1:3] @ to_slopes
    errors = []
    for sign in (1, -1):
        least = np.full(columns.shape[1], -np.inf)
        least[1:3] = 0
        signed = columns.copy()
        signed[:, 1:3] *= sign
        found = lsq_linear(signed * root_N[:, None], drop * root_N, bounds=(least, np.inf))
        errors.append(2 * float(found.cost))
    return min(errors)
