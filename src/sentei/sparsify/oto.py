"""Only Train Once: groups that can go without a change, driven to exact zero."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sentei.criteria.base import FloatArray, Source
from sentei.sparsify.base import (
    SPARSIFIERS,
    Setting,
    SparseHook,
    Sparsifier,
    check_at_least,
    must_stay,
)
from sentei.sparsify.channels import Selection, as_scores, evidence_of
from sentei.sparsify.wiring import maker_slices


@SPARSIFIERS.register("oto")
@dataclass(frozen=True, kw_only=True)
class OTO(Sparsifier):
    r"""Half-space projected stochastic gradient on zero-invariant groups.

    A zero-invariant group :math:`x_c` is all that makes channel c: the filters, their biases, the
    scales and shifts of its norms. If it is zero the channel is zero, and removing it changes
    nothing. The objective is :math:`f(x) + \lambda \sum_c \lVert x_c \rVert_2`. In the second
    stage each optimizer step is a trial step :math:`\tilde x` from x, and

    .. math:: x_c \leftarrow 0 \quad \text{if} \quad
        \tilde x_c^\top x_c < \epsilon \lVert x_c \rVert_2^2 \quad \text{or} \quad x_c = 0

    so that groups become exactly zero, and stay so. Scores are the root of the mean square of
    :math:`x_c`, 0 for the groups that are gone.

    Source: Chen et al., Only Train Once: A One-Shot Neural Network Training And Pruning Framework,
    NeurIPS 2021, arXiv:2107.07467.
    Difference: a coupled group of channels is one zero-invariant group however many layers make
    it; the trial step is the step of whatever optimizer runs; the largest channels that ``floor``
    keeps are never projected, so that no group is emptied. Activations must map 0 to 0.

    Args:
        strength: :math:`\lambda`, >= 0.
        epsilon: In [0, 1): larger makes more groups zero.
        warmup: Share of the training in the first stage, without projection, in [0, 1].

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Chen et al., Only Train Once, NeurIPS",
        year=2021,
        arxiv="2107.07467",
        section="2.3.3",
    )
    comparable: ClassVar[bool] = True
    strength: float = 1e-3
    epsilon: float = 0.0
    warmup: float = 0.5

    def __post_init__(self) -> None:
        check_at_least(self, "strength", 0)
        if not 0 <= self.epsilon < 1:
            raise ValueError(f"OTO: epsilon={self.epsilon}; expected a number in [0, 1)")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"OTO: warmup={self.warmup}; expected a share in [0, 1]")

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook."""
        return _OTOHook(self, setting)


class _OTOHook(SparseHook):
    def __init__(self, method: OTO, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method

    def on_start(self, model: nn.Module) -> None:
        evidence = evidence_of(self.setting.graph, model)
        self.groups = Selection(evidence, maker_slices(evidence))

    def penalty(self, _model: nn.Module) -> Tensor:
        return self.method.strength * self.groups.norms().sum()

    def after_backward(self, _model: nn.Module) -> None:
        if self._projects:
            self.before = {n: p.detach().clone() for n, p in self.groups.parameters.items()}

    def after_step(self, _model: nn.Module) -> None:
        if self._projects:
            self._project()
        self.count_step()

    @property
    def _projects(self) -> bool:
        return self.step >= self.method.warmup * self.setting.num_steps

    @torch.no_grad()
    def _project(self) -> None:
        squares = self.groups.add({n: x.square() for n, x in self.before.items()})
        products = self.groups.add(
            {n: trial * self.before[n] for n, trial in self.groups.parameters.items()}
        )
        is_zero = (squares == 0) | (products < self.method.epsilon * squares)
        stay = must_stay(self.setting, as_scores(squares))
        is_zero &= ~torch.from_numpy(stay).to(is_zero.device)
        self.groups.scale_(torch.where(is_zero, 0.0, torch.ones_like(squares)))

    def scores(self, _model: nn.Module) -> FloatArray:
        return as_scores(self.groups.rms())
