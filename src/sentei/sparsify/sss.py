"""Scaling factors made sparse by accelerated proximal gradient."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sentei.criteria.base import FloatArray, Source
from sentei.sparsify.base import SPARSIFIERS, Setting, SparseHook, Sparsifier, check_at_least
from sentei.sparsify.channels import as_scores, evidence_of
from sentei.sparsify.gates import PlainGates, attach_gates


@SPARSIFIERS.register("sss")
@dataclass(frozen=True, kw_only=True)
class SSS(Sparsifier):
    r"""Sparse structure selection: a scaling factor for every channel, under an L1 norm.

    The factors s, 1 at first, multiply the channels. They are not trained by the run's optimizer
    but by accelerated proximal gradient with its learning rate :math:`\eta` and momentum
    :math:`\mu`, on the gradient g of the loss at s:

    .. math::
        z &= S_{\eta \lambda}(s - \eta g) \\
        v &\leftarrow z - s + \mu v \\
        s &\leftarrow z + \mu v

    with the soft threshold :math:`S_a(x) = \operatorname{sign}(x) \max(|x| - a, 0)`. In the end
    they are folded into the weights. Scores are :math:`|s|`, compared over all groups.

    Source: Huang and Wang, Data-Driven Sparse Structure Selection for Deep Neural Networks,
    ECCV 2018, arXiv:1707.01213.
    Difference: only channels have factors, not blocks or cardinal groups; a coupled group has one
    factor a channel, at all points where it is made (see `sentei.sparsify.gates`).

    Args:
        strength: :math:`\lambda`, >= 0; 0.005 to 0.1 by how much shall go.

    Raises:
        ValueError: ``strength`` is negative or not finite.
    """

    source: ClassVar[Source] = Source(
        paper="Huang and Wang, Data-Driven Sparse Structure Selection, ECCV",
        year=2018,
        arxiv="1707.01213",
        section="2.3.2",
    )
    comparable: ClassVar[bool] = True
    strength: float = 0.01

    def __post_init__(self) -> None:
        check_at_least(self, "strength", 0)

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook."""
        return _SSSHook(self, setting)


class _SSSHook(SparseHook):
    def __init__(self, method: SSS, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method

    def on_start(self, model: nn.Module) -> None:
        evidence = evidence_of(self.setting.graph, model)
        self.factors = PlainGates(evidence.graph.num_channels, next(model.parameters()))
        self.attached = attach_gates(model, evidence, self.factors)
        self.kept |= {"velocity": torch.zeros_like(self.factors.values.detach())}

    def after_backward(self, _model: nn.Module) -> None:
        # The optimizer passes over a parameter that has no gradient.
        self.gradient, self.factors.values.grad = self.factors.values.grad, None

    def after_step(self, _model: nn.Module) -> None:
        assert self.gradient is not None
        # Loss scaling passes over steps whose gradient overflows; so must the factors.
        if bool(self.gradient.isfinite().all()):
            self._step(self.gradient)
        self.count_step()

    @torch.no_grad()
    def _step(self, gradient: Tensor) -> None:
        rate, momentum = self.learning_rate, self.setting.config.momentum
        factors, velocity = self.factors.values, self.kept["velocity"]
        stepped = factors - rate * gradient
        stepped = stepped.sign() * (stepped.abs() - rate * self.method.strength).clamp(min=0)
        velocity.mul_(momentum).add_(stepped - factors)
        factors.copy_(stepped + momentum * velocity)

    def scores(self, _model: nn.Module) -> FloatArray:
        return as_scores(self.factors.values.abs())

    def finish(self, _model: nn.Module) -> None:
        self.attached.fold()
