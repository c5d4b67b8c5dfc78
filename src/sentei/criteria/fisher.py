"""Fisher information of gates: what the loss rises by without a channel, to second order."""

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

Saving = Literal["memory", "macs"]
_COSTS = {"memory": "activation_bytes", "macs": "macs"}


@CRITERIA.register("fisher")
@dataclass(frozen=True, kw_only=True)
class Fisher(Criterion):
    r"""Rise of the loss without a channel, by the Fisher information of a gate on it.

    .. math:: s_c = \frac{1}{2N} \sum_n
        \Bigl( \sum_{x} \frac{\partial L_n}{\partial m_{xc}} \Bigr)^2

    over N images and the points x where readers see the channel: one mask for all that is coupled.
    It is the second-order term of the loss at the weights of a trained network, whose gradient is
    zero, with the Fisher information for the Hessian.

    Source: Theis et al., Faster gaze prediction with dense networks and Fisher pruning, 2018,
    arXiv:1801.05787.
    Difference: one scoring in evaluation mode; there a channel goes every few steps of training.
    Gates sit where a channel is read, not where it is made, and what a channel costs is left to
    the scope (``cost-aware`` divides by it, as the paper does).
    """

    source: ClassVar[Source] = Source(
        paper="Theis et al., Faster Gaze Prediction with Dense Networks and Fisher Pruning, arXiv",
        year=2018,
        arxiv="1801.05787",
        section="2.4.1",
    )
    needs: ClassVar[Needs] = Needs.ACTIVATIONS | Needs.GRADIENTS
    comparable: ClassVar[bool] = True

    def observe(
        self, graph: Graph, model: nn.Module
    ) -> AbstractContextManager[Mapping[str, Tensor]]:
        """Add up the squares of the gradients of gates over images."""
        return sum_over_gates(graph, model, points(graph), torch.square)

    def score(self, evidence: Evidence) -> FloatArray:
        """Return half of the mean squares, shape [C], in the unit of the loss, >= 0.

        Raises:
            PruningError: No convolution or linear layer reads a group.
        """
        require_readers(evidence.graph)
        means: FloatArray = evidence.sums["total"].numpy() / (2 * evidence.num_images)
        return means


@CRITERIA.register("group-fisher")
@dataclass(frozen=True, kw_only=True)
class GroupFisher(Fisher):
    r"""Rise of the loss without a channel, by the Fisher information, for what the channel saves.

    .. math:: s_c = \frac{1}{2N\Delta_c} \sum_n
        \Bigl( \sum_{x} \frac{\partial L_n}{\partial m_{xc}} \Bigr)^2

    over N images and the points x where readers see the channel: one mask for all that is
    coupled. :math:`\Delta_c` is what one channel of the group saves.

    Source: Liu et al., Group Fisher Pruning for Practical Network Compression, ICML 2021,
    arXiv:2108.00708.
    Difference: one scoring in evaluation mode; there scores add up while training and the single
    least channel goes every few steps. Gates sit where a channel is read, not where it is made.
    Half of the mean over images instead of the sum, which changes no order.

    Args:
        saving: What the score is divided by: bytes of activations (``"memory"``, as the paper
            recommends) or multiply-adds (``"macs"``).

    Raises:
        ValueError: ``saving`` is unknown.
    """

    source: ClassVar[Source] = Source(
        paper="Liu et al., Group Fisher Pruning for Practical Network Compression, ICML",
        year=2021,
        arxiv="2108.00708",
        section="2.4.1",
    )
    saving: Saving = "memory"

    def __post_init__(self) -> None:
        if self.saving not in get_args(Saving):
            raise ValueError(
                f"saving={self.saving!r}; expected one of {', '.join(get_args(Saving))}"
            )

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the rise of the loss for what is saved, shape [C], >= 0.

        Raises:
            PruningError: No convolution or linear layer reads a group.
        """
        graph = evidence.graph
        saved_G = CostModel.of(graph).group_saving(_COSTS[self.saving], graph.widths)
        saved = np.repeat(saved_G, graph.widths)
        return super().score(evidence) / np.where(saved > 0, saved, 1.0)
