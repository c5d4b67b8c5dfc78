"""Weighted least squares of many responses on one design, and the polynomial in log m built on it.

The standard errors hold where the noise differs between recipes.

Shapes: N = recipes, P = columns of a design, R = responses fitted at once, B = bootstrap draws.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from sentei.spaces.stats_base import FloatArray, Observations


@dataclass(frozen=True, kw_only=True, eq=False)
class LeastSquares:
    """A weighted least-squares problem, factored once for any number of responses.

    Attributes:
        columns: The design, shape [N, P].
        root_weights: Square roots of the weights, scaled to a mean square of 1, shape [N].
        solver: Pseudo-inverse of the weighted design, shape [P, N].
        leverage: Diagonal of the hat matrix, in [0, 1], shape [N].
    """

    columns: FloatArray
    root_weights: FloatArray
    solver: FloatArray
    leverage: FloatArray

    @property
    def dof(self) -> int:
        """Observations minus columns, > 0."""
        return self.columns.shape[0] - self.columns.shape[1]

    def coefficients(self, response: FloatArray) -> FloatArray:
        """Return the coefficients, shape [P, R] for responses [N, R], or [P] for [N]."""
        return self.solver @ (response.T * self.root_weights).T

    def residuals(self, response: FloatArray) -> FloatArray:
        """Return the weighted residuals, of the shape of ``response``."""
        gap = response - self.columns @ self.coefficients(response)
        return (gap.T * self.root_weights).T

    def squared_error(self, response: FloatArray) -> FloatArray:
        """Return the weighted residual sum of squares of every response, shape [R] or []."""
        return np.square(self.residuals(response)).sum(0)

    def contrast(self, response: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return linear combinations of the coefficients and their HC3 standard errors.

        Source: MacKinnon and White, Journal of Econometrics 1985 (HC3).

        Args:
            response: Shape [N] or [N, R].
            weights: Factor of every coefficient, shape [P], or [C, P] for C combinations.

        Returns:
            Estimates and errors, shapes [C] x [R] without the axes that the arguments lack.
        """
        influence = weights @ self.solver  # [N] or [C, N]
        spread = (self.residuals(response).T / np.maximum(1 - self.leverage, 1e-9)).T
        estimate = weights @ self.coefficients(response)
        return estimate, np.sqrt(np.square(influence) @ np.square(spread))


def least_squares(columns: FloatArray, weights: FloatArray | None = None) -> LeastSquares:
    """Return the factored problem of a design.

    Args:
        columns: Shape [N, P], of full rank, N > P.
        weights: Precision of every observation up to a factor, shape [N]; None for equal ones.

    Raises:
        ValueError: there are too few observations, or the columns depend on one another.
    """
    num, width = columns.shape
    if num <= width:
        raise ValueError(
            f"{num} recipes cannot determine {width} coefficients with an error; "
            f"evaluate more recipes or leave out covariates"
        )
    root_N = np.ones(num) if weights is None else np.sqrt(weights / weights.mean())
    weighted = columns * root_N[:, None]
    # Scaled columns: the rank must not depend on the units of the covariates.
    scale = np.linalg.norm(weighted, axis=0)
    if scale.min() == 0 or np.linalg.matrix_rank(weighted / scale, tol=1e-8) < width:
        raise ValueError(
            f"the {width} columns of the regression depend on one another (a covariate is constant "
            f"or repeats another, or there are too few different ratios); leave one out"
        )
    solver = np.linalg.pinv(weighted / scale) / scale[:, None]
    return LeastSquares(
        columns=columns,
        root_weights=root_N,
        solver=solver,
        leverage=np.einsum("np,pn->n", weighted, solver),
    )


