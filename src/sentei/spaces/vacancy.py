"""Why a space is empty: which slabs conflict, and what comes nearest."""

from collections.abc import Sequence

import numpy as np

from sentei.spaces.extremes import nearest_point
from sentei.spaces.space import Slab
from sentei.spaces.stats_base import FloatArray
from sentei.spaces.terrain import Terrain

_STARTS = 8
_TOUCHES = 1e-5  # what the search for a point leaves of a slab it touches


def explain(terrain: Terrain, slabs: Sequence[Slab]) -> str:
    """Return why no recipe was found: the slabs that conflict and the nearest feasible values."""
    point_U, gap = _nearest(terrain, slabs)
    widths_NG = terrain.lattice.widths(terrain.lattice.nearest(point_U[:, None]))
    values = terrain.quantities(widths_NG)
    near = ", ".join(f"{name} {values[name][0]:.4g}" for name in _names(slabs))
    if gap < _TOUCHES:
        return (
            f"real widths meet {_listed(slabs)}, rounded to channels they have {near}; widen the "
            "narrowest slab, raise attempts, or use sampler 'hit-and-run'"
        )
    guilty = conflict(terrain, slabs)
    together = " together" if len(guilty) > 1 else ""
    return f"no recipe has {_listed(guilty)}{together}; nearest: {near}"


def is_empty(terrain: Terrain, slabs: Sequence[Slab]) -> bool:
    """Return whether not even real widths were found that meet all slabs."""
    return _nearest(terrain, slabs)[1] >= _TOUCHES


def conflict(terrain: Terrain, slabs: Sequence[Slab]) -> list[Slab]:
    """Return a smallest set of slabs that cannot hold together: without any, the others can."""
    left = list(slabs)
    for slab in slabs:
        others = [other for other in left if other is not slab]
        if others and is_empty(terrain, others):
            left = others
    return left


def _nearest(terrain: Terrain, slabs: Sequence[Slab]) -> tuple[FloatArray, float]:
    """Return the point that exceeds the slabs least, and by how much."""
    region, lattice = terrain.region(slabs), terrain.lattice
    low_U, high_U = lattice.bounds
    rng = np.random.default_rng(0)
    starts = [(low_U + high_U) / 2]
    starts += [low_U + rng.random(low_U.size) * (high_U - low_U) for _ in range(_STARTS)]
    best: tuple[FloatArray, float] = (starts[0], np.inf)
    for start_U in starts:
        point_U = nearest_point(region, lattice, start_U)
        gap = float(region.violation(lattice.real(point_U[:, None]))[0])
        if gap < best[1]:
            best = point_U, gap
        if best[1] < _TOUCHES:
            break
    return best


def _names(slabs: Sequence[Slab]) -> list[str]:
    return list(dict.fromkeys(slab.quantity for slab in slabs))


def _listed(slabs: Sequence[Slab]) -> str:
    return " and ".join(str(slab) for slab in slabs)
