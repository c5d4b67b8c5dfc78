"""Tick-Tock: gates are watched and closed in Ticks, and all weights learn in Tocks."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sentei.criteria.base import Evidence, FloatArray, Source
from sentei.criteria.score import Scores, split_by_group
from sentei.sparsify.base import (
    SPARSIFIERS,
    Setting,
    SparseHook,
    Sparsifier,
    check_at_least,
    chosen_by,
    chosen_lowest,
)
from sentei.sparsify.channels import Selection, as_scores, evidence_of, norm_scales
from sentei.sparsify.wiring import norm_slices, producers

# Shapes: C = channels of all groups, D = elements of the scale of one norm.

_MOST_SHIFT = 10.0  # the largest shift of a norm, in units of its gate


@SPARSIFIERS.register("gate-decorator")
@dataclass(frozen=True, kw_only=True)
class GateDecorator(Sparsifier):
    r"""Taylor scores of gates on the norms, which are closed and trained in turns (Tick-Tock).

    Each output of a norm has a gate :math:`\phi` that multiplies all that the norm puts out,

    .. math:: y = \phi \, (\hat x + b), \qquad \phi = \gamma, \quad b = \beta / \gamma
        \text{ clipped to } [-10, 10]

    so that a channel whose gates are 0 is 0. The training has some turns of equal length. A turn
    begins with a Tick: only the gates and the last layer are trained, batch norms use and keep
    their running statistics, and the scores of channels add up over the gates m of a channel and
    the batches of the Tick,

    .. math:: s_c = \sum_{batches} \sum_m
        \Bigl| \phi_{mc} \frac{\partial L}{\partial \phi_{mc}} \Bigr|

    At its end the channels that a plan for the turn's budget would remove are closed: their gates
    become 0 and stay 0. Budgets fall by equal factors from turn to turn, the last one is that of
    the run. The rest of the turn is a Tock: all weights are trained, on
    :math:`L + \lambda \sum_{m, c} |\phi_{mc}|`. Scores are those of the last Tick, compared over
    all groups, with the closed channels below the rest in the order in which they closed.

    Source: You et al., Gate Decorator: Global Filter Pruning Method for Accelerating Deep
    Convolutional Neural Networks, NeurIPS 2019, arXiv:1909.08174.
    Difference: the scale of a norm is its gate, so that nothing is added to the network and
    nothing has to be folded away; b is held in a Tick alone, where what the clipping takes off
    a shift rests, and in a Tock scale and shift are trained as they are; a Tick closes as many channels as its budget asks for and a Tock follows
    each (there 0.5 % of the channels, and a Tock after ten Ticks); Ticks and Tocks have the
    learning rate of the run (there a small constant one, and one that rises and falls); the floor
    is that of the run; the score has no term for cost. What acts in a group besides its norms is
    not gated.

    Args:
        turns: Ticks, each with its Tock, >= 1; fewer where the training has fewer than two
            optimizer steps for each.
        tick: Share of a turn that its Tick takes, in (0, 1): one step at least, and all but one
            at most.
        strength: :math:`\lambda`, >= 0.

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="You et al., Gate Decorator, NeurIPS",
        year=2019,
        arxiv="1909.08174",
        section="2.3.1",
    )
    comparable: ClassVar[bool] = True
    needs_norms: ClassVar[bool] = True
    turns: int = 4
    tick: float = 0.25
    strength: float = 1e-3

    def __post_init__(self) -> None:
        check_at_least(self, "turns", 1)
        check_at_least(self, "tick", 0, strict=True)
        check_at_least(self, "strength", 0)
        if self.tick >= 1:
            raise ValueError(f"GateDecorator: tick={self.tick}; expected a share in (0, 1)")

    def ticks(self, num_steps: int) -> list[range]:
        """Return the steps of every Tick, in order, for a training of so many steps."""
        turns = max(1, min(self.turns, num_steps // 2))
        ends = [turn * num_steps // turns for turn in range(turns + 1)]
        lengths = np.diff(ends).tolist()
        return [
            range(first, first + max(1, min(round(self.tick * length), length - 1)))
            for first, length in zip(ends[:-1], lengths, strict=True)
        ]

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook; every group must have a norm."""
        return _TickTockHook(self, setting)


class _GatedNorm:
    """The scale of a norm as its gates, and its shift, which follows them.

    Args:
        scale: The gates, shape [D].
        shift: Shape [D]; None if the norm has none.
    """

    def __init__(self, scale: Tensor, shift: Tensor | None) -> None:
        self.scale, self.shift = scale, shift
        self.before = scale.detach().clone()
        self.ratio = torch.zeros_like(self.before)

    def pass_to_gate(self) -> Tensor:
        """Give the scale the gradient of its gates and the shift none; return the products.

        Returns:
            Gate times gradient, shape [D].
        """
        if self.scale.grad is None:
            return torch.zeros_like(self.scale)
        self.before.copy_(self.scale)
        if self.shift is not None and self.shift.grad is not None:
            quotient = torch.where(self.scale == 0, 0.0, self.shift / self.scale)
            self.ratio.copy_(quotient.clamp(-_MOST_SHIFT, _MOST_SHIFT))
            self.scale.grad += self.ratio * self.shift.grad
            self.shift.grad = None
        return self.scale * self.scale.grad

    def move_shift(self) -> None:
        """Let the shift follow the gates through the step that they took."""
        if self.shift is not None:
            self.shift += self.ratio * (self.scale - self.before)


class _TickTockHook(SparseHook):
    def __init__(self, method: GateDecorator, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method
        self.ticks = method.ticks(setting.num_steps)

    def on_start(self, model: nn.Module) -> None:
        evidence = evidence_of(self.setting.graph, model)
        self.scales = norm_scales(evidence)
        self.acting = Selection(evidence, norm_slices(evidence))
        self.norms = _gated_norms(evidence, self.scales)
        self.resting = _resting(evidence, model, self.norms)
        self.statistics = [m for m in model.modules() if isinstance(m, _BatchNorm)]
        self.handle = model.register_forward_pre_hook(self._hold_statistics)
        none = torch.zeros_like(self.scales.counts, dtype=torch.float64)
        self.kept |= {
            "total": none,
            "last": none.clone(),
            "closed": none.to(torch.int64),  # the turn in which a channel closed; 0 if it is open
        }

    @property
    def _ticks_now(self) -> bool:
        return any(self.step in tick for tick in self.ticks)

    def _hold_statistics(self, model: nn.Module, _args: Any) -> None:  # noqa: ANN401 - as torch calls it
        # Before every call: the loop puts the whole model in training mode each epoch.
        for norm in self.statistics:
            norm.training = model.training and not self._ticks_now

    def penalty(self, _model: nn.Module) -> Tensor | None:
        if self._ticks_now:
            return None
        return self.method.strength * self.scales.sums(Tensor.abs).sum()

    @torch.no_grad()
    def after_backward(self, _model: nn.Module) -> None:
        if not self._ticks_now:
            return
        for parameter in self.resting:
            parameter.grad = None  # the optimizer passes over it: no momentum, no decay
        products = {name: norm.pass_to_gate().abs() for name, norm in self.norms.items()}
        change = self.scales.add(products)
        # Loss scaling passes over steps whose gradient overflows; so must the scores.
        if bool(change.isfinite().all()):
            self.kept["total"] += change

    @torch.no_grad()
    def after_step(self, _model: nn.Module) -> None:
        if self._ticks_now:
            for norm in self.norms.values():
                norm.move_shift()
        self.count_step()
        for turn, tick in enumerate(self.ticks, start=1):
            if self.step == tick.stop:
                self._close(turn)
        self.acting.scale_((self.kept["closed"] == 0).to(self.scales.counts.dtype))

    def _close(self, turn: int) -> None:
        """Close the channels that the budget of a turn asks for; begin to add up again."""
        setting, closed = self.setting, self.kept["closed"]
        self.kept["last"].copy_(torch.where(closed == 0, self.kept["total"], self.kept["last"]))
        self.kept["total"].zero_()
        by_group = split_by_group(setting.graph, "gate-decorator", self._order())
        scores = Scores(criterion="gate-decorator", by_group=by_group, comparable=True)
        budget = setting.budget.between(setting.dense, step=turn, steps=len(self.ticks))
        chosen = chosen_by(replace(setting, budget=budget), scores, scope="global")
        closed[(closed == 0) & torch.from_numpy(chosen).to(closed.device)] = turn

    def _order(self) -> FloatArray:
        """Return the last scores, with closed channels below the rest, the first lowest."""
        scores, closed = as_scores(self.kept["last"]), self.kept["closed"].cpu().numpy()
        for turn in range(len(self.ticks), 0, -1):
            scores = chosen_lowest(scores, (closed > 0) & (closed <= turn))
        return scores

    def scores(self, _model: nn.Module) -> FloatArray:
        return self._order()

    def finish(self, _model: nn.Module) -> None:
        self.handle.remove()


def _gated_norms(evidence: Evidence, scales: Selection) -> dict[str, _GatedNorm]:
    """Return the norms with gates, by the names of their scales."""
    shifts = {name: evidence.norms[name] for name in scales.parameters}
    return {
        name: _GatedNorm(scale, evidence.parameters[shift] if (shift := shifts[name]) else None)
        for name, scale in scales.parameters.items()
    }


def _resting(
    evidence: Evidence, model: nn.Module, norms: dict[str, _GatedNorm]
) -> list[nn.Parameter]:
    """Return the parameters that rest in a Tick: all but gates, their shifts and the last layer."""
    last = producers(evidence.graph.recording)[-1]
    trained = {id(t) for norm in norms.values() for t in (norm.scale, norm.shift)}
    trained |= {id(model.get_parameter(name)) for name in (last.weight, last.bias) if name}
    return [p for p in model.parameters() if id(p) not in trained]