def normal_equations(
    columns: FloatArray, response: FloatArray, mass_BN: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return both sides of the normal equations of every resample, shapes [B, P, P] and [B, P].

    Args:
        columns: Shape [N, P].
        response: Shape [N].
        mass_BN: Weight times number of occurrences of every recipe, shape [B, N].
    """
    width = columns.shape[1]
    products = (columns[:, :, None] * columns[:, None, :]).reshape(len(columns), -1)
    left = (mass_BN @ products).reshape(-1, width, width)
    return left, mass_BN @ (columns * response[:, None])


def resampled_coefficients(
    columns: FloatArray, response: FloatArray, mass_BN: FloatArray
) -> FloatArray:
    """Return the least-squares coefficients of every pairs-bootstrap resample, shape [B, P].

    A resample without enough different recipes gets the shortest solution. Arguments as in
    :func:`normal_equations`.
    """
    left, right = normal_equations(columns, response, mass_BN)
    return np.einsum("bpq,bq->bp", np.linalg.pinv(left, hermitian=True), right)


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """The design of a polynomial in log m with covariates that shift it up and down.

    Attributes:
        problem: The least-squares problem; its first ``degree + 1`` columns are powers of
            ``log m - centre``, the others the standardised covariates.
        centre: Weighted mean of log m.
        degree: 1 or 2.
    """

    problem: LeastSquares
    centre: float
    degree: int

    def value_weights(self, log_ratio: FloatArray) -> FloatArray:
        """Return the contrasts that give the curve at ``log_ratio``, shape [G, P]."""
        weights = np.zeros((log_ratio.size, self.problem.columns.shape[1]))
        weights[:, : self.degree + 1] = np.vander(
            log_ratio - self.centre, self.degree + 1, increasing=True
        )
        return weights

    def slope_weights(self, log_ratio: float) -> FloatArray:
        """Return the contrast that gives the slope of a quadratic at ``log_ratio``, shape [P]."""
        weights = np.zeros(self.problem.columns.shape[1])
        weights[1:3] = 1, 2 * (log_ratio - self.centre)
        return weights


def curve(observations: Observations, degree: int = 2) -> Curve:
    """Return the design of a polynomial in log m, centred, with standardised covariates."""
    weights_N = observations.weights
    centre = float(np.average(observations.log_ratio, weights=weights_N))
    powers = np.vander(observations.log_ratio - centre, degree + 1, increasing=True)
    shifts = [standardised(values) for values in observations.covariates.values()]
    return Curve(
        problem=least_squares(np.column_stack([powers, *shifts]), weights_N),
        centre=centre,
        degree=degree,
    )


def lowest(
    coefficients: FloatArray, curve_of: Curve, log_bounds: tuple[float, float]
) -> FloatArray:
    """Return the log m in ``log_bounds`` at which each fitted quadratic is smallest.

    A quadratic without a minimum inside the bounds is smallest at one of them.

    Args:
        coefficients: First columns of the fits of ``curve_of``, shape [..., P].
        curve_of: A curve of degree 2.
        log_bounds: Logarithms of the attainable bounds.
    """
    linear, square = coefficients[..., 1], coefficients[..., 2]
    low, high = (bound - curve_of.centre for bound in log_bounds)
    # The end that is lower: f(high) - f(low) = (high - low) (linear + square (high + low)).
    end = np.where(linear + square * (high + low) < 0, high, low)
    convex = square > 0
    vertex = -linear / (2 * np.where(convex, square, 1.0))
    return np.where(convex, np.clip(vertex, low, high), end) + curve_of.centre


def one_sided_p(estimate: FloatArray, error: FloatArray, dof: int) -> FloatArray:
    """Return the p-value of a t-test that ``estimate`` is above 0."""
    # A perfect fit has no error; its sign then decides.
    ratio = np.asarray(estimate) / np.maximum(error, 1e-300)
    return np.asarray(stats.t.sf(ratio, dof))


def standardised(values: FloatArray) -> FloatArray:
    """Return ``values`` with mean 0 and standard deviation 1; a constant becomes 0."""
    spread = values.std()
    return (values - values.mean()) / (spread if spread > 0 else 1.0)
