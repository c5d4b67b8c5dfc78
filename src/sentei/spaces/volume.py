"""How large a space is inside another: the share of its recipes, however small."""

# Shapes: N = recipes.

import math
from collections.abc import Sequence

import numpy as np

from sentei.errors import SpaceError
from sentei.seeding import derive_seed
from sentei.spaces.sampling import SAMPLERS
from sentei.spaces.space import Slab
from sentei.spaces.stats_base import FloatArray, IntArray
from sentei.spaces.terrain import Terrain

_NUM = 150  # recipes of a level: a level's share has a relative error of about 15 %
_LEVELS = 60
_EACH = 0.2  # share of a level that the next one keeps


def log_share(
    terrain: Terrain, outer: Sequence[Slab], inner: Sequence[Slab], *, seed: int
) -> float:
    """Return the natural logarithm, <= 0, of the share of a space that more slabs leave.

    Multilevel splitting: the added slabs are widened until a fifth of the recipes keep to them,
    the same again inside those, and so on; the shares multiply. Recipes are drawn by "hit-and-run".

    Args:
        terrain: The terrain.
        outer: Slabs of the space.
        inner: Slabs that are added; none leave all.
        seed: Root of the draws.

    Raises:
        SpaceError: A space is empty.
    """
    if not inner:
        return 0.0
    sampler, slabs, total = SAMPLERS["hit-and-run"](), list(outer), 0.0
    scales: list[float] = []
    for level in range(_LEVELS):
        widths_NG = sampler.sample(
            terrain, slabs, num=_NUM, seed=derive_seed(seed, "level", str(level))
        )
        scales = scales or _scales(terrain, widths_NG, inner)
        excess_N = _excess(terrain, widths_NG, inner, scales)
        if (excess_N <= 0).mean() >= _EACH / 2:
            return total + math.log((excess_N <= 0).mean())
        margin = float(np.quantile(excess_N, _EACH))
        total += math.log((excess_N <= margin).mean())
        slabs = [*outer, *_widened(inner, scales, margin)]
    raise SpaceError(
        f"space {terrain.config.name!r}: {' and '.join(map(str, inner))} leave too little to measure; "
        "widen them"
    )


def _scales(terrain: Terrain, widths_NG: IntArray, inner: Sequence[Slab]) -> list[float]:
    """Return how far each quantity spreads in a sample; the unit of what exceeds its slab."""
    found = terrain.quantities(widths_NG)
    return [max(float(np.std(found[slab.quantity])), 1e-12) for slab in inner]


def _excess(
    terrain: Terrain, widths_NG: IntArray, inner: Sequence[Slab], scales: Sequence[float]
) -> FloatArray:
    """Return how far recipes are outside the slabs, in units of the scales, [N]; 0 inside."""
    found = terrain.quantities(widths_NG)
    sides = [
        np.maximum(slab.low - found[slab.quantity], found[slab.quantity] - slab.high) / scale
        for slab, scale in zip(inner, scales, strict=True)
    ]
    return np.maximum(np.max(sides, axis=0), 0.0)


def _widened(inner: Sequence[Slab], scales: Sequence[float], margin: float) -> list[Slab]:
    return [
        Slab(
            quantity=slab.quantity,
            low=max(slab.low - margin * scale, 0.0),
            high=slab.high + margin * scale,
        )
        for slab, scale in zip(inner, scales, strict=True)
    ]
