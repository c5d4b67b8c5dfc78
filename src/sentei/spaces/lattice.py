"""The lattice of a space: which integer widths its recipes may have, one coordinate a unit."""

# Shapes: N = recipes, G = groups, U = units.

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from sentei.allocate.grid import make_grid
from sentei.errors import SpaceError
from sentei.graph import Graph
from sentei.spaces.space import SpaceConfig
from sentei.spaces.stats_base import FloatArray, IntArray
from sentei.spaces.units import Units


@dataclass(frozen=True, kw_only=True, eq=False)
class Lattice:
    """What each unit may be.

    The coordinate of a unit is the width of its widest group, in channels; the other groups of
    the unit keep the same share, to the nearest width they can have.

    Attributes:
        widest: Width of the widest group of each unit, [U].
        low: Its least width, [U].
        step: Distance of its widths, [U].
        count: Number of its widths, [U].
        tables: For each group its width at every choice of its unit, [choices].
        unit_of: Unit of every group, -1 if it is kept, [G].
        spread: From coordinates to real widths of all groups, [G, U].
        kept: Widths of the groups that are kept, 0 for the others, [G].
    """

    widest: IntArray
    low: IntArray
    step: IntArray
    count: IntArray
    tables: tuple[IntArray, ...]
    unit_of: IntArray
    spread: csr_array
    kept: IntArray

    @property
    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Least and largest coordinates, [U] each."""
        return self.low.astype(np.float64), self.widest.astype(np.float64)

    @property
    def padded(self) -> tuple[FloatArray, FloatArray]:
        """Ends of a box in which every width owns a cell of equal size, [U] each."""
        low = self.low - self.step / 2
        return low, low + self.step * self.count

    def real(self, points_UN: FloatArray) -> FloatArray:
        """Return the real widths of all groups at coordinates, [G, N]."""
        return np.asarray(self.spread @ points_UN + self.kept[:, None])

    def points(self, choices_UN: IntArray) -> FloatArray:
        """Return the coordinates of choices, [U, N]."""
        exact = self.low[:, None] + self.step[:, None] * choices_UN
        return np.minimum(exact, self.widest[:, None]).astype(np.float64)

    def nearest(self, points_UN: FloatArray) -> IntArray:
        """Return the choice whose cell each coordinate lies in, clipped to those there are."""
        cells = np.floor((points_UN - self.low[:, None]) / self.step[:, None] + 0.5)
        return np.clip(cells, 0, self.count[:, None] - 1).astype(np.int64)

    def at_least(self, points_UN: FloatArray) -> IntArray:
        """Return the least choice that keeps each coordinate: floor(r w) channels are removed."""
        cells = np.ceil((points_UN - self.low[:, None]) / self.step[:, None] - 1e-9)
        return np.clip(cells, 0, self.count[:, None] - 1).astype(np.int64)

    def widths(self, choices_UN: IntArray) -> IntArray:
        """Return the widths of all groups, [N, G]."""
        columns = [
            table[choices_UN[unit]] if unit >= 0 else np.full(choices_UN.shape[1], table[0])
            for unit, table in zip(self.unit_of, self.tables, strict=True)
        ]
        return np.stack(columns, axis=1)


def make_lattice(graph: Graph, config: SpaceConfig, units: Units) -> Lattice:
    """Return the lattice of a space.

    Raises:
        SpaceError: No unit has more than one width.
    """
    grid = make_grid(graph, round_to=config.round_to, floor=config.floor).choices
    leaders = [max(own, key=lambda index: graph.groups[index].width) for own in units.owners]
    chosen = [grid[leader] for leader in leaders]
    if all(len(own) == 1 for own in chosen):
        raise SpaceError(
            f"space {config.name!r}: no group has more than one width; lower floor={config.floor} "
            f"or round_to={config.round_to}"
        )
    widest = np.array([own[-1] for own in chosen], dtype=np.int64)
    unit_of = np.full(len(graph.groups), -1, dtype=np.int64)
    tables = [np.array([group.width]) for group in graph.groups]
    spread_GU = np.zeros((len(graph.groups), len(chosen)))
    for unit, (own, choices) in enumerate(zip(units.owners, chosen, strict=True)):
        for index in own:
            unit_of[index] = unit
            share = graph.groups[index].width / widest[unit]
            spread_GU[index, unit] = share
            tables[index] = _nearest_of(grid[index], choices * share)
    return Lattice(
        widest=widest,
        low=np.array([own[0] for own in chosen], dtype=np.int64),
        step=np.array([_step(own) for own in chosen], dtype=np.int64),
        count=np.array([len(own) for own in chosen], dtype=np.int64),
        tables=tuple(tables),
        unit_of=unit_of,
        spread=csr_array(spread_GU),
        kept=np.where(unit_of < 0, graph.widths, 0),
    )


def _step(choices: Sequence[int] | IntArray) -> int:
    # The last step may be shorter: the whole width need be no multiple.
    return int(choices[1] - choices[0]) if len(choices) > 1 else 1


def _nearest_of(choices: IntArray, wanted: FloatArray) -> IntArray:
    return choices[np.abs(choices[None] - wanted[:, None]).argmin(axis=1)]
