"""Second-order estimate of the change of the loss, for what the channel saves."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from sentei.cost import CostModel
from sentei.criteria.base import CRITERIA, Evidence, FloatArray, Source
from sentei.criteria.fisher import Fisher

Saving = Literal["memory", "macs"]
_COSTS = {"memory": "activation_bytes", "macs": "macs"}


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
