"""Counting by dynamic programming: exactly uniform recipes, and how many there are."""

# Shapes: N = recipes, G = groups, U = units, C = choices of a part, V = cells that a part can cost,
# F = cells of the MACs.

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from sentei.errors import SpaceError
from sentei.spaces.sampling.base import SAMPLERS, Draw, Sampler, Streams, target
from sentei.spaces.space import Slab
from sentei.spaces.stats_base import FloatArray, IntArray
from sentei.spaces.terrain import Terrain

_MOST_CHOICES = 2_000_000
_FEW = 600  # values that are added one by one; more are correlated


@dataclass(frozen=True, kw_only=True)
class Exact(Sampler):
    """Uniform over all widths inside the MACs' slab, exactly; other slabs by rejection.

    Where the MACs are a sum over parts (single units, or the units of a block) that do not
    multiply each other, a table T counts, part by part and backwards, in how many ways the rest
    can end inside; recipes are then drawn forwards, each choice in proportion to what it leaves.
    A basic-block network is such once residual channels are kept, and so is one of bottlenecks.

    MACs are counted in cells of their greatest common divisor. Where this takes too many, cells
    are larger, the slab wider by what rounding may cost, and recipes outside it are drawn
    anew: slower, but uniform all the same.

    Args:
        most_cells: Cells of the table, >= 100.

    Raises:
        ValueError: ``most_cells`` is below 100.
    """

    measure: ClassVar[str] = "uniform over widths inside the slabs"
    most_cells: int = 16_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.most_cells < 100:
            raise ValueError(f"most_cells={self.most_cells}; expected at least 100")

    def prepare(self, terrain: Terrain, slabs: Sequence[Slab]) -> Draw:
        """Return what draws from the table.

        Raises:
            SpaceError: The MACs are no sum over small parts, or no widths have them.
        """
        table = _Table.of(terrain, slabs, self.most_cells)
        if not table.left[0][0]:
            low, high = table.band
            raise SpaceError(
                f"space {terrain.config.name!r} is empty: no widths have between {low} and {high} "
                "multiply-adds; widen the slab of macs"
            )
        return table.draw

    def count(self, terrain: Terrain, slabs: Sequence[Slab]) -> float:
        """Return the number of recipes inside the slabs of MACs; exact below 2**53.

        Raises:
            SpaceError: As for `prepare`; there are other slabs; or the table takes too many cells.
        """
        others = [str(slab) for slab in slabs if slab.quantity != "macs"]
        if others:
            raise SpaceError(f"only slabs of macs can be counted, not {', '.join(others)}")
        table = _Table.of(terrain, slabs, self.most_cells)
        if not table.is_exact:
            raise SpaceError(
                f"the MACs take more than {self.most_cells} cells to count exactly; raise most_cells"
            )
        return float(table.left[0][0])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """Units whose MACs do not multiply those of others.

    Attributes:
        units: Their numbers.
        sizes: How many choices each has.
        order: Joint choices, sorted by their cells, [C].
        cells: What a joint choice can cost, ascending, [V].
        counts: How many joint choices cost that, [V].
        firsts: Where they begin in ``order``, [V].
    """

    units: tuple[int, ...]
    sizes: tuple[int, ...]
    order: IntArray
    cells: IntArray
    counts: IntArray
    firsts: IntArray

    @staticmethod
    def of(units: tuple[int, ...], sizes: tuple[int, ...], cells_C: IntArray) -> "_Part":
        """Return the part whose joint choices cost ``cells_C``."""
        cells, firsts, counts = np.unique(np.sort(cells_C), return_index=True, return_counts=True)
        order = np.argsort(cells_C, kind="stable")
        return _Part(
            units=units, sizes=sizes, order=order, cells=cells, counts=counts, firsts=firsts
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Table:
    """In how many ways the parts from one on can end in the band, given the cells used before.

    Attributes:
        parts: The parts.
        left: For each part, and the end, the number of ways by cells used, [F].
        band: Least and largest MACs.
        is_exact: A cell is a divisor of all MACs.
    """

    parts: tuple[_Part, ...]
    left: tuple[FloatArray, ...]
    band: tuple[int, int]
    is_exact: bool

    @staticmethod
    def of(terrain: Terrain, slabs: Sequence[Slab], most_cells: int) -> "_Table":
        """Return the table of a terrain."""
        target(terrain, slabs, "exact", costs=("macs",))  # refuses slabs that do not meet
        dense = terrain.dense["macs"]
        mac_slabs = [slab for slab in slabs if slab.quantity == "macs"]
        low = math.ceil(max(slab.low for slab in mac_slabs) * dense - 1e-6)
        high = math.floor(min(slab.high for slab in mac_slabs) * dense + 1e-6)
        base, costs = _part_costs(terrain)
        divisor = reduce(math.gcd, (int(np.gcd.reduce(cost_C)) for _, _, cost_C in costs))
        cell = max(divisor, 1)
        is_exact = (high - base) // cell < most_cells
        if not is_exact:
            cell = math.ceil((high - base) / most_cells)
        slack = 0 if is_exact else len(costs) // 2 + 1
        first = max(-(-(low - base) // cell) - slack, 0)
        last = (high - base) // cell + slack
        parts = tuple(_Part.of(u, s, (2 * c + cell) // (2 * cell)) for u, s, c in costs)
        return _Table(
            parts=parts, left=_count(parts, first, last), band=(low, high), is_exact=is_exact
        )

    def draw(self, streams: Streams) -> IntArray:
        """Return choices of all units, [U, N]."""
        draws_NP2 = np.stack([stream.random((len(self.parts), 2)) for stream in streams])
        used_N = np.zeros(len(streams), dtype=np.int64)
        choices_UN = np.zeros((sum(len(p.units) for p in self.parts), len(streams)), dtype=np.int64)
        for number, part in enumerate(self.parts):
            at_NV = used_N[:, None] + part.cells
            left_F = self.left[number + 1]
            ways_NV = np.where(at_NV < left_F.size, left_F[np.minimum(at_NV, left_F.size - 1)], 0.0)
            sums_NV = (ways_NV * part.counts).cumsum(axis=1)
            wanted_N1 = draws_NP2[:, number, :1] * sums_NV[:, -1:]
            value_N = (sums_NV > wanted_N1).argmax(axis=1)
            within_N = (draws_NP2[:, number, 1] * part.counts[value_N]).astype(np.int64)
            joint_N = part.order[part.firsts[value_N] + within_N]
            choices_UN[list(part.units)] = np.unravel_index(joint_N, part.sizes)
            used_N += part.cells[value_N]
        return choices_UN


def _count(parts: Sequence[_Part], first: int, last: int) -> tuple[FloatArray, ...]:
    """Return the ways that are left before each part, and at the end, [F] each."""
    left_F = np.zeros(max(last + 1, 1))
    left_F[first : last + 1] = 1.0
    found = [left_F]
    for part in reversed(parts):
        before_F = np.zeros_like(left_F)
        inside = part.cells < left_F.size
        cells, counts = part.cells[inside], part.counts[inside]
        if len(cells) <= _FEW:
            for cell, count in zip(cells, counts, strict=True):
                before_F[: left_F.size - cell] += count * left_F[cell:]
        else:
            histogram_F = np.zeros_like(left_F)
            histogram_F[cells] = counts
            before_F = np.correlate(np.pad(left_F, (0, left_F.size - 1)), histogram_F, "valid")
        left_F = before_F
        found.append(left_F)
    return tuple(reversed(found))


def _part_costs(
    terrain: Terrain,
) -> tuple[int, list[tuple[tuple[int, ...], tuple[int, ...], IntArray]]]:
    """Return the MACs of the narrowest recipe, and for each part what its choices add to them, [C].

    Raises:
        SpaceError: Too many units multiply each other's MACs.
    """
    lattice = terrain.lattice
    products_UU = lattice.spread.T @ terrain.macs.matrix @ lattice.spread
    count, labels = connected_components(csr_array(products_UU), directed=False)
    narrowest_U = np.zeros(len(lattice.count), dtype=np.int64)
    base = _macs(terrain, narrowest_U[:, None])[0]
    found = []
    for label in range(count):
        units = tuple(np.flatnonzero(labels == label).tolist())
        sizes = tuple(lattice.count[list(units)].tolist())
        if math.prod(sizes) > _MOST_CHOICES:
            names = [terrain.graph.groups[terrain.units.owners[u][0]].name for u in units[:3]]
            raise SpaceError(
                f"space {terrain.config.name!r}: the MACs of {len(units)} units ({', '.join(names)}, "
                f"...) multiply each other, which makes {math.prod(sizes):.3g} joint choices, more "
                f"than {_MOST_CHOICES:.0e}; keep residual_groups, or use sampler 'hit-and-run'"
            )
        choices_UC = np.tile(narrowest_U[:, None], (1, math.prod(sizes)))
        choices_UC[list(units)] = np.indices(sizes).reshape(len(units), -1)
        found.append((units, sizes, _macs(terrain, choices_UC) - base))
    return int(base), found


def _macs(terrain: Terrain, choices_UN: IntArray) -> IntArray:
    widths_GN = terrain.lattice.widths(choices_UN).T.astype(np.float64)
    return np.rint(terrain.macs.value(widths_GN)).astype(np.int64)


SAMPLERS.register("exact")(Exact)
