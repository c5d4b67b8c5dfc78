"""SCP: the probability of a live channel against samples and SciPy, gradient, shrinking."""

import pytest
import torch
from scipy.stats import norm
from torch import nn

from sentei.errors import PruningError
from sentei.graph import trace
from sentei.sparsify.base import SparseHook
from sentei.sparsify.scp import SCP
from tests.support.nets import NormNet, PlainNet, ResidualNet, example, fill
from tests.support.sparse import digits_net, penalty_of, setting_for, train_sparse


def started(model: nn.Module, method: SCP, size: int = 8) -> SparseHook:
    hook = method.start(setting_for(trace(model, example(1, 3, size, size)), macs=0.9))
    hook.on_start(model)
    return hook


def test_scores_are_the_normal_probability_of_a_positive_value() -> None:
    model = fill(PlainNet())

    scores = started(model, SCP()).scores(model)

    assert scores is not None
    gamma, beta = (t.detach().numpy() for t in (model.bn1.weight, model.bn1.bias))
    expected = 1 - norm.cdf(0, loc=beta, scale=abs(gamma))
    assert scores[:6] == pytest.approx(expected, rel=1e-9)


def test_a_scale_of_zero_is_alive_or_dead_by_the_sign_of_its_shift() -> None:
    model = fill(PlainNet())
    with torch.no_grad():
        model.bn1.weight[:2] = 0
        model.bn1.bias[:2] = torch.tensor([0.5, -0.5])
    hook = started(model, SCP())

    scores = hook.scores(model)
    penalty_of(hook, model).backward()

    assert scores is not None
    assert scores[:2].tolist() == [1.0, 0.0]
    assert model.bn1.weight.grad is not None
    assert bool(model.bn1.weight.grad.isfinite().all())


def test_gradient_passes_gradcheck() -> None:
    model = fill(PlainNet())
    hook = started(model, SCP(strength=0.1))
    tensors = (model.bn1.weight, model.bn1.bias, model.bn2.weight)

    assert torch.autograd.gradcheck(lambda *_: penalty_of(hook, model), tensors)


def test_channels_of_digits_die_with_the_strength() -> None:
    def alive(strength: float) -> float:
        trained = train_sparse(SCP(strength=strength), digits_net())
        scores = trained.hook.scores(trained.model)
        assert scores is not None
        return float(scores.mean())

    assert alive(1.0) < 0.8 * alive(0.0)


def test_a_norm_without_shift_is_refused() -> None:
    class OnlyScale(nn.GroupNorm):
        def __init__(self) -> None:
            super().__init__(6, 6)
            self.bias = None  # type: ignore[assignment]

    model = fill(NormNet(lambda _: OnlyScale()))

    with pytest.raises(PruningError, match=r"norm.weight has no shift.*'network-slimming'"):
        started(model, SCP(), 5)


def test_groups_without_norm_are_refused() -> None:
    model = fill(ResidualNet())
    with torch.no_grad():
        model.bn1 = nn.Identity()  # type: ignore[assignment]

    with pytest.raises(PruningError, match="group conv1: no norm with a scale"):
        started(model, SCP())
