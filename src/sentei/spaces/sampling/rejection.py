"""Ratios drawn until their cost happens to fall into the slabs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sentei.spaces.sampling.base import SAMPLERS, Draw, Sampler, Streams
from sentei.spaces.space import Slab
from sentei.spaces.stats_base import IntArray
from sentei.spaces.terrain import Terrain

_BATCH = 1000


@dataclass(frozen=True, kw_only=True)
class Rejection(Sampler):
    """Pruning ratios from U(0, ``largest``), kept if every slab holds; a baseline.

    An attempt is a thousand draws. With thin slabs, or far from the middle of the box, nothing
    falls inside: the other samplers aim.

    Source: Li et al., EagleEye, ECCV 2020, arXiv:2007.02491.
    Difference: costs are formulas, so that no network is built for a draw.

    Args:
        largest: Largest pruning ratio, in (0, 1]; the floor of the space holds besides.

    Raises:
        ValueError: ``largest`` is out of range.
    """

    measure: ClassVar[str] = "uniform pruning ratios inside the slabs"
    largest: float = 0.6

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.largest <= 1:
            raise ValueError(f"largest={self.largest}; expected a pruning ratio in (0, 1]")

    def prepare(self, terrain: Terrain, slabs: Sequence[Slab]) -> Draw:
        """Return what draws ratios."""
        region, lattice = terrain.region(slabs), terrain.lattice
        is_floor = terrain.config.rounding == "floor_removed"
        rounded = lattice.at_least if is_floor else lattice.nearest
        size = len(lattice.count)

        def draw_one(stream: np.random.Generator) -> IntArray:
            kept_UN = 1.0 - self.largest * stream.random((size, _BATCH))
            choices_UN = rounded(kept_UN * lattice.widest[:, None])
            widths_GN = lattice.widths(choices_UN).T.astype(np.float64)
            return choices_UN[:, region.violation(widths_GN).argmin()]

        def draw(streams: Streams) -> IntArray:
            return np.stack([draw_one(stream) for stream in streams], axis=1)

        return draw


SAMPLERS.register("rejection")(Rejection)
