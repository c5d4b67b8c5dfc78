"""Channels that are near to all others."""

from dataclasses import dataclass
from typing import ClassVar

from scipy.stats import rankdata

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Source
from sentei.criteria.vectors import score_vectors, squared_distances


@CRITERIA.register("clr-rnf")
@dataclass(frozen=True, kw_only=True)
class ClrRnf(Criterion):
    r"""How early a channel is among the k nearest of every channel as k grows.

    Let :math:`\pi_d(c)` be the number of channels strictly nearer to d than c is (d itself is
    the nearest, 0). Channel c is in the intersection of all sets of k nearest from
    :math:`k = 1 + \max_d \pi_d(c)` on; the earlier, the more important:

    .. math:: s_c = 1 - \frac{1}{C} \Bigl(\max_d \pi_d(c)
        + \frac{1}{C} \operatorname{mean}_d \pi_d(c) \Bigr)

    The second term, below 1, only parts those that enter together.

    Of vectors that differ in length the shorter are the nearer to all, so that what stays is
    what is small: in a trained ResNet-20 the scores go against ``l1`` in every group (Spearman
    -0.78 to -0.97; from filters alone -0.65 to -0.96). This is the paper's rule and no slip in
    it. The authors' code gives what stays new norms, which undo its size, prunes nothing but the
    inside of residual blocks, and trains for 150 epochs; with the norms that there are and a
    short recovery, expect less than from ``random``.

    Takes :math:`C^2` memory and :math:`C^2 (F + \log C)` time for C channels owning F elements
    each. The widths of the paper are the scope ``clr``.

    Source: Lin et al., Pruning Networks with Cross-Layer Ranking and k-Reciprocal Nearest
    Filters, TNNLS 2022, arXiv:2202.07190.
    Difference: a channel is the vector of all weights that go with it, not the filter alone.
    Among those that enter at the same k the paper chooses at random; here the nearer to all
    others stays. Its similarity, exp(-distance) over the sum of its row, has the order of the
    distances.
    """

    source: ClassVar[Source] = Source(
        paper="Lin et al., Cross-Layer Ranking and k-Reciprocal Nearest Filters, TNNLS",
        year=2022,
        arxiv="2202.07190",
        section="2.1.2",
    )

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the scores, shape [C], in (0, 1]."""
        return score_vectors(evidence, _earliness)


def _earliness(gram_CC: FloatArray) -> FloatArray:
    ranks_CC = rankdata(squared_distances(gram_CC), method="min", axis=1) - 1
    count = len(ranks_CC)
    late: FloatArray = ranks_CC.max(axis=0) + ranks_CC.mean(axis=0) / count
    return 1 - late / count
