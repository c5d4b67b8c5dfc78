"""Filters and the columns that read them, regularized together."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sentei.criteria.base import FloatArray, Source
from sentei.sparsify.base import SPARSIFIERS, Setting, SparseHook, Sparsifier, check_at_least
from sentei.sparsify.channels import Selection, as_scores, evidence_of


@SPARSIFIERS.register("oicsr")
@dataclass(frozen=True, kw_only=True)
class OICSR(Sparsifier):
    r"""Group lasso on out-in channels, ranked by energy.

    .. math:: R = \lambda \sum_c \sqrt{\lVert W_l[c] \rVert^2 + \lVert W_{l+1}[:, c] \rVert^2}

    over the weights of layers, without norms, biases or a factor for their number. Scores are the
    channel's share of the energy :math:`\lVert \cdot \rVert^2` of its group, times the width of
    the group, so that they can be compared over all groups: 1 is an average channel.

    Source: Li et al., OICSR: Out-In-Channel Sparsity Regularization for Compact Deep Neural
    Networks, CVPR 2019, arXiv:1905.11664.
    Difference: in a coupled group every layer that makes the channel and every layer that reads it
    is under the same root; there is one sparse training and one removal, not several rounds; the
    penalty on single weights that may go with it is the recipe's weight decay.

    Args:
        strength: :math:`\lambda`, >= 0.

    Raises:
        ValueError: ``strength`` is negative or not finite.
    """

    source: ClassVar[Source] = Source(
        paper="Li et al., OICSR, CVPR", year=2019, arxiv="1905.11664", section="2.3.3"
    )
    comparable: ClassVar[bool] = True
    strength: float = 1e-4

    def __post_init__(self) -> None:
        check_at_least(self, "strength", 0)

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook."""
        return _OICSRHook(self, setting)


class _OICSRHook(SparseHook):
    def __init__(self, method: OICSR, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method

    def on_start(self, model: nn.Module) -> None:
        evidence = evidence_of(self.setting.graph, model)
        layers = [s for s in evidence.weights if s.tensor not in evidence.norms]
        self.weights = Selection(evidence, layers)

    def penalty(self, _model: nn.Module) -> Tensor:
        return self.method.strength * self.weights.norms().sum()

    def scores(self, _model: nn.Module) -> FloatArray:
        energies = as_scores(self.weights.sums(torch.square))
        groups = self.setting.graph.groups
        means = [energies[g.first : g.first + g.width].mean() for g in groups]
        # A group of zeros has no order: all its channels can go.
        divisors = np.where(np.array(means) > 0, means, 1.0)
        scores: FloatArray = energies / np.repeat(divisors, self.setting.graph.widths)
        return scores
