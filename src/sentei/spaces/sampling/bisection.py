"""A random direction, followed to a cost by bisection."""

# Shapes: N = recipes, U = units.

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sentei.spaces.sampling.base import SAMPLERS, Draw, Sampler, Streams, target
from sentei.spaces.sampling.repair import repair
from sentei.spaces.space import Slab
from sentei.spaces.stats_base import FloatArray, IntArray
from sentei.spaces.terrain import Terrain

_HALVINGS = 80


@dataclass(frozen=True, kw_only=True)
class Bisection(Sampler):
    """Shares ``clip(1 - s u, least, 1)``: u is random, and s meets the middle of a cost's slab.

    The cost is that of the regime: MACs, else parameters, else activations.

    Fast, at any target, but not uniform: the spread of the ratios follows from the distribution of
    u. Then widths are rounded and repaired.

    Source: direction and bisection are our own quick sampler. Random ratios within a window of
    MACs: Li et al., EagleEye, ECCV 2020, arXiv:2007.02491.

    Args:
        alpha: u is a Dirichlet draw of this concentration, > 0, times the number of units; a
            large one gives recipes of little spread. None: u is uniform in (0, 1).

    Raises:
        ValueError: ``alpha`` is not above 0.
    """

    measure: ClassVar[str] = "random directions cut at the MACs"
    alpha: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha is not None and not self.alpha > 0:
            raise ValueError(f"alpha={self.alpha}; expected a concentration above 0, or None")

    def prepare(self, terrain: Terrain, slabs: Sequence[Slab]) -> Draw:
        """Return what draws directions and follows them.

        Raises:
            SpaceError: There is no slab of a cost.
        """
        aim, region = target(terrain, slabs, "bisection"), terrain.region(slabs)
        size = len(terrain.lattice.count)

        def draw(streams: Streams) -> IntArray:
            moves_UN = np.stack([self._direction(stream, size) for stream in streams], axis=1)
            points_UN = follow(terrain, moves_UN, aim)
            is_floor = terrain.config.rounding == "floor_removed"
            rounded = terrain.lattice.at_least if is_floor else terrain.lattice.nearest
            return repair(terrain, region, rounded(points_UN), streams)

        return draw

    def _direction(self, stream: np.random.Generator, size: int) -> FloatArray:
        if self.alpha is None:
            return stream.random(size)
        return stream.dirichlet(np.full(size, self.alpha)) * size


def follow(terrain: Terrain, moves_UN: FloatArray, aim: tuple[str, float]) -> FloatArray:
    """Return the coordinates [U, N] on rays from the whole network where a cost is met.

    Where a ray ends before that, its end.

    Args:
        terrain: The terrain.
        moves_UN: How fast each unit shrinks, >= 0.
        aim: Name of the cost, and the share of the dense network's.
    """
    low_U, high_U = terrain.lattice.bounds
    low_N, high_N = np.full(moves_UN.shape[1], 1e-6), np.full(moves_UN.shape[1], 1e6)

    def at(step_N: FloatArray) -> FloatArray:
        return np.maximum(high_U[:, None] * (1.0 - step_N * moves_UN), low_U[:, None])

    for _ in range(_HALVINGS):
        # The geometric mean: steps reach over many orders of magnitude.
        middle_N = np.sqrt(low_N * high_N)
        is_above_N = terrain.real_cost(aim[0], at(middle_N)) > aim[1]
        low_N = np.where(is_above_N, middle_N, low_N)
        high_N = np.where(is_above_N, high_N, middle_N)
    return at(high_N)


SAMPLERS.register("bisection")(Bisection)
