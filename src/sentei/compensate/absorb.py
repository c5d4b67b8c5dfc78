"""Constants in the biases of layers, in place of what they read from removed channels.

Shapes: P = positions of the channels in what a layer reads; V = groups of the convolution;
I = P / V; K = elements of a kernel; O = all outputs of the layer, before the removal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sentei.compensate.base import COMPENSATIONS, Compensation, Removal
from sentei.compensate.readers import (
    Reader,
    evaluating,
    plan_of,
    readers,
    require_images,
    run,
    tensor_of,
)
from sentei.criteria.base import Needs, Source
from sentei.criteria.watch import Reading, watch
from sentei.errors import PruningError
from sentei.graph import Graph


@COMPENSATIONS.register("absorb")
@dataclass(frozen=True, kw_only=True)
class Absorb(Compensation):
    r"""Absorption of what removed channels held on average into biases.

    A layer that read the removed channels T, of mean :math:`m_c` over images and pixels, gets

    .. math:: b_o \leftarrow b_o + \sum_{c \in T} m_c \sum_k W_{ock}

    in its bias or, where it has none and a batch norm alone reads it, off the norm's running mean.
    A channel whose norm has scale 0 is constant, :math:`\operatorname{relu}(\beta)` behind a ReLU,
    and its mean is that number: outputs stay as they were but at borders, where a padded
    convolution reads zeros in place of the constant. Of other channels the constant part goes.

    Source: Ye et al., Rethinking the Smaller-Norm-Less-Informative Assumption in Channel Pruning
    of Convolution Layers, ICLR 2018, arXiv:1802.00124.
    Difference: means are measured instead of computed from shifts, so that it does not matter
    what lies between the norm and the layers that read it, and channels need not be constant.

    Where batch norms are measured anew after the removal, as all methods do, their new means take
    the place of those shifted here, and the shift of a bias in front of one is lost in them. What
    stays is in layers without a batch norm behind them, such as the classifier.

    A layer without a bias and without a batch norm of its own behind it is left as it is; so is one
    whose weight is computed or used by several calls, a transposed convolution, a product with a
    bare matrix, a recurrent layer and attention.
    """

    source: ClassVar[Source] = Source(
        paper="Ye et al., Rethinking the Smaller-Norm-Less-Informative Assumption, ICLR",
        year=2018,
        arxiv="1802.00124",
        section="2.3.1",
    )
    needs: ClassVar[Needs] = Needs.IMAGES

    def compensate(self, small: nn.Module, removal: Removal) -> None:
        """Change biases and running means of ``small`` in place.

        Raises:
            PruningError: There are no images, or no layer can take a constant.
        """
        require_images("absorb", removal)
        plan = plan_of(removal)
        layers = [reader for reader in readers(plan) if reader.can_shift]
        if plan.removed and not layers:
            raise PruningError(
                "compensation 'absorb': none of the layers that read what is removed has a bias or "
                "a batch norm of its own behind it; compensate with 'least-squares', which changes "
                "weights"
            )
        with evaluating(removal.model, small):
            means = _mean_inputs(plan.graph, layers, removal)
            for reader in layers:
                weight = tensor_of(removal.model, reader.weight).double()
                lost_P = means[reader.weight].clone()
                lost_P[torch.from_numpy(reader.inputs)] = 0
                lost_O = _constants(weight.flatten(1).unflatten(1, (weight.shape[1], -1)), lost_P)
                reader.shift_(small, lost_O[torch.from_numpy(reader.outputs)])


def _mean_inputs(graph: Graph, layers: Sequence[Reader], removal: Removal) -> Mapping[str, Tensor]:
    """Return by weight what a layer reads on average at each position, shape [P], float64."""
    sums: dict[str, Tensor] = {reader.weight: torch.zeros(()) for reader in layers}
    counts = dict.fromkeys(sums, 0)
    names = {reader.point: reader.weight for reader in layers}

    def read(reading: Reading) -> None:
        rows_PR = reading.input.movedim(reading.point.dim, 0).flatten(1)
        name = names[reading.point]
        sums[name] = sums[name] + rows_PR.sum(1, dtype=torch.float64)
        counts[name] += rows_PR.shape[1]

    with watch(graph, removal.model, names, read=read):
        for images, *_ in removal.batches:
            run(removal.model, images)
    return {name: total / counts[name] for name, total in sums.items()}


def _constants(weight_OIK: Tensor, inputs_P: Tensor) -> Tensor:
    """Return what a layer makes of constants, shape [O]."""
    conv_groups = len(inputs_P) // weight_OIK.shape[1]
    weight_VOI = weight_OIK.sum(2).unflatten(0, (conv_groups, -1))
    inputs_VI = inputs_P.unflatten(0, (len(weight_VOI), -1))
    return (weight_VOI @ inputs_VI[..., None]).flatten()
