"""Hit and run: a random walk inside all slabs at once, uniform in the end."""

# Shapes: N = walks, G = groups, U = units, J = inequalities, K = ends of segments.

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from sentei.cost.quadratic import column_sums
from sentei.errors import SpaceError
from sentei.spaces.extremes import nearest_point
from sentei.spaces.region import Region
from sentei.spaces.sampling.base import SAMPLERS, Draw, Sampler, Streams, random_points
from sentei.spaces.sampling.projection import project
from sentei.spaces.sampling.repair import repair
from sentei.spaces.space import Slab
from sentei.spaces.stats_base import FloatArray, IntArray
from sentei.spaces.terrain import Terrain
from sentei.spaces.vacancy import explain

_BLOCK = 32


@dataclass(frozen=True, kw_only=True)
class HitAndRun(Sampler):
    """Uniform over the widths inside all slabs, however many.

    A walk goes to a uniform point of the line through it in a random direction, as far as all
    slabs hold: on a line every slab is a quadratic inequality, so that the pieces inside end at
    roots. The box is half a step larger on both sides than the widths, so that the ends are rounded
    to as often as the others. Slabs are wider by three standard deviations of rounding, and walks
    that end outside the true ones after rounding go on; those that never end inside are repaired.

    Each recipe is the end of a walk of its own. Directions lean away from thin slabs,
    by the same distribution everywhere, which leaves the walk uniform.

    Source: Smith, Operations Research 32(6), 1984 (hit and run).

    Args:
        burn: Steps before a recipe may be taken, times the number of units, >= 1.
        thin: Steps between two tries, times the number of units, >= 1.
        tries: How often a walk may end inside before it is repaired, >= 1.
    """

    measure: ClassVar[str] = "uniform over widths inside the slabs"
    burn: int = 60
    thin: int = 4
    tries: int = 12

    def prepare(self, terrain: Terrain, slabs: Sequence[Slab]) -> Draw:
        """Return what walks.

        Raises:
            SpaceError: No real widths meet all slabs.
        """
        walk = _Walk(terrain, slabs)
        return partial(self._draw, terrain, walk)

    def _draw(self, terrain: Terrain, walk: "_Walk", streams: Streams) -> IntArray:
        size = len(terrain.lattice.count)
        points_UN = walk.start(streams)
        choices_UN = terrain.lattice.nearest(points_UN)
        active = np.arange(len(streams))
        for round_ in range(self.tries):
            own = [streams[index] for index in active.tolist()]
            length = (self.thin if round_ else self.burn) * size
            points_UN = walk.go(points_UN, own, length)
            found_UN = terrain.lattice.nearest(points_UN)
            choices_UN[:, active] = found_UN
            widths_GN = terrain.lattice.widths(found_UN).T.astype(np.float64)
            is_outside = ~walk.true.inside(widths_GN)
            active, points_UN = active[is_outside], points_UN[:, is_outside]
            if not active.size:
                return choices_UN
        own = [streams[index] for index in active.tolist()]
        choices_UN[:, active] = repair(terrain, walk.true, choices_UN[:, active], own)
        return choices_UN


