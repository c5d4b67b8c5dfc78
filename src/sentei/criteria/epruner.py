"""Channels that speak for others."""

import warnings
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from sklearn.cluster import AffinityPropagation
from sklearn.exceptions import ConvergenceWarning

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Source
from sentei.criteria.vectors import distances, score_vectors
from sentei.index.atoms import IntArray

_MOST_ITERATIONS = 300
_TIMES = 10  # the choice has to stand for so many times the time in which a message fades to 1 / e


@CRITERIA.register("epruner")
@dataclass(frozen=True, kw_only=True)
class EPruner(Criterion):
    r"""Exemplars of affinity propagation first; then what no exemplar is near to.

    With E the exemplars of the group,

    .. math:: s_c = [c \in E] + \frac{\min_{e \in E, e \ne c} \lVert w_c - w_e \rVert_2}
        {\max_{a, b} \lVert w_a - w_b \rVert_2}

    in [0, 2] (an only exemplar has 2): the others in [0, 1], an exemplar in [1, 2]. Affinities
    are :math:`-\lVert w_c - w_d \rVert_2^2`, the preference of a channel is ``beta`` times the
    median of its affinities, itself included. Takes :math:`C^2` memory and :math:`C^2` time an
    iteration for C channels.

    Source: Lin et al., Network Pruning Using Adaptive Exemplar Filters, TNNLS 2022,
    arXiv:2101.07985.
    Difference: a channel is the vector of all weights that go with it, not the filter alone. The
    paper keeps the exemplars, however many; the grades serve any other width. The number of
    exemplars sets the widths with the scope ``exemplars``.

    Args:
        beta: Factor of the preference, >= 0; the larger, the fewer exemplars, 0 makes all
            exemplars.
        damping: Share of the last message that the next one keeps, in [0.5, 1). Where messages do
            not settle in 300 iterations, the choice of the last one counts.

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Lin et al., Network Pruning Using Adaptive Exemplar Filters, TNNLS",
        year=2022,
        arxiv="2101.07985",
        section="2.1.2",
    )
    beta: float = 0.75
    damping: float = 0.7

    def __post_init__(self) -> None:
        if not 0 <= self.beta < np.inf:
            raise ValueError(f"beta={self.beta}; expected a finite factor >= 0")
        check_damping(self.damping)

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the scores, shape [C], in [0, 2]."""
        return score_vectors(evidence, partial(_graded, beta=self.beta, damping=self.damping))


def check_damping(damping: float) -> None:
    """Refuse a damping that is out of range.

    Raises:
        ValueError: It is not in [0.5, 1).
    """
    if not 0.5 <= damping < 1:
        raise ValueError(f"damping={damping}; expected a share in [0.5, 1)")


def _graded(gram_CC: FloatArray, *, beta: float, damping: float) -> FloatArray:
    distances_CC = distances(gram_CC)
    chosen = exemplars(distances_CC, beta=beta, damping=damping)
    largest = float(distances_CC.max()) or 1.0
    others = distances_CC[:, chosen]
    others[chosen, np.arange(len(chosen))] = np.inf  # an exemplar does not stand for itself
    scores: FloatArray = np.minimum(others.min(axis=1) / largest, 1)
    scores[chosen] += 1
    return scores


def exemplars(distances_CC: FloatArray, *, beta: float, damping: float) -> IntArray:
    """Return the exemplars that affinity propagation chooses, ascending, at least one.

    Messages may swing for ever, as between equal channels: then the choice of the last iteration
    counts and, if it is empty, the channel whose distances to all others add up to least.

    Args:
        distances_CC: Distance of every two channels.
        beta: Factor of the preference, >= 0.
        damping: Share of the last message that the next one keeps, in [0.5, 1).
    """
    affinities = -np.square(distances_CC)
    method = AffinityPropagation(
        affinity="precomputed",
        preference=beta * np.median(affinities, axis=0),
        damping=damping,
        max_iter=_MOST_ITERATIONS,
        # Damped messages move slowly: a choice that stands for 15 of them, the default, may be
        # nowhere near the last one.
        convergence_iter=round(_TIMES / (1 - damping)),
        random_state=0,  # of the noise that parts equal affinities; no generator of the user's
    )
    with warnings.catch_warnings():
        # Where all are equally near, all or the first are exemplars: both are right.
        warnings.filterwarnings("ignore", message="All samples have mutually equal similarities")
        warnings.filterwarnings("ignore", category=ConvergenceWarning)  # see above
        found = method.fit(affinities).cluster_centers_indices_
    if len(found) == 0:
        found = [distances_CC.sum(axis=1).argmin()]
    return np.sort(np.asarray(found, dtype=np.int64))
