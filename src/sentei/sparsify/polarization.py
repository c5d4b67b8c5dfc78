"""Scales of norms pushed to zero or to a common value."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sentei.criteria.base import FloatArray, Source
from sentei.sparsify.base import SPARSIFIERS, Setting, SparseHook, Sparsifier, check_at_least
from sentei.sparsify.channels import as_scores, evidence_of, norm_scales


@SPARSIFIERS.register("polarization")
@dataclass(frozen=True, kw_only=True)
class Polarization(Sparsifier):
    r"""Polarization of the scales of norms.

    .. math:: R = \lambda \left( t \lVert \gamma \rVert_1
        - \lVert \gamma - \bar\gamma 1 \rVert_1 \right), \qquad \gamma \in [0, a]

    over all scales of norms that act on channels, with their mean :math:`\bar\gamma` (gradients
    flow through it). After each step the scales are clipped to [0, a]. Scores are the mean scale
    of a channel's norms, compared over all groups.

    Source: Zhuang et al., Neuron-level Structured Pruning using Polarization Regularizer,
    NeurIPS 2020.
    Difference: all norms of a coupled group count as the channel's; how many channels go follows
    from the budget, lowest scales first, not from the valley of their histogram.

    Args:
        strength: :math:`\lambda`, >= 0.
        balance: t, > 0: larger pulls more scales to zero; 1.0 to 1.4 in the paper.
        upper: a, > 0: the largest scale.

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Zhuang et al., Polarization Regularizer, NeurIPS", year=2020, section="2.3.1"
    )
    comparable: ClassVar[bool] = True
    needs_norms: ClassVar[bool] = True
    strength: float = 1e-4
    balance: float = 1.2
    upper: float = 1.0

    def __post_init__(self) -> None:
        check_at_least(self, "strength", 0)
        check_at_least(self, "balance", 0, strict=True)
        check_at_least(self, "upper", 0, strict=True)

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook; every group must have a norm."""
        return _PolarizationHook(self, setting)


class _PolarizationHook(SparseHook):
    def __init__(self, method: Polarization, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method

    def on_start(self, model: nn.Module) -> None:
        self.scales = norm_scales(evidence_of(self.setting.graph, model))

    def penalty(self, _model: nn.Module) -> Tensor:
        mean = self.scales.sums(Tensor.clone).sum() / self.scales.counts.sum()
        sizes = self.scales.sums(lambda p: self.method.balance * p.abs() - (p - mean).abs())
        return self.method.strength * sizes.sum()

    def after_step(self, _model: nn.Module) -> None:
        upper = torch.full_like(self.scales.counts, self.method.upper)
        self.scales.map_(lambda scale, top: scale.clamp(min=0).minimum(top), upper)

    def scores(self, _model: nn.Module) -> FloatArray:
        return as_scores(self.scales.sums(Tensor.clone) / self.scales.counts)
