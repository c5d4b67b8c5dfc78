"""First-order estimate of the change of the loss, on feature maps."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Needs, Source
from sentei.criteria.watch import require_readers, sum_over_gates
from sentei.graph import Graph
from sentei.graph.points import points


@CRITERIA.register("taylor-activation")
@dataclass(frozen=True, kw_only=True)
class TaylorActivation(Criterion):
    r"""Absolute activation times gradient of each image, divided by the norm of the group.

    .. math:: t_c = \frac{1}{N} \sum_n \Bigl| \sum_x y_{nxc}
        \frac{\partial L_n}{\partial y_{nxc}} \Bigr|, \qquad
        s_c = \frac{t_c}{\lVert t_g \rVert_2}

    over images n and all positions x at which readers see the channel, c in group g. A group that
    changes no loss has scores 0.

    Source: Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient
    Inference, ICLR 2017, arXiv:1611.06440.
    Difference: there positions are averaged, which the division by the norm makes the same; a
    channel that several layers read counts once, with the sum over them. The term for the cost
    of a channel is left to the scope. There single channels go between steps of training, here
    all after one scoring.
    """

    source: ClassVar[Source] = Source(
        paper="Molchanov et al., Pruning CNNs for Resource Efficient Inference, ICLR",
        year=2017,
        arxiv="1611.06440",
        section="2.4.1",
    )
    needs: ClassVar[Needs] = Needs.ACTIVATIONS | Needs.GRADIENTS
    comparable: ClassVar[bool] = True

    def observe(
        self, graph: Graph, model: nn.Module
    ) -> AbstractContextManager[Mapping[str, Tensor]]:
        """Add up the sizes of the gradients of gates over images."""
        return sum_over_gates(graph, model, points(graph), torch.abs)

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the means over the norm of the group, shape [C], in [0, 1].

        Raises:
            PruningError: No convolution or linear layer reads a group.
        """
        graph = evidence.graph
        require_readers(graph)
        means = evidence.sums["total"].numpy() / evidence.num_images
        parts = [means[g.first : g.first + g.width] for g in graph.groups]
        scaled = [own / (float(np.linalg.norm(own)) or 1.0) for own in parts]
        return np.concatenate([*scaled, np.empty(0)])
