"""Hard-concrete gates behind a barrier that moves in to the budget."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sentei.cost.soft import SoftCosts
from sentei.criteria.base import FloatArray, Source
from sentei.seeding import make_generator
from sentei.sparsify.base import (
    SPARSIFIERS,
    Setting,
    SparseHook,
    Sparsifier,
    check_at_least,
    must_stay,
)
from sentei.sparsify.channels import as_scores, evidence_of, group_sums
from sentei.sparsify.gates import attach_gates

_TEMPERATURE = 2 / 3
_LOW, _HIGH = -0.1, 1.1  # the stretched range of a gate before it is cut to [0, 1]
_STEEPNESS = 10.0  # of the sigmoid along which the barrier moves
_EDGE = 0.01  # share of the way at which the barrier goes on as a straight line


@SPARSIFIERS.register("bar")
@dataclass(frozen=True, kw_only=True)
class BAR(Sparsifier):
    r"""Budget-aware regularization.

    Every channel has a hard-concrete gate: with u uniform on (0, 1), drawn once a step,

    .. math:: z = \min(1, \max(0, 1.2 \, \sigma((\log u - \log(1 - u) + \theta) / \tau) - 0.1))

    with :math:`\tau = 2/3`; without noise in evaluation mode. V is the largest ratio of a cost to its limit at
    the expected numbers of open gates, each open with probability :math:`\sigma(\theta - \tau
    \log(0.1 / 1.1))`. The penalty is

    .. math:: \lambda f(V) V, \qquad f(V) = \begin{cases} 0 & V \le a \\
        (b - a) / (b - V) - 1 & a < V < b \end{cases}

    where a = 1 - ``margin`` and b falls from what the whole network costs to 1 along a sigmoid
    of the time. In the last hundredth before b, and beyond it, f goes on as a straight line, so
    that a network outside the barrier is pushed in. As many channels of a group as the floor
    keeps have :math:`\theta \ge 0`, those with the largest. In the end the gates without noise
    are folded into the weights. Scores are :math:`\theta`, compared over all groups.

    The barrier pulls hardest where one channel saves most; what the data say of a channel moves
    its gate far more slowly. In a training of tens of steps the pull alone decides: it closes the
    group that saves most, in a residual network the first stage, down to the floor. It takes
    epochs by the dozen until the channels of a group differ.

    Source: Lemaire et al., Structured Pruning of Neural Networks with Budget-Aware
    Regularization, CVPR 2019, arXiv:1811.09332.
    Difference: the exact form of the barrier is derived here from its description (0 below a,
    without bound at b); V is the expected cost, and any cost may be limited; a coupled group has
    one gate a channel; the floor, without which every gate of a group may close and nothing
    passes; distillation, part of the method, is the recipe's ``distill_weight``.

    Args:
        strength: :math:`\lambda`, >= 0.
        margin: How far below the budget nothing is asked any more, in (0, 1).
        initial: First :math:`\theta`; 3 keeps a gate open with probability 0.99.

    Raises:
        ValueError: A field is out of range.
    """

    source: ClassVar[Source] = Source(
        paper="Lemaire et al., Budget-Aware Regularization, CVPR",
        year=2019,
        arxiv="1811.09332",
        section="2.3.2",
    )
    comparable: ClassVar[bool] = True
    strength: float = 1.0
    margin: float = 0.1
    initial: float = 3.0

    def __post_init__(self) -> None:
        check_at_least(self, "strength", 0)
        if not 0 < self.margin < 1:
            raise ValueError(f"BAR: margin={self.margin}; expected a share in (0, 1)")
        if not math.isfinite(self.initial):
            raise ValueError(f"BAR: initial={self.initial}; expected a finite number")

    def start(self, setting: Setting) -> SparseHook:
        """Return the hook."""
        return _BARHook(self, setting)


class _HardConcrete(nn.Module):
    """Gates of one step; ``noise`` is log u - log(1 - u), shape [C]."""

    noise: Tensor

    def __init__(self, theta_C: Tensor) -> None:
        super().__init__()
        self.theta = nn.Parameter(theta_C)
        self.register_buffer("noise", torch.zeros_like(theta_C))

    def forward(self) -> Tensor:
        logits = (self.theta + self.noise) / _TEMPERATURE if self.training else self.theta
        return (logits.sigmoid() * (_HIGH - _LOW) + _LOW).clamp(0, 1)

    def probabilities(self) -> Tensor:
        """Return how likely each gate is not 0, shape [C]."""
        return (self.theta - _TEMPERATURE * math.log(-_LOW / _HIGH)).sigmoid()


class _BARHook(SparseHook):
    def __init__(self, method: BAR, setting: Setting) -> None:
        super().__init__(setting)
        self.method = method

    def on_start(self, model: nn.Module) -> None:
        evidence = evidence_of(self.setting.graph, model)
        like = next(model.parameters()).detach()
        initial = like.new_full((evidence.graph.num_channels,), self.method.initial)
        self.gates = _HardConcrete(initial)
        names = tuple(self.setting.targets)
        self.costs = SoftCosts(self.setting.costs, names, device=like.device)
        self.attached = attach_gates(model, evidence, self.gates)
        self._draw()

    def _draw(self) -> None:
        """Draw the noise of the next step; a function of the step, so a restart draws the same."""
        generator = make_generator(self.setting.seed, "bar", str(self.step))
        uniform = torch.rand(len(self.gates.noise), generator=generator, dtype=torch.float64)
        self.gates.noise.copy_(uniform.clamp(1e-6, 1 - 1e-6).logit())

    def penalty(self, _model: nn.Module) -> Tensor:
        load = self._load()
        dense = max(self.setting.dense[n] / t for n, t in self.setting.targets.items())
        bound = 1 + (dense - 1) * _remaining(self.step / self.setting.num_steps)
        return self.method.strength * barrier(load, low=1 - self.method.margin, high=bound) * load

    def _load(self) -> Tensor:
        """Return the largest expected cost as a share of its limit, a scalar."""
        probabilities = self.gates.probabilities()
        costs = self.costs(group_sums(self.setting.graph, probabilities))
        loads = [costs[name] / limit for name, limit in self.setting.targets.items()]
        return torch.stack(loads).amax().to(probabilities.dtype)

    @torch.no_grad()
    def after_step(self, _model: nn.Module) -> None:
        theta = self.gates.theta
        stay = torch.from_numpy(must_stay(self.setting, as_scores(theta))).to(theta.device)
        theta.copy_(torch.where(stay, theta.clamp(min=0), theta))
        self.count_step()
        self._draw()

    def scores(self, _model: nn.Module) -> FloatArray:
        return as_scores(self.gates.theta)

    def finish(self, _model: nn.Module) -> None:
        self.attached.fold()


def barrier(value: Tensor, *, low: float, high: float) -> Tensor:
    """Return f of the class: 0 up to ``low``, rising steeply to a straight line at ``high``."""
    width = high - low
    edge = high - _EDGE * width
    curved = width / (high - value.clamp(low, edge)) - 1
    slope = width / (high - edge) ** 2
    return curved + slope * (value - edge).clamp(min=0)


def _remaining(time: float) -> float:
    """Return how much of the barrier's way is left, 1 at time 0 and 0 at time 1, by a sigmoid."""

    def sigmoid(at: float) -> float:
        return 1 / (1 + math.exp(_STEEPNESS * (at - 0.5)))

    return (sigmoid(time) - sigmoid(1)) / (sigmoid(0) - sigmoid(1))
