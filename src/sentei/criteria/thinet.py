"""Greedy choice of the channels that the next layers miss least.

Shapes: C = channels of one group.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sentei.criteria.base import CRITERIA, FloatArray, Source
from sentei.criteria.contributions import OnContributions


@CRITERIA.register("thinet")
@dataclass(frozen=True, kw_only=True)
class ThiNet(OnContributions):
    r"""When a channel goes if each time the one that the next layers miss least goes.

    With :math:`x_{jc}` what channel c adds to output j of a layer that reads it, the set T of
    removed channels grows by the channel that keeps

    .. math:: \sum_j \Bigl( \sum_{c \in T} x_{jc} \Bigr)^2 = 1_T^T G 1_T

    smallest, and the score of a channel is its place in this order: any width can be met. The
    increase by c is :math:`G_{cc} + 2 \sum_{d \in T} G_{cd}`, so that all C choices take
    :math:`C^2` additions once the Gram matrix G is there.

    Source: Luo et al., ThiNet, ICCV 2017, arXiv:1707.06342.
    Difference: at each position drawn all outputs count, not one drawn with it; the errors of
    all layers that read a group are added, each relative to the squared length of its outputs.
    There one layer after the other is pruned and trained, here all are after one scoring.
    The method ``thinet`` also scales what is left, by the compensation ``least-squares``.

    Fields: those of :class:`~sentei.criteria.contributions.OnContributions`.
    """

    source: ClassVar[Source] = Source(
        paper="Luo et al., ThiNet, ICCV", year=2017, arxiv="1707.06342", section="2.2.2"
    )

    def judge(self, gram_DD: FloatArray) -> FloatArray:
        """Return places in the order of removal, 0 to width - 1."""
        return removal_places(gram_DD)


def removal_places(gram_CC: FloatArray) -> FloatArray:
    """Return when each channel goes, shape [C]: 0 for the first; of equals the first in order."""
    places = np.empty(len(gram_CC))
    increase_C = np.diagonal(gram_CC).copy()
    for place in range(len(places)):
        gone = int(increase_C.argmin())
        places[gone] = place
        increase_C += 2 * gram_CC[gone]
        increase_C[gone] = np.inf
    return places
