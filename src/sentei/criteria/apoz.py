"""How often activations are zero."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from sentei.criteria.base import CRITERIA, Criterion, Evidence, FloatArray, Needs, Source
from sentei.criteria.watch import Reading, mean_over_points, sum_over_images
from sentei.errors import PruningError
from sentei.graph import Graph
from sentei.graph.points import activations


@CRITERIA.register("apoz")
@dataclass(frozen=True, kw_only=True)
class Apoz(Criterion):
    r"""Share of activations that are not zero, so that channels with most zeros go first.

    .. math:: s_c = 1 - \mathrm{APoZ}_c = \frac{1}{N F} \sum_{n, f} [\,|y_{ncf}| > \epsilon\,]

    over N images and the F pixels of a channel, averaged over the tensors that readers of the
    group see (before average pooling, if any).

    Source: Hu et al., Network Trimming, 2016, arXiv:1607.03250.
    Difference: one minus their average percentage of zeros, for low scores go first. GELU and
    SiLU are hardly ever exactly zero: ``eps`` says how near counts as zero. A channel in a
    residual stream counts at every reader, not after one layer.

    Args:
        eps: Largest absolute value that counts as zero, >= 0, in the unit of the activations; 0
            is right after ReLU.

    Raises:
        ValueError: ``eps`` is negative.
    """

    source: ClassVar[Source] = Source(
        paper="Hu et al., Network Trimming, arXiv", year=2016, arxiv="1607.03250", section="2.2.1"
    )
    needs: ClassVar[Needs] = Needs.ACTIVATIONS
    comparable: ClassVar[bool] = True
    eps: float = 0.0

    def __post_init__(self) -> None:
        if not self.eps >= 0:
            raise ValueError(f"eps={self.eps}; expected the largest size of a zero, >= 0")

    def observe(
        self, graph: Graph, model: nn.Module
    ) -> AbstractContextManager[Mapping[str, Tensor]]:
        """Add up shares of activations that are not zero."""

        def share(reading: Reading) -> Tensor:
            return (reading.rows.abs() > self.eps).sum(2).double() / reading.num_elements

        return sum_over_images(graph, model, activations(graph), share)

    def score(self, evidence: Evidence) -> FloatArray:
        """Return the shares, shape [C], in [0, 1].

        Raises:
            PruningError: No convolution or linear layer reads a group, or no activation of the
                whole network is ever zero.
        """
        missing = "no convolution or linear layer reads it; score with 'l1', or protect it"
        shares = mean_over_points(evidence, activations(evidence.graph), missing)
        if len(shares) and shares.min() == 1:
            raise PruningError(
                f"no activation of the network is within eps={self.eps} of zero; in a network "
                "without ReLU set eps (such as 0.01), or score with 'mean-activation'"
            )
        return shares
