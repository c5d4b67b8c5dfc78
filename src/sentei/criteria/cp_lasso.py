"""Channels that survive a LASSO on the outputs of the next layers.

Shapes: C = channels of one group; A = corners of the LASSO's path.
"""

import warnings
from dataclasses import dataclass
from typing import ClassVar

from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import lars_path_gram

from sentei.criteria.base import CRITERIA, FloatArray, Source
from sentei.criteria.contributions import OnContributions


@CRITERIA.register("cp-lasso")
@dataclass(frozen=True, kw_only=True)
class CpLasso(OnContributions):
    r"""Largest penalty at which a LASSO over channels still uses a channel.

    With :math:`X_c` what channel c adds to the outputs :math:`Y = \sum_c X_c` of a layer that
    reads it,

    .. math:: \min_b \tfrac12 \Bigl\lVert Y - \sum_c b_c X_c \Bigr\rVert_F^2 + \lambda \lVert b \rVert_1

    and the score of c is the largest :math:`\lambda` with :math:`b_c \ne 0`, 0 if there is none.
    The whole path comes from the Gram matrix G of the contributions by least angles (the
    correlations with Y are its row sums), in :math:`O(C^3)` time: minutes for thousands of channels.

    Source: He et al., Channel Pruning for Accelerating Very Deep Neural Networks, ICCV 2017,
    arXiv:1707.06168.
    Difference: the path itself orders the channels, instead of a search for the penalty that
    leaves a given number; inputs and outputs are those of the whole network, not of one pruned
    front to back; weights are not normalised (all b are 1 without a penalty); the squares of all
    layers that read a group are added, each relative to that of its outputs. The method
    ``cp-lasso`` also refits the weights, by the compensation ``least-squares``.

    Fields: those of :class:`~sentei.criteria.contributions.OnContributions`.
    """

    source: ClassVar[Source] = Source(
        paper="He et al., Channel Pruning for Accelerating Very Deep Neural Networks, ICCV",
        year=2017,
        arxiv="1707.06168",
        section="2.2.1",
    )

    def judge(self, gram_DD: FloatArray) -> FloatArray:
        """Return penalties, >= 0, relative to the squared length of the outputs."""
        return last_penalties(gram_DD)


def last_penalties(gram_CC: FloatArray) -> FloatArray:
    """Return the largest penalty at which each channel has a coefficient, shape [C]."""
    with warnings.catch_warnings():
        # It says when it drops a channel that others make up for: that one scores 0.
        warnings.simplefilter("ignore", ConvergenceWarning)
        penalties_A, _, coefficients_CA = lars_path_gram(
            Xy=gram_CC.sum(axis=1),
            Gram=gram_CC.copy(),
            n_samples=1,
            method="lasso",
            max_iter=2 * len(gram_CC),
        )
    # Between two corners a coefficient grows from the first on: that is its penalty.
    is_used_CA = coefficients_CA[:, 1:] != 0
    found: FloatArray = (is_used_CA * penalties_A[:-1]).max(axis=1, initial=0)
    return found
