"""Second-order estimate of the change of the loss, with all that may go along."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Needs, Source
from sentei.criteria.reduce import NO_PARAMETERS, products, reduce_slices


@CRITERIA.register("sosp-h")
@dataclass(frozen=True, kw_only=True)
class SospH(Criterion):
    r"""First-order change of the loss, and what the Hessian adds if all other channels go too.

    .. math:: s_c = | \theta_c^\top g | + \tfrac12 | \theta_c^\top H \theta |

    :math:`\theta_c` is all that channel c owns, scales, shifts and biases included, and
    :math:`\theta` all that some channel owns; g and H are the gradient and the Hessian of the mean
    loss over all images, in evaluation mode. One Hessian-vector product serves all channels: a
    second backward pass, through the first, for every batch.

    Source: Nonnenmacher et al., SOSP: Efficiently Capturing Global Correlations by Second-Order
    Structured Pruning, ICLR 2022, arXiv:2110.11395.
    Difference: a structure is a channel with all its coupled slices, so that a weight between two
    groups is of two structures. It counts in the sums of both, but once in :math:`\theta`, which
    is what would go if all channels went. A weight from a channel to itself, where a group reads
    itself, counts twice in the channel's sum.
    """

    source: ClassVar[Source] = Source(
        paper="Nonnenmacher et al., SOSP: Second-Order Structured Pruning, ICLR",
        year=2022,
        arxiv="2110.11395",
        section="2.4.1",
    )
    needs: ClassVar[Needs] = Needs.IMAGES | Needs.GRADIENTS | Needs.CURVATURE
    comparable: ClassVar[bool] = True

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the sums of both sizes, shape [C], in the unit of the loss, >= 0."""
        # What is multiplied with the weights, first the gradient, then the curvature.
        along_curvature = replace(evidence, gradients=evidence.curvature)
        first, second = (
            reduce_slices(
                given,
                given.slices,
                products,
                reduction="sum",
                missing=NO_PARAMETERS,
            )
            for given in (evidence, along_curvature)
        )
        scores: FloatArray = np.abs(first) + np.abs(second) / 2
        return scores
