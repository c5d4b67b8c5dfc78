"""Largest share of a channel in what the next layers add up.

Shapes: C = channels at one point; D = some of them; R = outputs that are looked at.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Needs, Source
from sentei.criteria.contributions import (
    check_positions,
    observe_contributions,
    readers,
    require_readers,
)
from sentei.graph import Graph


@CRITERIA.register("pfp")
@dataclass(frozen=True, kw_only=True)
class Pfp(Criterion):
    r"""Sensitivity: largest share of a channel in a positive or negative sum of the next layer.

    With :math:`x_{jc}` what channel c adds to output j of a layer that reads it,

    .. math:: s_c = \max_j \max \Bigl( \frac{x_{jc}^+}{\sum_d x_{jd}^+},
        \frac{x_{jc}^-}{\sum_d x_{jd}^-} \Bigr)

    where :math:`x^+` and :math:`x^-` are the positive and negative parts, over all outputs at
    the positions drawn, averaged over the layers that read a group.

    Source: Liebenwein et al., Provable Filter Pruning for Efficient Neural Networks, ICLR 2020,
    arXiv:1911.07412.
    Difference: the parts are those of a channel's whole contribution, not of its single weights;
    channels are ranked by their sensitivity (the deterministic variant), not drawn; how many
    stay is the budget's.

    Args:
        positions: Positions of every layer's output that are drawn an image, >= 1.
        seed: Of the draws.

    Raises:
        ValueError: ``positions`` is below 1.
    """

    source: ClassVar[Source] = Source(
        paper="Liebenwein et al., Provable Filter Pruning for Efficient Neural Networks, ICLR",
        year=2020,
        arxiv="1911.07412",
        section="2.2.3",
    )
    needs: ClassVar[Needs] = Needs.ACTIVATIONS
    positions: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        check_positions(self.positions)

    def observe(
        self, graph: Graph, model: nn.Module
    ) -> AbstractContextManager[Mapping[str, Tensor]]:
        """Keep the largest shares so far, [C], of every reader."""
        return observe_contributions(
            graph,
            model,
            positions=self.positions,
            seed=self.seed,
            start=lambda count: torch.zeros(count, dtype=torch.float64),
            add=_keep_largest,
        )

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the sensitivities, shape [C], in [0, 1].

        Raises:
            PruningError: No convolution or linear layer reads a group.
        """
        require_readers(evidence.graph)
        total, count = np.zeros((2, evidence.graph.num_channels))
        for k, point in readers(evidence.graph).items():
            total[point.owned] += evidence.sums[str(k)].numpy()
            count[point.owned] += 1
        return total / count


def _keep_largest(largest_C: Tensor, numbers_D: Tensor, rows_DR: Tensor) -> None:
    for part_DR in (rows_DR.clamp(min=0), (-rows_DR).clamp(min=0)):
        sums_R = part_DR.sum(0)
        shares_D = (part_DR / sums_R.where(sums_R > 0, 1)).amax(1).double().cpu()
        largest_C[numbers_D] = torch.maximum(largest_C[numbers_D], shares_D)
