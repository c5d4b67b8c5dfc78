"""Size of the weights: L1 and L2."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Source
from sentei.criteria.reduce import Reduction, check_reduction, reduce_slices


@dataclass(frozen=True, kw_only=True)
class Magnitude(Criterion):
    r"""Sum of the absolute weights to the power p that a channel owns.

    .. math:: s_c = \operatorname{reduce}_{m} \sum_{w \in m(c)} |w|^p

    Source: Li et al., ICLR 2017, arXiv:1608.08710 (p = 1 on the filters).
    Difference: every weight and every scale of a norm that goes with the channel counts, not the
    producing filter alone (``reduction="first"`` is the latter in most groups).

    Args:
        p: Power, > 0.
        reduction: How the slices m of a group become one number.

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Li et al., Pruning Filters for Efficient ConvNets, ICLR",
        year=2017,
        arxiv="1608.08710",
        section="2.1.1",
    )
    p: float = 1.0
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        if not self.p > 0:
            raise ValueError(f"p={self.p}; expected a power > 0, such as 1 or 2")
        check_reduction(self.reduction)

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the reduced sums, shape [C], in the unit of the weights to the power p."""
        return reduce_slices(
            evidence,
            evidence.weights,
            self._powers,
            reduction=self.reduction,
            missing="it owns no weights to measure; protect it, or score with 'random'",
        )

    def _powers(self, weight: Tensor) -> Tensor:
        weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
        if self.p == 2:
            return weight.square()
        return weight.abs() if self.p == 1 else weight.abs() ** self.p


CRITERIA.register("l1")(Magnitude)
CRITERIA.register("l2")(partial(Magnitude, p=2.0))
