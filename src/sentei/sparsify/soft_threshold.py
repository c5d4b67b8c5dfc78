"""Soft threshold reparametrization: what is shorter than a learned threshold is zero."""

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

import torch
from torch import Tensor, nn

from sentei.criteria.base import FloatArray, Source
from sentei.graph import Graph
from sentei.sparsify.base import (
    SPARSIFIERS,
    Setting,
    SparseHook,
    Sparsifier,
    check_at_least,
    must_stay,
)
from sentei.sparsify.channels import Selection, as_scores, evidence_of, group_sums
from sentei.sparsify.gates import attach_gates
from sentei.sparsify.wiring import gate_slices

# Shapes: C = channels of all groups, G = groups.


@SPARSIFIERS.register("str")
@dataclass(frozen=True, kw_only=True)
class STR(Sparsifier):
    r"""Soft threshold weight reparametrization in group form.

    The network runs with the proximal map of the L2 norm of what is at a channel's gate points
    (see `sentei.sparsify.gates`), with one threshold for each group, learned with the weights:

    .. math:: x_c \leftarrow x_c \max\Bigl(0, 1 - \frac{2 m_g \sigma(s_g)}{\lVert x_c \rVert_2}\Bigr)

    with :math:`m_g` the mean norm in the group before training. The decay of s,
    :math:`\tfrac{\lambda}{2} \sum_g s_g^2` in the loss, draws s from its negative beginning
    towards 0 and so the thresholds up to :math:`m_g`. In the end the factors are
    folded into the weights. Scores are the root of the mean square of what is left of
    :math:`x_c`, 0 for channels below the threshold.

    Source: Kusupati et al., Soft Threshold Weight Reparameterization for Learnable Sparsity,
    ICML 2020, arXiv:2002.03231.
    Difference: the threshold is on norms of channels, not on single weights, and there is one for
    each group, not for each layer, in units of its norms (sigmoid alone could not reach the scales
    of norms, which are near 1, as it does single weights); s has a decay of its own, since the loop decays no vectors;
    after each step a threshold is lowered below the largest channels that ``floor`` keeps.

    Args:
        decay: :math:`\lambda`, >= 0; larger makes more channels zero.
        initial: First s of every group.

    Raises:
        ValueError: ``decay`` is negative, or a field is not finite.
    """

    source: ClassVar[Source] = Source(
        paper="Kusupati et al., Soft Threshold Weight Reparameterization, ICML",
        year=2020,
        arxiv="2002.03231",
        section="2.4.3",
    )
    comparable: ClassVar[bool] = True
    decay: float = 5e-3
    initial: float = -5.0

    def __post_init__(self) -> None:
        check_at_least(self, "decay", 0)
        if not isfinite(self.initial):
            raise ValueError(f"STR: initial={self.initial}; expected a finite number")

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook."""
        return _STRHook(self, setting)


class _Thresholds(nn.Module):
    """Factors max(0, 1 - threshold / norm) of what ``points`` selects."""

    def __init__(self, graph: Graph, points: Selection, initial_G: Tensor, unit_G: Tensor) -> None:
        super().__init__()
        self.s = nn.Parameter(initial_G)
        self.unit = unit_G
        self.widths = torch.from_numpy(graph.widths).to(initial_G.device)
        self.points = points
        self.fixed: Tensor | None = None

    def fix(self) -> None:
        """Keep the factors as they are: folding them shortens what they come from."""
        self.fixed = self().detach()

    def forward(self) -> Tensor:
        if self.fixed is not None:
            return self.fixed
        norms = self.points.norms()
        thresholds = (self.unit * self.s.sigmoid()).repeat_interleave(self.widths)
        is_zero = norms == 0
        ratios = thresholds / torch.where(is_zero, 1.0, norms)
        return torch.where(is_zero, 0.0, (1 - ratios).clamp(min=0))


class _STRHook(SparseHook):
    def __init__(self, method: STR, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method

    def on_start(self, model: nn.Module) -> None:
        evidence = evidence_of(self.setting.graph, model)
        self.points = Selection(evidence, gate_slices(evidence))
        graph, norms = evidence.graph, self.points.norms().detach()
        unit = 2 * group_sums(graph, norms) / group_sums(graph, torch.ones_like(norms))
        self.kept |= {"unit": unit}
        initial = torch.full_like(unit, self.method.initial)
        self.factors = _Thresholds(graph, self.points, initial, unit)
        self.attached = attach_gates(model, evidence, self.factors)

    def penalty(self, _model: nn.Module) -> Tensor:
        return 0.5 * self.method.decay * self.factors.s.square().sum()

    @torch.no_grad()
    def after_step(self, _model: nn.Module) -> None:
        norms = self.points.norms()
        stay = torch.from_numpy(must_stay(self.setting, as_scores(norms))).to(norms.device)
        kept = torch.where(stay, norms, torch.inf).split(self.setting.graph.widths.tolist())
        lowest = torch.stack([own.min() for own in kept])
        unit = self.kept["unit"].clamp(min=torch.finfo(lowest.dtype).tiny)
        highest = (0.9 * lowest / unit).clamp(1e-6, 1 - 1e-6).logit()
        self.factors.s.copy_(torch.minimum(self.factors.s, highest))

    def scores(self, _model: nn.Module) -> FloatArray:
        return as_scores(self.factors() * self.points.rms())

    def finish(self, _model: nn.Module) -> None:
        self.factors.fix()
        self.attached.fold()
