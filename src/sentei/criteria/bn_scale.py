"""Scales of norms."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Source
from sentei.criteria.reduce import Reduction, check_reduction, reduce_slices


@CRITERIA.register("bn-scale")
@dataclass(frozen=True, kw_only=True)
class BnScale(Criterion):
    r"""Absolute scale of the norms that act on a channel.

    .. math:: s_c = \operatorname{reduce}_m |\gamma_{mc}|

    Source: Liu et al., Learning Efficient Convolutional Networks through Network Slimming,
    ICCV 2017, arXiv:1708.06519.
    Difference: the scales of group, instance, layer and RMS norms count like those of batch
    norms; scores are not taken as comparable between groups, for the scales of a network that
    was not trained with a penalty on them are not.

    Args:
        reduction: How several norms of a group become one number.

    Raises:
        ValueError: ``reduction`` is unknown.
    """

    source: ClassVar[Source] = Source(
        paper="Liu et al., Network Slimming, ICCV", year=2017, arxiv="1708.06519", section="2.3.1"
    )
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        check_reduction(self.reduction)

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the reduced scales, shape [C].

        Raises:
            PruningError: A group has no norm with a scale.
        """
        return reduce_slices(
            evidence,
            [s for s in evidence.slices if s.tensor in evidence.norms],
            torch.abs,
            reduction=self.reduction,
            missing="no norm with a scale acts on it; score with 'l1', or protect the group",
        )
