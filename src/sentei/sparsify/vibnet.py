"""Variational information bottleneck: Gaussian gates that carry as little as they can."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sentei.criteria.base import FloatArray, Source
from sentei.seeding import make_generator
from sentei.sparsify.base import SPARSIFIERS, Setting, SparseHook, Sparsifier, check_at_least
from sentei.sparsify.channels import as_scores, evidence_of
from sentei.sparsify.gates import attach_gates

# Shapes: C = channels of all groups.


@SPARSIFIERS.register("vibnet")
@dataclass(frozen=True, kw_only=True)
class VIBNet(Sparsifier):
    r"""Gaussian gates under the bound of the information bottleneck.

    Gates :math:`z \sim N(\mu, \sigma^2)` multiply channels:

    .. math:: L + \lambda \sum_c \tfrac12 \log\Bigl(1 + \frac{\mu_c^2}{\sigma_c^2}\Bigr)

    The term is the Kullback-Leibler divergence from a prior :math:`N(0, \xi)` whose variance is
    the best one, :math:`\xi = \mu^2 + \sigma^2`; it is 0 where :math:`\mu = 0`. In evaluation mode
    and in the end the gates are :math:`\mu`, folded into the weights. Scores are the divergences,
    compared over all groups; below :math:`\tfrac12 \log 2` noise outweighs the signal, where the
    paper prunes (:math:`\log \sigma^2 - \log \mu^2 \ge 0`).

    Source: Dai et al., Compressing Neural Networks using the Variational Information Bottleneck,
    ICML 2018, arXiv:1802.10399.
    Difference: a coupled group has one gate a channel, at all points where it is made; the noise is
    drawn once for each batch, not for each sample, since gates multiply parameters; terms have no
    factor by the size of their layer; gates are trained by the run's optimizer.

    Args:
        strength: :math:`\lambda`, >= 0.

    Raises:
        ValueError: ``strength`` is negative or not finite.
    """

    source: ClassVar[Source] = Source(
        paper="Dai et al., Variational Information Bottleneck, ICML",
        year=2018,
        arxiv="1802.10399",
        section="2.4.2",
    )
    comparable: ClassVar[bool] = True
    strength: float = 1e-3

    def __post_init__(self) -> None:
        check_at_least(self, "strength", 0)

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook."""
        return _VIBHook(self, setting)


class _GaussianGates(nn.Module):
    """Gates of one step; ``noise`` is standard normal, shape [C]."""

    noise: Tensor

    def __init__(self, mean_C: Tensor, log_variance_C: Tensor) -> None:
        super().__init__()
        self.mean = nn.Parameter(mean_C)
        self.log_variance = nn.Parameter(log_variance_C)
        self.register_buffer("noise", torch.zeros_like(mean_C))

    def forward(self) -> Tensor:
        if not self.training:
            return self.mean
        return self.mean + (0.5 * self.log_variance).exp() * self.noise


def divergence(mean_C: Tensor, log_variance_C: Tensor) -> Tensor:
    """Return 1/2 log(1 + mean^2 / variance), shape [C]; 0 where the mean is 0."""
    return 0.5 * (mean_C.square() * (-log_variance_C).exp()).log1p()


class _VIBHook(SparseHook):
    def __init__(self, method: VIBNet, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method

    def on_start(self, model: nn.Module) -> None:
        evidence = evidence_of(self.setting.graph, model)
        like = next(model.parameters()).detach()
        self.num_channels = evidence.graph.num_channels
        mean = like.new_ones(self.num_channels) + 0.01 * self._normal("mean").to(like)
        log_variance = -9 + 0.01 * self._normal("variance").to(like)
        self.gates = _GaussianGates(mean, log_variance)
        self.attached = attach_gates(model, evidence, self.gates)
        self._draw()

    def _normal(self, *names: str) -> Tensor:
        generator = make_generator(self.setting.seed, "vibnet", *names)
        return torch.randn(self.num_channels, generator=generator, dtype=torch.float64)

    def _draw(self) -> None:
        """Draw the noise of the next step; a function of the step, so a restart draws the same."""
        self.gates.noise.copy_(self._normal("noise", str(self.step)))

    def penalty(self, _model: nn.Module) -> Tensor:
        return self.method.strength * divergence(self.gates.mean, self.gates.log_variance).sum()

    def after_step(self, _model: nn.Module) -> None:
        self.count_step()
        self._draw()

    def scores(self, _model: nn.Module) -> FloatArray:
        return as_scores(divergence(self.gates.mean, self.gates.log_variance))

    def finish(self, _model: nn.Module) -> None:
        self.attached.fold()
