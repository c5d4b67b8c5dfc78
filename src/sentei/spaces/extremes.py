"""Extremes: how far a quantity reaches inside a region, and the point nearest to a region."""

# Shapes: U = units, G = groups, J = inequalities.

from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, minimize

from sentei.cost.quadratic import Quadratic
from sentei.spaces.lattice import Lattice
from sentei.spaces.region import Region
from sentei.spaces.stats_base import FloatArray

_RANDOM_STARTS = 6
_SLACK = 1e-6  # by which an optimum may exceed a region, for rounding


@dataclass(frozen=True, kw_only=True, eq=False)
class Fraction:
    """A quotient of two quadratic forms, at coordinates of a lattice.

    Attributes:
        lattice: The lattice.
        top: Dividend, a form in the widths.
        bottom: Divisor, positive inside the box, or None for 1.
    """

    lattice: Lattice
    top: Quadratic
    bottom: Quadratic | None = None

    def __call__(self, point_U: FloatArray) -> tuple[float, FloatArray]:
        """Return the value and its gradient, [U]."""
        real_G1 = self.lattice.real(point_U[:, None])
        top, top_G = float(self.top.value(real_G1)[0]), self.top.gradient(real_G1)[:, 0]
        if self.bottom is None:
            return top, np.asarray(self.lattice.spread.T @ top_G)
        bottom, bottom_G = self.bottom.value(real_G1)[0], self.bottom.gradient(real_G1)[:, 0]
        gradient_G = (top_G - top / bottom * bottom_G) / bottom
        return float(top / bottom), np.asarray(self.lattice.spread.T @ gradient_G)


def extremes(
    wanted: Fraction,
    *,
    fixed: Fraction | None = None,
    value: float = 0.0,
    region: Region | None = None,
) -> tuple[float, float] | None:
    """Return the least and largest value over the box of a lattice, or None if none was found.

    Local optima from several starts (sequential least squares), hence a range that may be too
    narrow where the functions are not convex, never one too wide.

    Args:
        wanted: What is made small and large.
        fixed: A function that must have a ``value``, or None.
        value: The value.
        region: Where to look, besides; None: in all of the box.
    """
    found = []
    for sign in (1.0, -1.0):
        starts = _starts(wanted, sign, fixed, value)
        if region is not None:
            starts += [nearest_point(region, wanted.lattice, start_U) for start_U in starts]
        found += [_least(wanted, sign, start_U, fixed, value, region) for start_U in starts]
    values = [v for v in found if v is not None]
    return (min(values), max(values)) if values else None


def _least(
    wanted: Fraction,
    sign: float,
    start_U: FloatArray,
    fixed: Fraction | None,
    value: float,
    region: Region | None,
) -> float | None:
    low_U, high_U = wanted.lattice.bounds

    # In shares of the box: widths of 16 and 2048 channels then weigh alike.
    def real(share_U: FloatArray) -> FloatArray:
        return np.asarray(low_U + share_U * (high_U - low_U))

    def objective(share_U: FloatArray) -> tuple[float, FloatArray]:
        height, slope_U = wanted(real(share_U))
        return sign * height, sign * slope_U * (high_U - low_U)

    constraints = []
    if fixed is not None:
        constraints.append(
            {
                "type": "eq",
                "fun": lambda share_U: fixed(real(share_U))[0] - value,
                "jac": lambda share_U: fixed(real(share_U))[1] * (high_U - low_U),
            }
        )
    if region is not None:
        constraints.append(
            {
                "type": "ineq",
                "fun": lambda share_U: -_left_sides(region, wanted.lattice, real(share_U)),
                "jac": lambda share_U: (
                    -_slopes(region, wanted.lattice, real(share_U)) * (high_U - low_U)
                ),
            }
        )
    room_U = np.maximum(high_U - low_U, 1.0)
    found = minimize(
        objective,
        (start_U - low_U) / room_U,
        jac=True,
        method="SLSQP",
        bounds=Bounds(np.zeros(low_U.size), np.ones(low_U.size)),
        constraints=constraints,
        options={"maxiter": 300, "ftol": 1e-9},
    )
    point_U = real(np.clip(found.x, 0.0, 1.0))
    if fixed is not None and abs(fixed(point_U)[0] - value) > 1e-4:
        return None
    if region is not None and _left_sides(region, wanted.lattice, point_U).max() > _SLACK:
        return None
    return wanted(point_U)[0]


def _left_sides(region: Region, lattice: Lattice, point_U: FloatArray) -> FloatArray:
    """Return the left sides of the inequalities of a region, [J]."""
    return region.values(lattice.real(point_U[:, None]))[:, 0]


def _slopes(region: Region, lattice: Lattice, point_U: FloatArray) -> FloatArray:
    """Return their gradients, [J, U]."""
    gradients_JG = region.gradients(lattice.real(point_U[:, None]))[:, :, 0]
    return np.asarray(gradients_JG @ lattice.spread)


def _starts(
    wanted: Fraction, sign: float, fixed: Fraction | None, value: float
) -> list[FloatArray]:
    """Return points to start from: a vertex that greed finds, the middle, and random ones."""
    low_U, high_U = wanted.lattice.bounds
    rng = np.random.default_rng(0)
    random = low_U + rng.random((_RANDOM_STARTS, low_U.size)) * (high_U - low_U)
    starts = [(low_U + high_U) / 2, *random]
    if fixed is not None:
        starts.append(_greedy(wanted, sign, fixed, value))
    return starts


def _greedy(wanted: Fraction, sign: float, fixed: Fraction, value: float) -> FloatArray:
    """Return a vertex: units shrink to their least one after another, until the value is met."""
    low_U, high_U = wanted.lattice.bounds
    point_U = high_U.copy()
    while (point_U > low_U).any() and fixed(point_U)[0] > value:
        gain_U = sign * wanted(point_U)[1] / np.maximum(np.abs(fixed(point_U)[1]), 1e-12)
        gain_U[point_U <= low_U] = -np.inf
        unit = int(gain_U.argmax())
        point_U[unit] = low_U[unit]
    return point_U


def nearest_point(region: Region, lattice: Lattice, start_U: FloatArray) -> FloatArray:
    """Return a point of the box where the squares of what a region exceeds are locally least, [U].

    Inside the region their sum is 0.
    """
    low_U, high_U = lattice.bounds
    room_U = high_U - low_U

    def objective(share_U: FloatArray) -> tuple[float, FloatArray]:
        real_G1 = lattice.real((low_U + share_U * room_U)[:, None])
        above_J = np.maximum(region.values(real_G1)[:, 0], 0.0)
        slope_G = np.tensordot(above_J, region.gradients(real_G1)[:, :, 0], axes=1)
        return float(above_J @ above_J), 2.0 * (lattice.spread.T @ slope_G) * room_U

    found = minimize(
        objective,
        (start_U - low_U) / np.maximum(room_U, 1.0),
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(np.zeros(low_U.size), np.ones(low_U.size)),
        options={"maxiter": 500, "ftol": 1e-16, "gtol": 1e-10},
    )
    return np.asarray(low_U + np.clip(found.x, 0.0, 1.0) * room_U)
