"""Growing L2 regularization: channels that are to go are pressed to zero ever harder."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sentei.criteria import score
from sentei.criteria.base import FloatArray, Source
from sentei.sparsify.base import (
    SPARSIFIERS,
    Setting,
    SparseHook,
    Sparsifier,
    check_at_least,
    chosen_by,
    chosen_lowest,
)
from sentei.sparsify.channels import Selection, as_scores, evidence_of

_SOURCE = Source(
    paper="Wang et al., Neural Pruning via Growing Regularization, ICLR",
    year=2021,
    arxiv="2012.09243",
    section="2.3.3",
)


@SPARSIFIERS.register("greg1")
@dataclass(frozen=True, kw_only=True)
class GReg1(Sparsifier):
    r"""Growing regularization of channels that are chosen first.

    .. math:: R = \tfrac12 \sum_c \lambda_c \lVert w_c \rVert_2^2

    over all slices of weights and scales of norms that channel c owns. The channels that the L1
    norm and the budget choose at the start have :math:`\lambda_c` grow by equal steps from 0 to
    ``ceiling`` during the first ``growth`` of the training and stay there; the others have 0.
    Scores are the root of the mean square of :math:`w_c`, with the chosen channels below the rest.

    Source: Wang et al., Neural Pruning via Growing Regularization, ICLR 2021, arXiv:2012.09243.
    Difference: the penalty is on all coupled slices of a channel, not on its filter alone, which
    a norm behind it would scale back; the widths come from the budget, not from ratios by layer;
    the steps of :math:`\lambda` (1e-4 every 5 iterations in the paper) follow from the length of
    the training.

    Args:
        ceiling: Last :math:`\lambda`, > 0. With plain SGD, learning rate times ceiling should
            stay below 1.
        growth: Share of the training in which :math:`\lambda` grows, in (0, 1]; the rest
            stabilizes.
        every: Optimizer steps between two increments, >= 1.
        scope: What orders the channels of different groups when they are chosen.

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = _SOURCE
    comparable: ClassVar[bool] = True
    ceiling: float = 1.0
    growth: float = 0.5
    every: int = 5
    scope: str = "global"

    def __post_init__(self) -> None:
        self._schedule()

    def _schedule(self) -> "_Schedule":
        fields: dict[str, Any] = {"common": 0.0, "recovery": 0.0, "separation": 0.0, **vars(self)}
        return _Schedule(**fields)

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook."""
        return _GRegHook(self._schedule(), setting)


@SPARSIFIERS.register("greg2")
@dataclass(frozen=True, kw_only=True)
class GReg2(Sparsifier):
    r"""Growing regularization that first tells channels apart.

    Like ``greg1``, but :math:`\lambda` first grows alike for all channels to ``common`` during
    the first ``separation`` of the training: by their curvature of the loss some shrink more than
    others. Then the L1 norm and the budget choose; the chosen channels go on as in ``greg1``, and
    the others get the negative :math:`\lambda = -` ``recovery`` until the end.

    Source: Wang et al., Neural Pruning via Growing Regularization, ICLR 2021, arXiv:2012.09243.
    Difference: that of ``greg1``.

    Args:
        common: :math:`\lambda` of all channels when they are chosen, > 0.
        recovery: What the channels that stay get instead of a penalty, >= 0.
        separation: Share of the training before the choice, in (0, 1).
        ceiling: As in ``greg1``.
        growth: Share of the training in which :math:`\lambda` grows after the choice, > 0;
            with ``separation`` at most 1.
        every: As in ``greg1``.
        scope: As in ``greg1``.

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = _SOURCE
    comparable: ClassVar[bool] = True
    common: float = 1e-2
    recovery: float = 1e-4
    separation: float = 0.25
    ceiling: float = 1.0
    growth: float = 0.5
    every: int = 5
    scope: str = "global"

    def __post_init__(self) -> None:
        check_at_least(self, "common", 0, strict=True)
        check_at_least(self, "recovery", 0)
        check_at_least(self, "separation", 0, strict=True)
        self._schedule()

    def _schedule(self) -> "_Schedule":
        return _Schedule(**vars(self))

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook."""
        return _GRegHook(self._schedule(), setting)


@dataclass(frozen=True, kw_only=True)
class _Schedule:
    """Lambda as a function of time; GReg-1 is GReg-2 without a common phase."""

    common: float
    recovery: float
    separation: float
    ceiling: float
    growth: float
    every: int
    scope: str

    def __post_init__(self) -> None:
        check_at_least(self, "ceiling", 0, strict=True)
        check_at_least(self, "growth", 0, strict=True)
        check_at_least(self, "every", 1)
        if self.separation + self.growth > 1:
            raise ValueError(
                f"lambda grows until {self.separation + self.growth:g} of the training; expected "
                "at most 1: lower growth"
            )

    def of_all(self, step: int, num_steps: int) -> float:
        """Return the common lambda before the choice."""
        return self.common * self._share(step, self.separation * num_steps)

    def of_chosen(self, step: int, num_steps: int) -> float:
        """Return the lambda of the chosen channels after the choice."""
        share = self._share(step - self.separation * num_steps, self.growth * num_steps)
        return self.common + (self.ceiling - self.common) * share

    def _share(self, step: float, length: float) -> float:
        """Return how much of a growth is done, in (0, 1], in jumps of ``every`` steps."""
        return min(1.0, (step // self.every + 1) * self.every / max(length, self.every))


class _GRegHook(SparseHook):
    def __init__(self, schedule: _Schedule, setting: Setting) -> None:
        super().__init__(setting)
        self.schedule = schedule

    def on_start(self, model: nn.Module) -> None:
        evidence = evidence_of(self.setting.graph, model)
        self.weights = Selection(evidence, evidence.weights)
        none = torch.zeros_like(self.weights.counts, dtype=torch.bool)
        self.kept |= {"chosen": none, "is_chosen": torch.tensor(0)}

    def penalty(self, model: nn.Module) -> Tensor:
        return 0.5 * (self._factors(model) * self.weights.sums(torch.square)).sum()

    def _factors(self, model: nn.Module) -> Tensor:
        """Return lambda, shape [C]; makes the choice when its time has come."""
        num_steps = self.setting.num_steps
        if self.step < self.schedule.separation * num_steps:
            factor = self.schedule.of_all(self.step, num_steps)
            return torch.full_like(self.weights.counts, factor)
        if not self.kept["is_chosen"]:
            self._choose(model)
        factor = self.schedule.of_chosen(self.step, num_steps)
        rest = torch.full_like(self.weights.counts, -self.schedule.recovery)
        return torch.where(self.kept["chosen"], factor, rest)

    def _choose(self, model: nn.Module) -> None:
        scores = score(self.setting.graph, "l1", model=model)
        chosen = chosen_by(self.setting, scores, scope=self.schedule.scope)
        self.kept["chosen"].copy_(torch.from_numpy(chosen))
        self.kept["is_chosen"].fill_(1)

    def after_step(self, _model: nn.Module) -> None:
        self.count_step()

    def scores(self, _model: nn.Module) -> FloatArray:
        return chosen_lowest(as_scores(self.weights.rms()), self.kept["chosen"].cpu().numpy())
