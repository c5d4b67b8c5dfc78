"""The widths nearest to a random target that slabs hold, by mixed-integer linear programs."""

# Shapes: U = units, J = inequalities, G = groups.

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from scipy import optimize
from scipy.sparse import block_array, csr_array, eye_array

from sentei.spaces.region import Region
from sentei.spaces.sampling.base import SAMPLERS, Draw, Sampler, Streams, random_points
from sentei.spaces.sampling.projection import project
from sentei.spaces.space import Slab
from sentei.spaces.stats_base import FloatArray, IntArray
from sentei.spaces.terrain import Terrain

_ROUNDS = 20
_NODES = 2000  # of the tree of a program: a limit of time would not give the same twice
_PENALTY = 1e4  # of what a linear inequality is exceeded by, against distances of at most 1 a unit
_INSIDE = 1e-12


@dataclass(frozen=True, kw_only=True)
class Milp(Sampler):
    """The nearest widths to a uniform point of the box that all slabs hold, as whole numbers.

    For slabs that are thin to the channel, up to equalities, and for widths in large steps, where
    the other samplers end beside the slab. The distance is the sum over units of the share of its
    range that each is moved by, so that few units move and the measure leans to corners.

    Slabs are quadratic: they are made linear at the target's projection, the program is solved, and
    they are made linear anew at its solution, until whole widths are inside. A step that leaves more
    missing is taken back, and may then go half as far. Where nothing multiplies (residual
    channels kept, in networks of basic blocks) the first solution is the nearest of all; elsewhere
    the one found is inside, and near.

    Args:
        gap: How much further than the nearest a solution of a program may be, as a share, >= 0;
            0 takes several times as long as 0.05.

    Raises:
        ValueError: ``gap`` is negative.
    """

    measure: ClassVar[str] = "nearest widths to uniform points of the box"
    gap: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.gap < math.inf:
            raise ValueError(f"gap={self.gap}; expected a share of the distance, at least 0")

    def prepare(self, terrain: Terrain, slabs: Sequence[Slab]) -> Draw:
        """Return what draws targets and looks for the widths nearest to them."""
        region, lattice = terrain.region(slabs), terrain.lattice
        nearest = partial(_nearest, terrain, region, self.gap)

        def draw(streams: Streams) -> IntArray:
            targets_UN = random_points(terrain, streams)
            starts_UN = lattice.nearest(project(terrain, region, targets_UN))
            wanted_UN = (targets_UN - lattice.low[:, None]) / lattice.step[:, None]
            pairs = zip(wanted_UN.T, starts_UN.T, strict=True)
            return np.stack([nearest(*pair) for pair in pairs], axis=1)

        return draw


def _nearest(
    terrain: Terrain, region: Region, gap: float, wanted_U: FloatArray, start_U: IntArray
) -> IntArray:
    """Return choices inside a region near to wanted ones, or the nearest to the region, [U]."""
    lattice = terrain.lattice
    reach_U = lattice.count.astype(np.float64)
    choices_U, missing = start_U, _missing(terrain, region, start_U)
    for number in range(_ROUNDS):
        program = _Program.of(terrain, region, choices_U)
        found_U = program.solve(wanted_U, reach_U, gap=gap)
        if found_U is None or (number and (found_U == choices_U).all()):
            break
        left = _missing(terrain, region, found_U)
        # The start is the projection's: even where it is inside, it need not be the nearest.
        if left < missing or (left <= _INSIDE and number == 0):
            choices_U, missing = found_U, left
        else:
            reach_U = np.floor(np.minimum(reach_U, np.abs(found_U - choices_U)) / 2)
        if missing <= _INSIDE or not reach_U.any():
            break
    return choices_U


def _missing(terrain: Terrain, region: Region, choices_U: IntArray) -> float:
    return float(region.violation(_widths(terrain, choices_U))[0])


def _widths(terrain: Terrain, choices_U: IntArray) -> FloatArray:
    return terrain.lattice.widths(choices_U[:, None]).T.astype(np.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Program:
    """A region made linear at some choices: ``rows @ choices <= limits``.

    Attributes:
        count: Number of choices of each unit, [U].
        at: Where it is made linear, [U].
        rows: Slopes, each row divided by its largest, [J, U].
        limits: What they may reach, [J].
    """

    count: IntArray
    at: IntArray
    rows: FloatArray
    limits: FloatArray

    @staticmethod
    def of(terrain: Terrain, region: Region, choices_U: IntArray) -> "_Program":
        lattice, widths_G1 = terrain.lattice, _widths(terrain, choices_U)
        slopes_JU = region.gradients(widths_G1)[:, :, 0] @ lattice.spread * lattice.step
        scale_J1 = np.maximum(np.abs(slopes_JU).max(axis=1, keepdims=True), 1e-300)
        rows_JU = slopes_JU / scale_J1
        at_J = np.asarray(csr_array(rows_JU) @ choices_U.astype(np.float64))
        limits_J = at_J - (region.values(widths_G1) / scale_J1)[:, 0]
        return _Program(count=lattice.count, at=choices_U, rows=rows_JU, limits=limits_J)

    def solve(self, wanted_U: FloatArray, reach_U: FloatArray, *, gap: float) -> IntArray | None:
        """Return the choices nearest to wanted ones, or None if none were found, [U].

        The variables are the choices [U], their distances to the wanted ones in shares of their
        range [U], and what each inequality is exceeded by [J].

        Args:
            wanted_U: The wanted choices, real numbers.
            reach_U: How far a choice may be from where the program is linear.
            gap: Of the distance, relative.
        """
        num, size = self.rows.shape
        share_U = 1.0 / np.maximum(self.count - 1, 1)
        moved, same, slack = csr_array(np.diag(share_U)), eye_array(size), -eye_array(num)
        rows = [[csr_array(self.rows), None, slack], [moved, -same, None], [-moved, -same, None]]
        limits = np.concatenate([self.limits, wanted_U * share_U, -wanted_U * share_U])
        rest = np.zeros(size + num)
        low_U = np.maximum(self.at - reach_U, 0)
        high_U = np.minimum(self.at + reach_U, self.count - 1)
        found = optimize.milp(
            np.concatenate([np.zeros(size), np.ones(size), np.full(num, _PENALTY)]),
            integrality=np.concatenate([np.ones(size), rest]),
            bounds=optimize.Bounds(
                np.concatenate([low_U, rest]), np.concatenate([high_U, rest + np.inf])
            ),
            constraints=optimize.LinearConstraint(csr_array(block_array(rows)), -np.inf, limits),
            # Presolving costs more than it saves here, and prints.
            options={"node_limit": _NODES, "mip_rel_gap": gap, "presolve": False},
        )
        return None if found.x is None else np.rint(found.x[:size]).astype(np.int64)


SAMPLERS.register("milp")(Milp)
