"""First-order estimate of the change of the loss, on weights."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Needs, Source
from sentei.criteria.reduce import (
    NO_PARAMETERS,
    Reduction,
    check_reduction,
    products,
    reduce_slices,
)


@CRITERIA.register("taylor")
@dataclass(frozen=True, kw_only=True)
class Taylor(Criterion):
    r"""Squared first-order change of the loss when what a channel owns is set to zero.

    .. math:: s_c = \operatorname{reduce}_m \Bigl( \sum_{w \in m(c)} w
        \frac{\partial L}{\partial w} \Bigr)^2

    The gradient is that of the mean loss over all images, in evaluation mode.

    Source: Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019,
    arXiv:1906.10771 (the joint score of a set of weights).
    Difference: there the squares of the batches are averaged, which depends on the batch size;
    here the gradients are, and then squared. Slices m of a group are squared one by one, biases
    included. There channels go in turns with training, here all after one scoring.

    Args:
        reduction: How the slices m of a group become one number.

    Raises:
        ValueError: ``reduction`` is unknown.
    """

    source: ClassVar[Source] = Source(
        paper="Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR",
        year=2019,
        arxiv="1906.10771",
        section="2.4.1",
    )
    needs: ClassVar[Needs] = Needs.IMAGES | Needs.GRADIENTS
    comparable: ClassVar[bool] = True
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        check_reduction(self.reduction)

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the reduced squares, shape [C], in the unit of the loss squared."""
        return reduce_slices(
            evidence,
            evidence.slices,
            products,
            reduction=self.reduction,
            missing=NO_PARAMETERS,
            finish=np.square,
        )
