"""Tick: gates are trained and watched while all but the last layer rests."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sentei.criteria.base import FloatArray, Source
from sentei.sparsify.base import SPARSIFIERS, Setting, SparseHook, Sparsifier, check_at_least
from sentei.sparsify.channels import as_scores, evidence_of
from sentei.sparsify.frozen import Frozen
from sentei.sparsify.gates import PlainGates, attach_gates
from sentei.sparsify.wiring import producers


@SPARSIFIERS.register("tick")
@dataclass(frozen=True, kw_only=True)
class Tick(Sparsifier):
    r"""Taylor scores of gates that are trained, with the last layer, under an L1 norm.

    Gates :math:`\phi`, 1 at first, multiply what the norms put out. They and the last layer are
    trained on the loss L and :math:`\lambda \sum_c |\phi_c|`; all other weights and the
    statistics of the norms rest. Scores add up over the steps, compared over all groups:

    .. math:: s_c = \sum_{steps} \Bigl| \phi_c \frac{\partial L}{\partial \phi_c} \Bigr|

    In the end the gates are folded into the weights. What follows the removal is a Tock: training
    of all weights.

    Source: You et al., Gate Decorator: Global Filter Pruning Method for Accelerating Deep
    Convolutional Neural Networks, NeurIPS 2019, arXiv:1909.08174.
    Difference: a coupled group has one gate a channel, at all points where it is made, also where
    there is no norm (see `sentei.sparsify.gates`); gates begin at 1 in every round, with those of
    the round before in the weights; a Tick takes whole epochs by the run's recipe, and no L1 norm
    acts in a Tock.

    Args:
        strength: :math:`\lambda`, >= 0.

    Raises:
        ValueError: ``strength`` is negative or not finite.
    """

    source: ClassVar[Source] = Source(
        paper="You et al., Gate Decorator, NeurIPS",
        year=2019,
        arxiv="1909.08174",
        section="2.3.1",
    )
    comparable: ClassVar[bool] = True
    strength: float = 1e-3

    def __post_init__(self) -> None:
        check_at_least(self, "strength", 0)

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook."""
        return _TickHook(self, setting)


class _TickHook(SparseHook):
    def __init__(self, method: Tick, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method

    def on_start(self, model: nn.Module) -> None:
        evidence = evidence_of(self.setting.graph, model)
        last = producers(self.setting.graph.recording)[-1]
        trained = [model.get_parameter(name) for name in (last.weight, last.bias) if name]
        self.gates = PlainGates(evidence.graph.num_channels, next(model.parameters()))
        self.attached = attach_gates(model, evidence, self.gates)
        self.frozen = Frozen(model, [self.gates.values, *trained])
        self.kept |= {"total": torch.zeros_like(self.gates.values.detach(), dtype=torch.float64)}

    def penalty(self, _model: nn.Module) -> Tensor:
        return self.method.strength * self.gates.values.abs().sum()

    @torch.no_grad()
    def after_backward(self, _model: nn.Module) -> None:
        gates, gradient = self.gates.values, self.gates.values.grad
        assert gradient is not None
        # Loss scaling passes over steps whose gradient overflows; so must the scores.
        if bool(gradient.isfinite().all()):
            of_loss = gradient - self.method.strength * gates.sign()
            self.kept["total"] += (gates * of_loss).abs()

    def scores(self, _model: nn.Module) -> FloatArray:
        return as_scores(self.kept["total"])

    def finish(self, _model: nn.Module) -> None:
        self.attached.fold()
        self.frozen.thaw()
