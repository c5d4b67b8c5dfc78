"""Discrete gates, trained straight through to meet a budget."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sentei.cost.soft import SoftCosts
from sentei.criteria.base import FloatArray, Source
from sentei.sparsify.base import (
    SPARSIFIERS,
    Setting,
    SparseHook,
    Sparsifier,
    check_at_least,
    must_stay,
)
from sentei.sparsify.channels import as_scores, evidence_of, group_sums
from sentei.sparsify.frozen import Frozen
from sentei.sparsify.gates import attach_gates


@SPARSIFIERS.register("dmc")
@dataclass(frozen=True, kw_only=True)
class DMC(Sparsifier):
    r"""Discrete model compression: binary gates and a term for the distance from the budget.

    Each channel has a gate :math:`m_c = [\sigma(\theta_c) \ge \tfrac12]`, whose gradient is
    passed on as that of :math:`\sigma(\theta_c)`. Weights and statistics are frozen; the
    :math:`\theta` minimize

    .. math:: L + \lambda \sum_j \log(|T_j(m) - B_j| + 1)

    over the costs j that the budget limits to :math:`B_j` (in multiply-adds, bytes, elements),
    with the cost :math:`T_j` a polynomial of the numbers of open gates. In the end the gates are
    taken away; scores are :math:`\theta`, compared over all groups.

    Source: Gao et al., Discrete Model Compression with Resource Constraint for Deep Neural
    Networks, CVPR 2020.
    Difference: a coupled group has one gate a channel; any cost may be limited; the gates are
    trained by the run's optimizer (the paper uses Adam with learning rate 1e-3); after each step
    the best channels that ``floor`` keeps are opened, so that no group is closed.

    Args:
        strength: :math:`\lambda`, >= 0.
        initial: First :math:`\theta`, >= 0: all gates open, further from closing if larger.

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Gao et al., Discrete Model Compression with Resource Constraint, CVPR",
        year=2020,
        section="2.3.2",
    )
    comparable: ClassVar[bool] = True
    freezes: ClassVar[bool] = True
    strength: float = 4.0
    initial: float = 3.0

    def __post_init__(self) -> None:
        check_at_least(self, "strength", 0)
        check_at_least(self, "initial", 0)

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook."""
        return _DMCHook(self, setting)


class _DMCGates(nn.Module):
    def __init__(self, theta_C: Tensor) -> None:
        super().__init__()
        self.theta = nn.Parameter(theta_C)

    def forward(self) -> Tensor:
        soft = self.theta.sigmoid()
        is_open = (self.theta >= 0).to(soft.dtype)
        return is_open + (soft - soft.detach())


class _DMCHook(SparseHook):
    def __init__(self, method: DMC, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method

    def on_start(self, model: nn.Module) -> None:
        evidence = evidence_of(self.setting.graph, model)
        like = next(model.parameters()).detach()
        initial = like.new_full((evidence.graph.num_channels,), self.method.initial)
        self.gates = _DMCGates(initial)
        self.costs = SoftCosts(self.setting.costs, tuple(self.setting.targets), device=like.device)
        self.attached = attach_gates(model, evidence, self.gates)
        self.frozen = Frozen(model, self.gates.parameters())

    def penalty(self, _model: nn.Module) -> Tensor:
        gates = self.gates()
        costs = self.costs(group_sums(self.setting.graph, gates))
        distances = [(costs[n] - limit).abs() + 1 for n, limit in self.setting.targets.items()]
        return self.method.strength * torch.stack(distances).log().sum().to(gates.dtype)

    @torch.no_grad()
    def after_step(self, _model: nn.Module) -> None:
        theta = self.gates.theta
        stay = torch.from_numpy(must_stay(self.setting, as_scores(theta))).to(theta.device)
        theta.copy_(torch.where(stay, theta.clamp(min=0), theta))

    def scores(self, _model: nn.Module) -> FloatArray:
        return as_scores(self.gates.theta)

    def finish(self, _model: nn.Module) -> None:
        self.attached.remove()
        self.frozen.thaw()
