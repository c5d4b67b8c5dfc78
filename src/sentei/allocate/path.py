"""From the whole network down to the floor, one channel at a time."""

# Shapes: N = points on the path, G = groups, C = channels of all groups.

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sentei.allocate.grid import Grid
from sentei.criteria.base import FloatArray
from sentei.graph.groups import Group, lowest_first
from sentei.index.atoms import IntArray


def ascending_scores(group: Group, scores: FloatArray) -> FloatArray:
    """Return the scores in the order of removal, shape [width].

    Where rows must stay equal, one channel of each row goes at a time: each stands with the mean.
    """
    tiers = scores[lowest_first(group, scores)].mean(axis=0)
    return np.repeat(tiers, group.num_rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class Path:
    """Allocations from the whole network to the floor; each contains the next.

    Attributes:
        grid: The widths each group may have.
        keys: For every group the keys of its channels in the order of removal, ascending.
    """

    grid: Grid
    keys: Sequence[FloatArray]

    @cached_property
    def widths_G(self) -> IntArray:
        """The widths of the whole network."""
        return np.array([len(k) for k in self.keys], dtype=np.int64)

    @cached_property
    def firsts_G(self) -> IntArray:
        """Number of the first channel of each group."""
        return np.cumsum(self.widths_G) - self.widths_G

    @property
    def length(self) -> int:
        """Number of the last point, where every group is at its narrowest."""
        return int(self.widths_G.sum())

    @cached_property
    def turns_C(self) -> IntArray:
        """When each channel goes, group by group in the order of removal; no two at once."""
        order = np.argsort(np.concatenate([*self.keys, np.empty(0)]), kind="stable")
        turns = np.empty(len(order), dtype=np.int64)
        turns[order] = np.arange(len(order))
        return turns

    @cached_property
    def _snapped(self) -> IntArray:
        """For each group and number of removed channels the nearest width it may have."""
        tables = []
        for width, choices in zip(self.widths_G.tolist(), self.grid.choices, strict=True):
            middles = (choices[:-1] + choices[1:]) / 2
            left = np.arange(width, -1, -1)
            tables.append(choices[np.searchsorted(middles, left, side="right")])
        return np.concatenate([*tables, np.empty(0, dtype=np.int64)])

    def widths(self, points_N: IntArray) -> IntArray:
        """Return the widths after so many turns, shape [N, G]."""
        # One search for all groups: their turns are kept apart by an offset above any turn.
        groups = np.arange(len(self.keys))
        apart = self.length + 1
        turns = self.turns_C + np.repeat(groups, self.widths_G) * apart
        gone_NG = np.searchsorted(turns, points_N[:, None] + groups * apart) - self.firsts_G
        return self._snapped[gone_NG + self.firsts_G + groups]

    def next_turns(self, widths_G: IntArray) -> IntArray:
        """Return when the last of the channels that are gone went, by group; -1 if none is."""
        gone = self.widths_G - widths_G
        return np.where(gone > 0, self.turns_C[np.maximum(self.firsts_G + gone - 1, 0)], -1)

    def wider(self, widths_G: IntArray) -> IntArray:
        """Return every allocation with one group one step wider, shape [N, G].

        The first is the one that brings back the most important channels.
        """
        groups = np.flatnonzero(widths_G < self.widths_G)
        groups = groups[np.argsort(-self.next_turns(widths_G)[groups], kind="stable")]
        found = np.repeat(widths_G[None], len(groups), axis=0)
        for row, group in enumerate(groups.tolist()):
            choices = self.grid.choices[group]
            found[row, group] = choices[np.searchsorted(choices, widths_G[group]) + 1]
        return found

    def narrower(self, widths_G: IntArray) -> IntArray:
        """Return every allocation with one group one step narrower, shape [N, G]."""
        found = []
        for group, choices in enumerate(self.grid.choices):
            place = np.searchsorted(choices, widths_G[group])
            if place > 0:
                found.append(widths_G.copy())
                found[-1][group] = choices[place - 1]
        return np.array(found, dtype=np.int64).reshape(-1, len(widths_G))

    def damage(self, widths_NG: IntArray) -> IntArray:
        """Return the sum of the turns of the channels that are gone, shape [N]."""
        sums = np.append(0, np.cumsum(self.turns_C))
        gone_NG = self.widths_G - widths_NG
        return (sums[self.firsts_G + gone_NG] - sums[self.firsts_G]).sum(axis=1)
