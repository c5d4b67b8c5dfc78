"""Several estimates with errors of their own, taken together: do they agree, and on what they depend.

Shapes: K = estimates, P = columns.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sentei.spaces.stats_base import FloatArray, Interval, check_fraction, checked, same_length


@dataclass(frozen=True, kw_only=True, eq=False)
class MetaRegression:
    """A random-effects regression of estimates.

    Attributes:
        coefficients: Shape [P].
        errors: Their standard errors, shape [P].
        dof: Estimates minus columns, > 0.
        variance: Variance between estimates beyond their errors and the columns, >= 0.
        q: Cochran's Q: weighted squared residuals of the fixed-effect fit.
        q_p: p-value of Q: small means that the errors do not explain the residuals.
    """

    coefficients: FloatArray
    errors: FloatArray
    dof: int
    variance: float
    q: float
    q_p: float

    def interval(self, column: int, *, level: float = 0.95) -> Interval:
        """Return the t interval of a coefficient."""
        check_fraction("level", level)
        reach = float(stats.t.ppf((1 + level) / 2, self.dof) * self.errors[column])
        centre = float(self.coefficients[column])
        return Interval(
            low=centre - reach, high=centre + reach, level=level, method="Knapp-Hartung t"
        )


def meta_regression(
    values: ArrayLike, errors: ArrayLike, columns: FloatArray | None = None
) -> MetaRegression:
    r"""Regress estimates on columns, with known errors and a variance between them.

    The variance is DerSimonian and Laird's, :math:`\max(0, (Q - (K - P)) / \mathrm{tr} M)` with
    :math:`M = W - W X (X' W X)^{-1} X' W` and W the inverse squared errors. The standard errors are
    Knapp and Hartung's, never below those of the plain random-effects fit.

    Source: DerSimonian and Laird, Controlled Clinical Trials 1986; Knapp and Hartung, Statistics in
    Medicine 2003.

    Args:
        values: The estimates, shape [K].
        errors: Their standard errors, > 0, shape [K].
        columns: Design, shape [K, P], of full rank, K > P; None for the mean alone.

    Raises:
        ValueError: lengths differ, an error is not positive, or there are too few estimates.
    """
    value_K, error_K = checked("values", values), checked("errors", errors)
    num = same_length(values=value_K, errors=error_K)
    if error_K.min() <= 0:
        raise ValueError(f"the smallest standard error is {error_K.min()}; all must be > 0")
    design = np.ones((num, 1)) if columns is None else columns
    width = design.shape[1]
    if num <= width or np.linalg.matrix_rank(design) < width:
        raise ValueError(
            f"{num} estimates cannot determine {width} coefficients with an error; add estimates "
            f"that differ in what they are regressed on"
        )
    weight_K = error_K**-2
    q, trace = _cochran(value_K, weight_K, design)
    variance = max(0.0, (q - (num - width)) / trace)
    weight_K = 1 / (error_K**2 + variance)
    inverse = np.linalg.inv(design.T @ (design * weight_K[:, None]))
    coefficients = inverse @ (design.T @ (weight_K * value_K))
    scale = float(weight_K @ np.square(value_K - design @ coefficients)) / (num - width)
    return MetaRegression(
        coefficients=coefficients,
        errors=np.sqrt(np.diag(inverse) * max(1.0, scale)),
        dof=num - width,
        variance=variance,
        q=q,
        q_p=float(stats.chi2.sf(q, num - width)),
    )


def standard_error(interval: Interval, *, log: bool = False) -> float:
    """Return the standard error that a normal estimate with this interval has.

    Args:
        interval: The interval.
        log: Whether it is that of a positive number whose logarithm is normal; the error is then
            the logarithm's.
    """
    z = float(stats.norm.ppf((1 + interval.level) / 2))
    ends = (interval.low, interval.high)
    low, high = (math.log(end) for end in ends) if log else ends
    return (high - low) / (2 * z)


def _cochran(value_K: FloatArray, weight_K: FloatArray, design: FloatArray) -> tuple[float, float]:
    """Return Q of the fixed-effect fit and the trace of M."""
    weighted = design * weight_K[:, None]
    inverse = np.linalg.inv(design.T @ weighted)
    residual_K = value_K - design @ (inverse @ (weighted.T @ value_K))
    trace = float(weight_K.sum() - np.trace(inverse @ (weighted.T @ weighted)))
    return float(weight_K @ np.square(residual_K)), trace
