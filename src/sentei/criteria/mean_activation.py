"""Size of activations."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Needs, Source
from sentei.criteria.watch import Reading, mean_over_points, sum_over_images
from sentei.graph import Graph
from sentei.graph.points import activations


@CRITERIA.register("mean-activation")
@dataclass(frozen=True, kw_only=True)
class MeanActivation(Criterion):
    r"""Mean absolute activation of a channel, as its readers see it.

    .. math:: s_c = \frac{1}{N F} \sum_{n, f} |y_{ncf}|

    over N images and the F pixels of a channel, averaged over the tensors that readers of the
    group see (before average pooling, if any).

    Source: Tan and Motani, DropNet, ICML 2020, arXiv:2207.06646.
    Difference: one scoring; the method ``mean-activation`` prunes and trains in rounds, but from
    the weights that stay, where DropNet rewinds to those of the start. A channel in a residual stream counts at every reader, not after one layer.
    """

    source: ClassVar[Source] = Source(
        paper="Tan and Motani, DropNet, ICML", year=2020, arxiv="2207.06646", section="2.2.1"
    )
    needs: ClassVar[Needs] = Needs.ACTIVATIONS

    def observe(
        self, graph: Graph, model: nn.Module
    ) -> AbstractContextManager[Mapping[str, Tensor]]:
        """Add up mean absolute activations of images."""
        return sum_over_images(graph, model, activations(graph), _means)

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the means, shape [C], >= 0.

        Raises:
            PruningError: No convolution or linear layer reads a group.
        """
        missing = "no convolution or linear layer reads it; score with 'l1', or protect it"
        return mean_over_points(evidence, activations(evidence.graph), missing)


def _means(reading: Reading) -> Tensor:
    return reading.rows.abs().sum(2).double() / reading.num_elements
