"""Integer repair: small moves of single units until whole widths meet every slab."""

# Shapes: N = recipes, G = groups, U = units.

from collections.abc import Sequence

import numpy as np

from sentei.spaces.region import Region
from sentei.spaces.stats_base import BoolArray, FloatArray, IntArray
from sentei.spaces.terrain import Terrain

_BLOCK = 20
_MOVES = 400


def repair(
    terrain: Terrain, region: Region, choices_UN: IntArray, streams: Sequence[np.random.Generator]
) -> IntArray:
    """Return choices inside a region, or nearer to it, [U, N].

    A move takes a random unit whose channel moves the quantities by at most twice what is
    missing, shifts it by up to a tenth of its widths in the direction that helps, and often
    a second unit by one step, so that differences of channels count too. It is kept if less is
    missing afterwards. A recipe that is inside already stays as it is.

    Args:
        terrain: The terrain.
        region: Where they should end.
        choices_UN: Choices of all units.
        streams: A random stream for each recipe.
    """
    choices_UN = choices_UN.copy()
    for _ in range(_MOVES // _BLOCK):
        missing_N = region.violation(_widths(terrain, choices_UN))
        active = np.flatnonzero(missing_N > 1e-12)
        if not active.size:
            break
        draws = np.stack([streams[index].random((_BLOCK, 4)) for index in active.tolist()], axis=2)
        own_UN = choices_UN[:, active]
        for draw_4N in draws:
            own_UN = _move(terrain, region, own_UN, draw_4N)
        choices_UN[:, active] = own_UN
    return choices_UN


def _move(terrain: Terrain, region: Region, choices_UN: IntArray, draw_4N: FloatArray) -> IntArray:
    lattice = terrain.lattice
    widths_GN = _widths(terrain, choices_UN)
    missing_N = region.violation(widths_GN)
    is_violated_JN = region.values(widths_GN) > 0
    gradient_GN = (region.gradients(widths_GN) * is_violated_JN[:, None]).cumsum(axis=0)[-1]
    slope_UN = np.asarray(lattice.spread.T @ gradient_GN) * lattice.step[:, None]
    sign_UN = -np.sign(slope_UN).astype(np.int64)
    last_U1 = lattice.count[:, None] - 1
    can_move_UN = (sign_UN != 0) & (choices_UN + sign_UN >= 0) & (choices_UN + sign_UN <= last_U1)
    unit_N = _pick(np.abs(slope_UN), missing_N, can_move_UN, draw_4N[0])
    columns = np.arange(len(unit_N))
    most_N = np.maximum(1, lattice.count[unit_N] // 10)
    needed_N = np.ceil(missing_N / np.maximum(np.abs(slope_UN[unit_N, columns]), 1e-300))
    amount_N = np.minimum(1 + np.floor(draw_4N[1] * most_N), np.maximum(needed_N, 1))
    moved_UN = choices_UN.copy()
    moved_UN[unit_N, columns] += sign_UN[unit_N, columns] * amount_N.astype(np.int64)
    other_N = (draw_4N[2] * len(lattice.count)).astype(np.int64)
    moved_UN[other_N, columns] += np.floor(draw_4N[3] * 3).astype(np.int64) - 1
    moved_UN = np.clip(moved_UN, 0, last_U1)
    is_better_N = region.violation(_widths(terrain, moved_UN)) < missing_N
    return np.where(is_better_N, moved_UN, choices_UN)


def _pick(
    cost_UN: FloatArray, missing_N: FloatArray, can_move_UN: BoolArray, draw_N: FloatArray
) -> IntArray:
    """Return a random unit whose step is not too long, else the one whose step is shortest, [N]."""
    is_small_UN = can_move_UN & (cost_UN <= 2 * missing_N)
    counts_UN = is_small_UN.cumsum(axis=0)
    wanted_N = np.floor(draw_N * counts_UN[-1])
    random_N = (counts_UN > wanted_N).argmax(axis=0)
    shortest_N = np.where(can_move_UN, cost_UN, np.inf).argmin(axis=0)
    return np.where(counts_UN[-1] > 0, random_N, shortest_N)


def _widths(terrain: Terrain, choices_UN: IntArray) -> FloatArray:
    return np.ascontiguousarray(terrain.lattice.widths(choices_UN).T, dtype=np.float64)
