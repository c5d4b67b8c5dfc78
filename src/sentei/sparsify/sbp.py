"""Structured Bayesian pruning: log-normal noise on channels, those go that are mostly noise."""

from dataclasses import dataclass
from math import e, log, pi
from typing import ClassVar

import torch
from torch import Tensor, nn

from sentei.criteria.base import FloatArray, Source
from sentei.seeding import make_generator
from sentei.sparsify.base import SPARSIFIERS, Setting, SparseHook, Sparsifier, check_at_least
from sentei.sparsify.channels import as_scores, evidence_of
from sentei.sparsify.gates import attach_gates

# Shapes: C = channels of all groups.

_LOW, _HIGH = -20.0, 0.0  # of log theta


@SPARSIFIERS.register("sbp")
@dataclass(frozen=True, kw_only=True)
class SBP(Sparsifier):
    r"""Truncated log-normal noise on channels, under a log-uniform prior.

    Noise :math:`\theta` multiplies a channel; :math:`\log \theta \sim N(\mu, \sigma^2)` cut to [a, b] = [-20, 0], and :math:`\log \theta`
    is uniform there in the prior. With :math:`\alpha = (a - \mu) / \sigma`,
    :math:`\beta = (b - \mu) / \sigma` and :math:`Z = \Phi(\beta) - \Phi(\alpha)` the divergence,
    times ``strength`` in the loss, is

    .. math:: \log \frac{b - a}{\sqrt{2 \pi e \sigma^2}} - \log Z
        - \frac{\alpha \varphi(\alpha) - \beta \varphi(\beta)}{2 Z}

    In evaluation mode and in the end the gates are :math:`E \theta`, folded into the weights.
    Scores are the ratios of signal to noise, :math:`E \theta / \operatorname{sd} \theta`, compared
    over all groups; the paper prunes below 1.

    Source: Neklyudov et al., Structured Bayesian Pruning via Log-Normal Multiplicative Noise,
    NeurIPS 2017, arXiv:1705.07283.
    Difference: a coupled group has one gate a channel, at all points where it is made; the noise is
    drawn once for each batch, not for each sample, since gates multiply parameters; :math:`\mu` is
    kept in [a, b] and :math:`\sigma` in [exp(-6), exp(3)].

    Args:
        strength: Factor of the divergence, >= 0; 1 / number of training images is the bound.

    Raises:
        ValueError: ``strength`` is negative or not finite.
    """

    source: ClassVar[Source] = Source(
        paper="Neklyudov et al., Structured Bayesian Pruning, NeurIPS",
        year=2017,
        arxiv="1705.07283",
        section="2.4.2",
    )
    comparable: ClassVar[bool] = True
    strength: float = 1e-3

    def __post_init__(self) -> None:
        check_at_least(self, "strength", 0)

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook."""
        return _SBPHook(self, setting)


class TruncatedLogNormal:
    """The distribution of theta; its logarithm is a normal one cut to [-20, 0]. Float64.

    Args:
        mu_C: Of the normal distribution, in [-20, 0], shape [C].
        log_sigma_C: Logarithm of its standard deviation, shape [C].
    """

    def __init__(self, mu_C: Tensor, log_sigma_C: Tensor) -> None:
        self.mu, self.log_sigma = mu_C.double(), log_sigma_C.double()
        self.sigma = self.log_sigma.exp()
        self.low = (_LOW - self.mu) / self.sigma
        self.high = (_HIGH - self.mu) / self.sigma

    def divergence(self) -> Tensor:
        """Return the divergence from the log-uniform distribution, shape [C], >= 0."""
        log_mass = _log_mass(self.low, self.high)
        edges = self.low * _density(self.low) - self.high * _density(self.high)
        entropy = 0.5 * log(2 * pi * e) + self.log_sigma + log_mass + 0.5 * edges / log_mass.exp()
        return log(_HIGH - _LOW) - entropy

    def log_moment(self, order: int) -> Tensor:
        """Return log E theta^order, shape [C]."""
        shift = order * self.sigma
        log_mass = _log_mass(self.low - shift, self.high - shift) - _log_mass(self.low, self.high)
        return order * self.mu + 0.5 * shift.square() + log_mass

    def signal_to_noise(self) -> Tensor:
        """Return the mean over the standard deviation, shape [C], > 0."""
        ratio = self.log_moment(2) - 2 * self.log_moment(1)
        # Rounding may turn a variance that is almost 0 negative.
        return ratio.clamp(min=1e-12).expm1().rsqrt()

    def sample(self, uniform_C: Tensor) -> Tensor:
        """Return theta with the given shares of the mass below it, shape [C]."""
        below = torch.special.ndtr(self.low)
        share = below + uniform_C * (torch.special.ndtr(self.high) - below)
        normal = torch.special.ndtri(share.clamp(1e-12, 1 - 1e-12))
        return (self.mu + self.sigma * normal).clamp(_LOW, _HIGH).exp()


def _density(x: Tensor) -> Tensor:
    return (-0.5 * x.square()).exp() / (2 * pi) ** 0.5


def _log_mass(low: Tensor, high: Tensor) -> Tensor:
    """Return log(Phi(high) - Phi(low)) for low < 0, without loss in the lower tail."""
    below, above = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    return above + (-(below - above).exp()).log1p()


class _LogNormalGates(nn.Module):
    """Gates of one step; ``uniform`` is in (0, 1), shape [C]."""

    uniform: Tensor

    def __init__(self, like_C: Tensor) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.zeros_like(like_C))
        self.log_sigma = nn.Parameter(torch.full_like(like_C, -5.0))
        self.register_buffer("uniform", torch.full_like(like_C, 0.5, dtype=torch.float64))

    def distribution(self) -> TruncatedLogNormal:
        return TruncatedLogNormal(self.mu, self.log_sigma)

    def forward(self) -> Tensor:
        theta = self.distribution()
        gates = theta.sample(self.uniform) if self.training else theta.log_moment(1).exp()
        return gates.to(self.mu.dtype)


class _SBPHook(SparseHook):
    def __init__(self, method: SBP, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method

    def on_start(self, model: nn.Module) -> None:
        evidence = evidence_of(self.setting.graph, model)
        like = next(model.parameters()).detach()
        self.gates = _LogNormalGates(like.new_zeros(evidence.graph.num_channels))
        self.attached = attach_gates(model, evidence, self.gates)
        self._draw()

    def _draw(self) -> None:
        """Draw the noise of the next step; a function of the step, so a restart draws the same."""
        generator = make_generator(self.setting.seed, "sbp", str(self.step))
        uniform = torch.rand(len(self.gates.uniform), generator=generator, dtype=torch.float64)
        self.gates.uniform.copy_(uniform)

    def penalty(self, _model: nn.Module) -> Tensor:
        total = self.gates.distribution().divergence().sum()
        return self.method.strength * total.to(self.gates.mu.dtype)

    @torch.no_grad()
    def after_step(self, _model: nn.Module) -> None:
        self.gates.mu.clamp_(_LOW, _HIGH)
        self.gates.log_sigma.clamp_(-6, 3)
        self.count_step()
        self._draw()

    def scores(self, _model: nn.Module) -> FloatArray:
        return as_scores(self.gates.distribution().signal_to_noise())

    def finish(self, _model: nn.Module) -> None:
        self.attached.fold()
