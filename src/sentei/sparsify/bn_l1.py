"""Sparse scales of norms."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from sentei.criteria.base import FloatArray, Source
from sentei.sparsify.base import SPARSIFIERS, Setting, SparseHook, Sparsifier, check_at_least
from sentei.sparsify.channels import as_scores, evidence_of, norm_scales


@SPARSIFIERS.register("network-slimming")
@dataclass(frozen=True, kw_only=True)
class BnL1(Sparsifier):
    r"""L1 norm of the scales of norms.

    .. math:: R = \lambda \sum_c \sum_m |\gamma_{mc}|

    over all norms m that act on channel c. Its subgradient is :math:`\lambda \operatorname{sign}
    (\gamma)`, 0 at 0. Scores are the mean of :math:`|\gamma_{mc}|` over m, and compared over all
    groups.

    Source: Liu et al., Learning Efficient Convolutional Networks through Network Slimming,
    ICCV 2017, arXiv:1708.06519.
    Difference: all norms of a coupled group are penalised and judged together, so that residual
    networks need no channel-selection layer; scales of other norms count like those of batch
    norms; the scales start as they are, not at 0.5.

    Args:
        strength: :math:`\lambda`, >= 0; 1e-4 for VGG, 1e-5 for ResNet and DenseNet in the paper.

    Raises:
        ValueError: ``strength`` is negative or not finite.
    """

    source: ClassVar[Source] = Source(
        paper="Liu et al., Network Slimming, ICCV", year=2017, arxiv="1708.06519", section="2.3.1"
    )
    comparable: ClassVar[bool] = True
    needs_norms: ClassVar[bool] = True
    strength: float = 1e-4

    def __post_init__(self) -> None:
        check_at_least(self, "strength", 0)

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook; every group must have a norm."""
        return _BnL1Hook(self, setting)


class _BnL1Hook(SparseHook):
    def __init__(self, method: BnL1, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method

    def on_start(self, model: nn.Module) -> None:
        self.scales = norm_scales(evidence_of(self.setting.graph, model))

    def penalty(self, _model: nn.Module) -> Tensor:
        return self.method.strength * self.scales.sums(Tensor.abs).sum()

    def scores(self, _model: nn.Module) -> FloatArray:
        return as_scores(self.scales.sums(Tensor.abs) / self.scales.counts)
