"""Distance to the other channels of the group."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Source
from sentei.criteria.vectors import directions, distances, score_vectors

Distance = Literal["euclidean", "cosine"]


@CRITERIA.register("fpgm")
@dataclass(frozen=True, kw_only=True)
class Fpgm(Criterion):
    r"""Sum of distances from a channel to all others: small means replaceable.

    .. math:: s_c = \sum_d \lVert w_c - w_d \rVert_2
        \quad\text{or}\quad s_c = \sum_{d \ne c} 1 - \cos(w_c, w_d)

    Takes :math:`C^2` memory and :math:`C^2 F` time for C channels owning F elements each.

    Source: He et al., Filter Pruning via Geometric Median, CVPR 2019, arXiv:1811.00250.
    Difference: a channel is the vector of all weights that go with it, not the filter alone. The
    authors' code offers the cosine but never takes it; here it is what it says. A channel of
    zeros has no direction: its cosine with any other is 0.

    Args:
        distance: ``euclidean``, in the unit of the weights, or ``cosine``, each in [0, 2].

    Raises:
        ValueError: ``distance`` is unknown.
    """

    source: ClassVar[Source] = Source(
        paper="He et al., Filter Pruning via Geometric Median, CVPR",
        year=2019,
        arxiv="1811.00250",
        section="2.1.2",
    )
    distance: Distance = "euclidean"

    def __post_init__(self) -> None:
        if self.distance not in get_args(Distance):
            raise ValueError(
                f"distance={self.distance!r}; expected one of {', '.join(get_args(Distance))}"
            )

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the summed distances, shape [C]."""
        return score_vectors(evidence, _cosine if self.distance == "cosine" else _euclidean)


def _euclidean(gram_CC: FloatArray) -> FloatArray:
    summed: FloatArray = distances(gram_CC).sum(axis=1)
    return summed


def _cosine(gram_CC: FloatArray) -> FloatArray:
    apart = 1 - directions(gram_CC)
    np.fill_diagonal(apart, 0)
    summed: FloatArray = apart.sum(axis=1)
    return summed
