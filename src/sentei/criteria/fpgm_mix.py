"""Small channels first, then those that others can replace."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Source
from sentei.criteria.vectors import distances, score_vectors, squared_norms


@CRITERIA.register("fpgm-mix")
@dataclass(frozen=True, kw_only=True)
class FpgmMix(Criterion):
    r"""Norm for the smallest channels, then the sum of distances among the larger ones.

    With n the Euclidean norm of a channel, S the channels that survive the cut by norm and
    :math:`n_S` the smallest norm among them,

    .. math:: s_c = n_c / n_S \;(c \notin S), \qquad
        s_c = 1 + \frac{\sum_{d \in S} \lVert w_c - w_d \rVert_2}
        {\max_{e \in S} \sum_{d \in S} \lVert w_e - w_d \rVert_2} \;(c \in S)

    so the cut ones lie in [0, 1] and go first, the others in [1, 2].

    Source: He et al., Filter Pruning via Geometric Median, CVPR 2019, arXiv:1811.00250 (FPGM-mix).
    Difference: a channel is the vector of all weights that go with it, not the filter alone. The
    second rate of the paper, the share cut by distance, is what the budget leaves to cut after
    ``norm_rate``; a budget that cuts less than ``norm_rate`` of a group cuts by norm alone.

    Args:
        norm_rate: Share of every group that goes by norm first, in [0, 1); the paper's mix has
            0.1, of 0.4 in all.

    Raises:
        ValueError: ``norm_rate`` is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="He et al., Filter Pruning via Geometric Median, CVPR",
        year=2019,
        arxiv="1811.00250",
        section="2.1.2",
    )
    norm_rate: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.norm_rate < 1:
            raise ValueError(f"norm_rate={self.norm_rate}; expected a share in [0, 1)")

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the scores, shape [C], in [0, 2]."""
        return score_vectors(evidence, partial(_mixed, norm_rate=self.norm_rate))


def _mixed(gram_CC: FloatArray, norm_rate: float) -> FloatArray:
    norms = np.sqrt(squared_norms(gram_CC))
    ascending = np.argsort(norms, kind="stable")
    # What floating point takes from 0.3 * 10 must not take a channel.
    num_cut = int(norm_rate * len(norms) + 1e-9)
    cut, survivors = ascending[:num_cut], ascending[num_cut:]
    scores = np.empty(len(norms))
    scores[cut] = norms[cut] / (norms[survivors[0]] or 1.0)
    summed = distances(gram_CC[np.ix_(survivors, survivors)]).sum(axis=1)
    scores[survivors] = 1 + summed / (summed.max() or 1.0)
    return scores
