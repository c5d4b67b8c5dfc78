"""Optimal brain damage of channels, by the Fisher information of every weight."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Needs, Source
from sentei.criteria.reduce import NO_PARAMETERS, Reduction, check_reduction, reduce_slices


@CRITERIA.register("obd-c")
@dataclass(frozen=True, kw_only=True)
class ObdC(Criterion):
    r"""Second-order change of the loss with the diagonal of the Fisher information for the Hessian.

    .. math:: s_c = \operatorname{reduce}_m \tfrac12 \sum_{w \in m(c)} w^2 F_w, \qquad
        F_w = \frac1N \sum_n \Bigl( \frac{\partial L_n}{\partial w} \Bigr)^2

    over images n, in evaluation mode, each with its own backward pass.

    Source: Wang et al., EigenDamage: Structured Pruning in the Kronecker-Factored Eigenbasis,
    ICML 2019, arXiv:1905.05934 (C-OBD, to which it is compared).
    Difference: the labels are those of the images (the empirical Fisher information), not drawn
    from what the network answers; every slice m of a group counts, not the producing filter alone
    (``reduction="first"`` is the latter in most groups), and so do biases.

    Args:
        reduction: How the slices m of a group become one number.

    Raises:
        ValueError: ``reduction`` is unknown.
    """

    source: ClassVar[Source] = Source(
        paper="Wang et al., EigenDamage, ICML",
        year=2019,
        arxiv="1905.05934",
        section="2.4.1",
    )
    needs: ClassVar[Needs] = Needs.IMAGES | Needs.GRADIENTS | Needs.FISHER
    comparable: ClassVar[bool] = True
    reduction: Reduction = "sum"

    def __post_init__(self) -> None:
        check_reduction(self.reduction)

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the reduced sums, shape [C], in the unit of the loss squared, >= 0."""
        # What is multiplied with the squares of the weights, in the place of the gradient.
        along_fisher = replace(evidence, gradients=evidence.fisher)
        return reduce_slices(
            along_fisher,
            along_fisher.slices,
            _damages,
            reduction=self.reduction,
            missing=NO_PARAMETERS,
        )


def _damages(weight: Tensor, fisher: Tensor) -> Tensor:
    """Return half of weight squared times Fisher information of every element, float64."""
    return weight.double().square() * fisher / 2
