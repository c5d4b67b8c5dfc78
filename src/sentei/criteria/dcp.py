"""Gradient of reconstruction and of the loss by what reads a channel."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sentei.criteria.base import (
    CRITERIA,
    Criterion,
    Evidence,
    FloatArray,
    Needs,
    Source,
    produced_dims,
)
from sentei.criteria.reduce import reduce_slices
from sentei.criteria.watch import Reading, watch
from sentei.graph import Graph
from sentei.graph.points import Point, points


@CRITERIA.register("dcp")
@dataclass(frozen=True, kw_only=True)
class Dcp(Criterion):
    r"""Gradient of reconstruction and of the loss by the weights that read a channel.

    For a layer that reads the channel and computes :math:`y = W x` (bias aside),

    .. math:: s_c = \Bigl\lVert \nabla_{W_c} \bigl( L_M + \lambda L_S \bigr) \Bigr\rVert_F, \qquad
        \nabla_W L_M = - \frac{\sum y x^\top}{\sum \lVert y \rVert^2}

    over images and positions. :math:`L_M` is half the squared error of the layer's outputs,
    relative to their square, taken where selection begins: with no channel chosen, so W = 0.
    :math:`L_S` is the mean loss over all images, in evaluation mode. The norm is over the weights
    of all layers that read the channel.

    Source: Zhuang et al., Discrimination-aware Channel Pruning for Deep Neural Networks, NeurIPS
    2018, arXiv:1810.11809.
    Difference: one ranking; there one channel after the other is chosen, and W trained on the
    chosen ones in between, so that what they already explain counts no more. :math:`L_S` is the
    loss of the network, differentiated with all its weights in place, not the losses of
    classifiers trained at several depths. Where a layer computes its weight from a parameter, the
    gradient of :math:`L_S` is that by the parameter.

    Args:
        discrimination: :math:`\lambda`, >= 0.

    Raises:
        ValueError: ``discrimination`` is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Zhuang et al., Discrimination-aware Channel Pruning, NeurIPS",
        year=2018,
        arxiv="1810.11809",
        section="2.2.3",
    )
    needs: ClassVar[Needs] = Needs.ACTIVATIONS | Needs.GRADIENTS
    discrimination: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.discrimination < np.inf:
            raise ValueError(
                f"discrimination={self.discrimination}; expected the weight of a loss, finite, >= 0"
            )

    @contextmanager
    def observe(self, graph: Graph, model: nn.Module) -> Iterator[Mapping[str, Tensor]]:
        """Add up outputs times inputs of every reader, and the squares of its outputs."""
        found = _readers(graph)
        sums: dict[str, Tensor] = {}

        def read(reading: Reading) -> None:
            names = _names(found.index(reading.point))
            for name, value in zip(names, _products(reading), strict=True):
                sums[name] = sums.get(name, 0.0) + value.double().cpu()

        with watch(graph, model, found, read=read):
            yield sums

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the norms, shape [C], >= 0.

        Raises:
            PruningError: No convolution or linear layer reads a group with a weight that is a
                parameter.
        """
        found = _readers(evidence.graph)
        gradients = {
            name: self.discrimination * evidence.gradients[name].double().cpu()
            for name in dict.fromkeys(p.weight for p in found)
        }
        for k, point in enumerate(found):
            products, square = (evidence.sums[name] for name in _names(k))
            gradients[point.weight] -= products / square.where(square > 0, 1.0)
        produced = produced_dims(evidence)
        squares = reduce_slices(
            replace(evidence, parameters=gradients, gradients={}),
            [
                s
                for s in evidence.weights
                if s.tensor in gradients and s.dims != (produced[s.tensor],)
            ],
            torch.square,
            reduction="sum",
            missing="no convolution or linear layer reads it with a weight that is a parameter; "
            "score with 'taylor', or protect it",
        )
        return np.sqrt(squares)


def _readers(graph: Graph) -> list[Point]:
    """Return the points that layers read with a weight of the shape of the parameter behind it."""
    calls, values = graph.recording.calls, graph.recording.values
    return [
        p
        for p in points(graph)
        if p.weight
        and values[calls[p.call].tensors[p.weight_argument]].shape == graph.layouts[p.weight].shape
    ]


def _names(number: int) -> tuple[str, str]:
    """Return the names of the sums of a reader."""
    return f"products:{number}", f"square:{number}"


def _products(reading: Reading) -> tuple[Tensor, Tensor]:
    """Return the outputs times inputs, of the shape of the weight, and the outputs' square."""
    # Half the square of W x has the derivative (W x) x^T by W.
    weight = reading.weight.clone().requires_grad_()
    with torch.enable_grad():
        square = (reading.again(weight) - reading.again(torch.zeros_like(weight))).square().sum()
        (products,) = torch.autograd.grad(square / 2, weight)
    return products, square.detach()
