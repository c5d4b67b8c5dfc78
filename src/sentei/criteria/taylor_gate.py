"""First-order estimate of the change of the loss, on gates."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sentei.criteria.base import (
    CRITERIA,
    Criterion,
    Evidence,
    FloatArray,
    Needs,
    Source,
    produced_dims,
    require,
)
from sentei.criteria.reduce import owned_sums, products, totals
from sentei.graph import Slice
from sentei.index.atoms import BoolArray


@CRITERIA.register("taylor-gate")
@dataclass(frozen=True, kw_only=True)
class TaylorGate(Criterion):
    r"""Squared derivative of the loss by a gate on the channel.

    A gate m = 1 multiplies the channel of :math:`y = \gamma \hat{x} + \beta`, so

    .. math:: \frac{\partial L}{\partial m_c} = \sum y_c \frac{\partial L}{\partial y_c}
        = \gamma_c \frac{\partial L}{\partial \gamma_c} + \beta_c \frac{\partial L}{\partial \beta_c}

    and likewise :math:`\sum w\,\partial L / \partial w + b\,\partial L / \partial b` over the
    producing slice of a convolution or linear layer: no activation has to be kept. All gates of
    a group are one mask: their derivatives are added, then squared. A group with norms has its
    gates after its norms; one without, at its producers. The gradient is that of the mean loss
    over all images, in evaluation mode.

    Source: Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019,
    arXiv:1906.10771; adding over a shared mask: Liu et al., Group Fisher Pruning, ICML 2021.
    Difference: there the squares of the batches are averaged; here the gradients are, and then
    squared. There channels go in turns with training, here all after one scoring.
    """

    source: ClassVar[Source] = Source(
        paper="Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR",
        year=2019,
        arxiv="1906.10771",
        section="2.4.1",
    )
    needs: ClassVar[Needs] = Needs.IMAGES | Needs.GRADIENTS
    comparable: ClassVar[bool] = True

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the squared derivatives, shape [C], in the unit of the loss squared.

        Raises:
            PruningError: A group has neither a norm nor a producer.
        """
        norms = {*evidence.norms, *filter(None, evidence.norms.values())}
        produced = produced_dims(evidence)
        after_norm, has_norm = _add(evidence, [s for s in evidence.slices if s.tensor in norms])
        at_producer, has_producer = _add(
            evidence,
            [s for s in evidence.slices if s.dims == (produced.get(s.tensor, -1),)],
        )
        require(
            evidence.graph,
            has_norm | has_producer,
            "no norm, convolution or linear layer produces it; score with 'taylor', or protect it",
        )
        derivatives: FloatArray = np.where(has_norm, after_norm, at_producer)
        return np.square(derivatives)


def _add(evidence: Evidence, slices: list[Slice]) -> tuple[FloatArray, BoolArray]:
    """Return the added derivatives of every channel, and which channels the slices own."""
    owners, sums = owned_sums(evidence, slices, products)
    num_channels = evidence.graph.num_channels
    return totals(owners, sums, num_channels), np.bincount(owners, minlength=num_channels) > 0
