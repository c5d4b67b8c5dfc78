"""Greedy forward selection: channels join an empty layer, each time the one that helps most.

Shapes: C = channels of one group.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sentei.criteria.base import CRITERIA, FloatArray, Source
from sentei.criteria.contributions import OnContributions

# Channels that bring no new least error still go in order: the later the lower, by this share.
_STEP = 1e-6


@CRITERIA.register("gfs")
@dataclass(frozen=True, kw_only=True)
class Gfs(OnContributions):
    r"""Error that is left before a channel joins, when the one that helps most joins next.

    With :math:`x_{jc}` what channel c adds to output j of a layer that reads it, the set S starts
    empty and grows by the channel with which it comes nearest to what all C add up to:

    .. math:: e(S) = \frac{1}{\sum_j y_j^2} \sum_j \Bigl( y_j - a_S \sum_{c \in S} x_{jc}
        \Bigr)^2, \qquad y_j = \sum_c x_{jc}

    with :math:`a_S = 1`, or :math:`C / |S|` if ``scaled``: the mean of S in place of that of all.

    The score of a channel is the least error of all sets before it, in [0, 1]: the channels
    above :math:`\epsilon` are those that selection takes until the error is at most
    :math:`\epsilon`, in every group. All errors come from the Gram matrix of the contributions, in
    :math:`C^2` time and memory.

    Source: Ye et al., Good Subnetworks Provably Exist: Pruning via Greedy Forward Selection, ICML
    2020, arXiv:2003.01794.
    Difference: there each candidate is judged by the loss of the network; here by the outputs of
    the layers that read it, as a first view of what the loss would see, of the whole network and
    not of one pruned front to back; with several, their relative errors are averaged. A channel
    joins once; there it may again, to weigh more. The default judges the sums that
    removal leaves; sets chosen by means, as in the paper, fit those badly.

    Args:
        scaled: Judge sets by means, as in the paper.

    Other fields: those of :class:`~sentei.criteria.contributions.OnContributions`.
    """

    source: ClassVar[Source] = Source(
        paper="Ye et al., Good Subnetworks Provably Exist: Greedy Forward Selection, ICML",
        year=2020,
        arxiv="2003.01794",
        section="2.2.2",
    )
    comparable: ClassVar[bool] = True
    scaled: bool = False

    def judge(self, gram_DD: FloatArray) -> FloatArray:
        """Return the least error before each channel joins, in [0, 1]."""
        order, errors = selection(gram_DD, scaled=self.scaled)
        scores = np.empty(len(order))
        before = np.minimum.accumulate(np.r_[1.0, errors[:-1]])
        scores[order] = before * (1 - _STEP * np.arange(len(order)) / len(order))
        return scores


def selection(gram_CC: FloatArray, *, scaled: bool = False) -> tuple[list[int], FloatArray]:
    """Return the channels in the order they join, and the error after each, shape [C].

    Of equals the first in order joins. Where nothing is computed, all errors are 0.

    Args:
        gram_CC: Gram matrix of the contributions.
        scaled: Judge sets by means; see :class:`Gfs`.
    """
    width, alone_C, along_C = len(gram_CC), np.diagonal(gram_CC), gram_CC.sum(axis=1)
    whole = along_C.sum()
    order: list[int] = []
    errors = np.zeros(width)
    # Of the set with each channel: its square, and its product with what all add up to.
    squares_C, products_C, crossed_C = alone_C, along_C, np.zeros(width)
    for size in range(1, width + 1):
        scale = width / size if scaled else 1.0
        errors_C = whole - 2 * scale * products_C + scale**2 * squares_C
        errors_C[order] = np.inf
        best = int(errors_C.argmin())
        order.append(best)
        errors[size - 1] = errors_C[best]
        crossed_C = crossed_C + gram_CC[best]
        squares_C = squares_C[best] + alone_C + 2 * crossed_C
        products_C = products_C[best] + along_C
    return order, np.maximum(errors, 0) / (whole if whole > 0 else 1)
