"""Second-order estimate of the change of the loss, from the gradients of each image."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from sentei.cost import CostModel
from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Needs, Source
from sentei.criteria.watch import require_readers, sum_over_gates
from sentei.graph import Graph
from sentei.graph.points import points

Saving = Literal["none", "memory", "macs"]
_COSTS = {"memory": "activation_bytes", "macs": "macs"}


@CRITERIA.register("group-fisher")
@dataclass(frozen=True, kw_only=True)
class GroupFisher(Criterion):
    r"""Diagonal of the Fisher information of a gate on the channel, for what the channel saves.

    .. math:: s_c = \frac{1}{\Delta_c} \sum_n
        \Bigl( \sum_{x} \frac{\partial L_n}{\partial m_{xc}} \Bigr)^2

    over images n and the points x where readers see the channel: one mask for all that is
    coupled. :math:`\Delta_c` is what one channel of the group saves.

    Source: Liu et al., Group Fisher Pruning for Practical Network Compression, ICML 2021,
    arXiv:2108.00708.
    Difference: one scoring in evaluation mode; there scores add up while training and the single
    least channel goes every few steps. Gates sit where a channel is read, not where it is made.

    Args:
        saving: What the score is divided by: bytes of activations (``"memory"``, as the paper
            recommends), multiply-adds (``"macs"``), or 1 (``"none"``).

    Raises:
        ValueError: ``saving`` is unknown.
    """

    source: ClassVar[Source] = Source(
        paper="Liu et al., Group Fisher Pruning for Practical Network Compression, ICML",
        year=2021,
        arxiv="2108.00708",
        section="2.4.1",
    )
    needs: ClassVar[Needs] = Needs.ACTIVATIONS | Needs.GRADIENTS
    comparable: ClassVar[bool] = True
    saving: Saving = "memory"

    def __post_init__(self) -> None:
        if self.saving not in get_args(Saving):
            raise ValueError(
                f"saving={self.saving!r}; expected one of {', '.join(get_args(Saving))}"
            )

    def observe(
        self, graph: Graph, model: nn.Module
    ) -> AbstractContextManager[Mapping[str, Tensor]]:
        """Add up the squares of the gradients of gates over images."""
        return sum_over_gates(graph, model, points(graph), torch.square)

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the sums for what is saved, shape [C], in the unit of the loss squared, >= 0.

        Raises:
            PruningError: No convolution or linear layer reads a group.
        """
        graph = evidence.graph
        require_readers(graph)
        squares: FloatArray = evidence.sums["total"].numpy()
        if self.saving == "none":
            return squares
        saved_G = CostModel.of(graph).group_saving(_COSTS[self.saving], graph.widths)
        saved = np.repeat(saved_G, graph.widths)
        return squares / np.where(saved > 0, saved, 1.0)
