"""Network slimming: value and subgradient by hand, and that scales shrink."""

import pytest
import torch
from torch import Tensor

from sentei.graph import trace
from sentei.sparsify.bn_l1 import BnL1
from tests.support.nets import PlainNet, example, fill
from tests.support.sparse import digits_net, setting_for, train_sparse


def test_penalty_and_its_subgradient_are_those_of_the_absolute_scales() -> None:
    model = fill(PlainNet())
    with torch.no_grad():
        model.bn1.weight.copy_(torch.tensor([1.0, -2.0, 0.0, 0.5, 0.0, -0.25]))
        model.bn2.weight.fill_(-0.125)
    hook = BnL1(strength=0.1).start(setting_for(trace(model, example(1, 3, 8, 8))))
    hook.on_start(model)

    penalty = hook.penalty(model)

    assert isinstance(penalty, Tensor)
    penalty.backward()
    assert float(penalty.detach()) == pytest.approx(0.1 * (3.75 + 1.0), rel=1e-12)
    assert model.bn1.weight.grad is not None
    assert model.bn1.weight.grad.tolist() == pytest.approx([0.1, -0.1, 0, 0.1, 0, -0.1])
    assert model.conv1.weight.grad is None


def test_scales_of_digits_shrink_with_the_strength() -> None:
    def mean_scale(strength: float) -> float:
        trained = train_sparse(BnL1(strength=strength), digits_net())
        scores = trained.hook.scores(trained.model)
        assert scores is not None
        return float(scores.mean())

    assert mean_scale(0.3) < 0.8 * mean_scale(0.0)


def test_a_negative_strength_is_refused() -> None:
    with pytest.raises(ValueError, match=r"BnL1: strength=-1; expected a finite number >= 0"):
        BnL1(strength=-1)
