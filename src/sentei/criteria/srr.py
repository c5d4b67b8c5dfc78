"""Channels of the group that repeats itself most."""

# Shapes: C = channels of one group.

import heapq
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Source
from sentei.criteria.vectors import directions, distances, gram, require_weights, squared_norms
from sentei.graph import Group
from sentei.index.atoms import BoolArray, IntArray


@CRITERIA.register("srr")
@dataclass(frozen=True, kw_only=True)
class Srr(Criterion):
    r"""Turn at which a channel goes when the most redundant group loses one at a time.

    Channels c and d of a group are neighbours if
    :math:`\lVert w_c / |w_c| - w_d / |w_d| \rVert < \gamma`. With n channels left, Q connected
    components and N balls of radius one that cover them, the redundancy is

    .. math:: \rho = 1 - \frac{Q + N}{2 n} \in [0, 1)

    At each turn the group of largest redundancy loses one channel, of equal ones that with the
    larger share left, and its redundancy is taken anew. Inside a group, the channels at the
    centres of the balls go last; small ones go before large ones. The score is the turn over the
    number of all channels.

    The balls are chosen greedily, once: the channel with the most neighbours not yet covered, of
    equal ones the larger. Those that are left of the others stay covered, so N is the number of
    balls, or n if fewer are left. Takes :math:`C^2` memory and :math:`C^2 (F + \log C)` time for
    C channels owning F elements each.

    Source: Wang et al., Convolutional Neural Network Pruning with Structural Redundancy
    Reduction, CVPR 2021, arXiv:2104.03438.
    Difference: a channel is the vector of all weights that go with it, not the filter alone. The
    paper's measures are the number of components and the covering number; how they make one
    number, the radius and the threshold are ours, as the paper's were not at hand. Balls are not
    chosen anew after a removal: N may be too large, never too small a cover.

    Args:
        threshold: Distance gamma of directions below which channels are neighbours, in (0, 2];
            1 is an angle of 60 degrees, independent channels are near the square root of 2.

    Raises:
        ValueError: ``threshold`` is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Wang et al., Pruning with Structural Redundancy Reduction, CVPR",
        year=2021,
        arxiv="2104.03438",
        section="2.1.2",
    )
    comparable: ClassVar[bool] = True
    threshold: float = 1.2

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 2:
            raise ValueError(f"threshold={self.threshold}; expected a distance in (0, 2]")

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the turns over the number of channels, shape [C], in [0, 1)."""
        require_weights(evidence)
        found = [self._order(evidence, group) for group in evidence.graph.groups]
        turns = _turns([redundancies for _, redundancies in found])
        scores = np.empty(evidence.graph.num_channels)
        for group, (order, _), own in zip(evidence.graph.groups, found, turns, strict=True):
            scores[group.first + order] = own
        return scores / max(len(scores), 1)

    def _order(self, evidence: Evidence, group: Group) -> tuple[IntArray, FloatArray]:
        """Return the channels in the order they go, and the redundancy before each goes."""
        gram_CC = gram(evidence, group)
        near_CC = distances(directions(gram_CC)) < self.threshold
        norms = np.sqrt(squared_norms(gram_CC))
        is_centre = _centres(near_CC, norms)
        order = np.lexsort((norms, is_centre))
        left = np.arange(len(order), 0, -1)
        balls = np.minimum(left, is_centre.sum())
        return order, 1 - (_components(near_CC[np.ix_(order, order)]) + balls) / (2 * left)


def _centres(near_CC: BoolArray, norms: FloatArray) -> BoolArray:
    """Return which channels are centres of the balls that cover all, chosen greedily, [C]."""
    near_CC = near_CC | np.eye(len(near_CC), dtype=np.bool_)
    is_centre = np.zeros(len(near_CC), dtype=np.bool_)
    is_covered = is_centre.copy()
    gains = near_CC.sum(axis=1)
    tie_breaks = norms / (2 * norms.max() or 1.0)  # at most a half: they part equal gains only
    while not is_covered.all():
        centre = int(np.argmax(gains + tie_breaks))
        new = near_CC[centre] & ~is_covered
        is_centre[centre] = True
        is_covered |= new
        gains -= near_CC[:, new].sum(axis=1)
    return is_centre


def _components(near_CC: BoolArray) -> IntArray:
    """Return the number of connected components of the last C, C - 1, ... 1 channels, shape [C]."""
    # Add channels from the last one on. An edge is there from the turn of its later end on, and
    # the edges of a minimum spanning forest by turn are those that join two components.
    turns = np.arange(len(near_CC), 0, -1)
    rows, columns = np.nonzero(np.triu(near_CC, 1))
    graph = csr_array((turns[rows], (rows, columns)), shape=near_CC.shape)
    joined = minimum_spanning_tree(graph).data
    num_joins = np.searchsorted(np.sort(joined), turns, side="right")
    return np.asarray(turns - num_joins, dtype=np.int64)


def _turns(redundancies: list[FloatArray]) -> list[FloatArray]:
    """Return the turn of every removal, group by group, when the most redundant group is next."""

    def entry(group: int, gone: int) -> tuple[float, float, int, int]:
        own = redundancies[group]
        return -float(own[gone]), gone / len(own), group, gone

    turns = [np.empty(len(own)) for own in redundancies]
    heads = [entry(group, 0) for group in range(len(redundancies))]
    heapq.heapify(heads)
    for turn in range(sum(len(own) for own in redundancies)):
        *_, group, gone = heapq.heappop(heads)
        turns[group][gone] = turn
        if gone + 1 < len(redundancies[group]):
            heapq.heappush(heads, entry(group, gone + 1))
    return turns