class _Walk:
    """Walks in the widened slabs of a terrain.

    Attributes:
        true: The region of the slabs themselves.
    """

    def __init__(self, terrain: Terrain, slabs: Sequence[Slab]) -> None:
        self.terrain, self.slabs = terrain, slabs
        self.true = terrain.region(slabs)
        low_U, high_U = terrain.lattice.padded
        self.low_U1, self.room_U1 = low_U[:, None], (high_U - low_U)[:, None]
        noise_J = self._rounding()
        self.wide: Region = self.true.widened(3 * noise_J)
        self.thin = self._thin(noise_J)

    def _slopes(self, points_UN: FloatArray) -> FloatArray:
        """Return the slopes of all inequalities at coordinates, [J, U, N]."""
        lattice = self.terrain.lattice
        gradients_JGN = self.true.gradients(lattice.real(points_UN))
        return np.stack([lattice.spread.T @ gradient_GN for gradient_GN in gradients_JGN])

    def _rounding(self) -> FloatArray:
        """Return the standard deviation that rounding to whole steps adds at most, [J]."""
        points_UN = self.low_U1 + self.room_U1 * np.random.default_rng(0).random(
            (len(self.low_U1), 16)
        )
        moved_JUN = self._slopes(points_UN) * self.terrain.lattice.step[:, None]
        return np.asarray(np.sqrt((moved_JUN**2).sum(axis=1) / 12).max(axis=1))

    def _thin(self, noise_J: FloatArray) -> list[tuple[FloatArray, float]]:
        """Return unit vectors across thin slabs, and which part of a move along each is left."""
        middle_U1 = self.low_U1 + self.room_U1 / 2
        values_J = self.true.values(self.terrain.lattice.real(middle_U1))[:, 0]
        slopes_JU = self._slopes(middle_U1)[:, :, 0] * self.room_U1[:, 0]
        found = []
        for number in range(len(self.slabs)):
            index = self.true.slab_of.index(number)
            # Its two sides add up to minus its width, wherever the point is.
            width = -(values_J[index] + values_J[index + 1])
            norm = max(float(np.sqrt((slopes_JU[index] ** 2).sum())), 1e-300)
            left = (width + 6 * noise_J[index]) / norm
            if left < 0.5:
                found.append((slopes_JU[index][:, None] / norm, left))
        return found

    def start(self, streams: Streams) -> FloatArray:
        """Return points inside, one for each walk, [U, N].

        Raises:
            SpaceError: None was found.
        """
        lattice = self.terrain.lattice
        points_UN = project(self.terrain, self.wide, random_points(self.terrain, streams))
        for column in np.flatnonzero(~self.wide.inside(lattice.real(points_UN))):
            point_U = nearest_point(self.wide, lattice, points_UN[:, column])
            points_UN[:, column] = point_U
        is_inside = self.wide.inside(lattice.real(points_UN))
        if not is_inside.any():
            raise SpaceError(
                f"space {self.terrain.config.name!r} is empty: {explain(self.terrain, self.slabs)}"
            )
        return points_UN

    def go(self, points_UN: FloatArray, streams: Streams, length: int) -> FloatArray:
        """Return where walks are after some steps, [U, N]."""
        shares_UN = (points_UN - self.low_U1) / self.room_U1
        size = len(shares_UN)
        for _ in range(-(-length // _BLOCK)):
            normals = np.stack([stream.standard_normal((_BLOCK, size)) for stream in streams], 2)
            uniforms = np.stack([stream.random((_BLOCK, 2)) for stream in streams], 2)
            for normal_UN, uniform_2N in zip(normals, uniforms, strict=True):
                moves_UN = self._directions(normal_UN, uniform_2N[0])
                shares_UN = self._step(shares_UN, moves_UN, uniform_2N[1])
        return self.low_U1 + shares_UN * self.room_U1

    def _directions(self, normal_UN: FloatArray, draw_N: FloatArray) -> FloatArray:
        """Return directions: half of them of few units, all leaning away from thin slabs."""
        few = min(2 + max(len(self.thin) - 1, 0), len(normal_UN))
        limit_N = np.partition(np.abs(normal_UN), -few, axis=0)[-few]
        is_chosen_UN = (np.abs(normal_UN) >= limit_N) | (draw_N < 0.5)
        moves_UN = np.where(is_chosen_UN, normal_UN, 0.0)
        for thin_U1, left in self.thin:
            own_UN = np.where(is_chosen_UN, thin_U1, 0.0)
            norm_N = np.maximum(column_sums(own_UN**2), 1e-300)
            along_N = column_sums(own_UN * moves_UN) / norm_N
            moves_UN = moves_UN - (1.0 - left) * along_N * own_UN
        return moves_UN

    def _step(self, shares_UN: FloatArray, moves_UN: FloatArray, draw_N: FloatArray) -> FloatArray:
        lattice = self.terrain.lattice
        real_GN = lattice.real(self.low_U1 + shares_UN * self.room_U1)
        a_JN, b_JN, c_JN = self.wide.line(real_GN, lattice.spread @ (moves_UN * self.room_U1))
        low_N, high_N = _box(shares_UN, moves_UN)
        ends_KN = np.sort(np.concatenate([_roots(a_JN, b_JN, c_JN), [low_N, high_N]]), axis=0)
        ends_KN = np.clip(ends_KN, low_N, high_N)
        middles_KN = (ends_KN[1:] + ends_KN[:-1]) / 2
        values_JKN = (a_JN[:, None] * middles_KN + b_JN[:, None]) * middles_KN + c_JN[:, None]
        lengths_KN = np.diff(ends_KN, axis=0) * (values_JKN <= 0).all(axis=0)
        sums_KN = lengths_KN.cumsum(axis=0)
        wanted_N = draw_N * sums_KN[-1]
        piece_N = (sums_KN > wanted_N).argmax(axis=0)
        columns = np.arange(len(piece_N))
        before_N = sums_KN[piece_N, columns] - lengths_KN[piece_N, columns]
        at_N = ends_KN[piece_N, columns] + wanted_N - before_N
        at_N = np.where(sums_KN[-1] > 0, at_N, 0.0)
        return np.clip(shares_UN + at_N * moves_UN, 0.0, 1.0)


def _box(shares_UN: FloatArray, moves_UN: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return how far one can go backwards and forwards inside the unit box, [N] each."""
    with np.errstate(divide="ignore", invalid="ignore"):
        to_low, to_high = -shares_UN / moves_UN, (1.0 - shares_UN) / moves_UN
    back = np.where(moves_UN == 0, -np.inf, np.minimum(to_low, to_high)).max(axis=0)
    ahead = np.where(moves_UN == 0, np.inf, np.maximum(to_low, to_high)).min(axis=0)
    return np.minimum(back, 0.0), np.maximum(ahead, 0.0)


def _roots(a_JN: FloatArray, b_JN: FloatArray, c_JN: FloatArray) -> FloatArray:
    """Return the real roots of parabolas, 0 where there is none, [2 J, N]."""
    square = b_JN**2 - 4 * a_JN * c_JN
    half = -0.5 * (b_JN + np.copysign(np.sqrt(np.maximum(square, 0.0)), b_JN))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.concatenate([half / a_JN, c_JN / half])
    return np.where(np.isfinite(found) & np.tile(square >= 0, (2, 1)), found, 0.0)


SAMPLERS.register("hit-and-run")(HitAndRun)
