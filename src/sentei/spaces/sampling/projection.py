"""A random point, projected onto the slabs."""

# Shapes: N = recipes, G = groups, U = units, J = inequalities.

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sentei.spaces.region import Region
from sentei.spaces.sampling.base import SAMPLERS, Draw, Sampler, Streams, random_points
from sentei.spaces.sampling.repair import repair
from sentei.spaces.space import Slab
from sentei.spaces.stats_base import FloatArray, IntArray
from sentei.spaces.terrain import Terrain

_ROUNDS = 60


@dataclass(frozen=True, kw_only=True)
class Projection(Sampler):
    """A uniform point of the box, moved along gradients onto the slabs, rounded and repaired.

    Near to uniform, but too often at the ends of the box and of the slabs.
    """

    measure: ClassVar[str] = "uniform points of the box, projected"

    def prepare(self, terrain: Terrain, slabs: Sequence[Slab]) -> Draw:
        """Return what draws points and projects them."""
        region = terrain.region(slabs)

        def draw(streams: Streams) -> IntArray:
            points_UN = project(terrain, region, random_points(terrain, streams))
            return repair(terrain, region, terrain.lattice.nearest(points_UN), streams)

        return draw


def project(terrain: Terrain, region: Region, points_UN: FloatArray) -> FloatArray:
    """Return points of the padded box moved towards a region, [U, N].

    Newton steps along the gradient of one inequality after another, clipped to the box, each unit
    measured in shares of its range. Points inside stay.
    """
    lattice = terrain.lattice
    low_U, high_U = lattice.padded
    room_U1 = (high_U - low_U)[:, None]
    for _ in range(_ROUNDS):
        if (region.violation(lattice.real(points_UN)) <= 0).all():
            break
        for index in range(len(region.constants)):
            real_GN = lattice.real(points_UN)
            above_N = np.maximum(region.values(real_GN)[index], 0.0)
            slope_UN = np.asarray(lattice.spread.T @ region.gradients(real_GN)[index]) * room_U1
            norm_N = (slope_UN**2).cumsum(axis=0)[-1]
            step_UN = above_N / np.maximum(norm_N, 1e-300) * slope_UN * room_U1
            points_UN = np.clip(points_UN - step_UN, low_U[:, None], high_U[:, None])
    return points_UN


SAMPLERS.register("projection")(Projection)
