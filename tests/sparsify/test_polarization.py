"""Polarization: value by hand, gradient, clipping, and two clusters."""

import pytest
import torch

from sentei.graph import trace
from sentei.sparsify.base import SparseHook
from sentei.sparsify.polarization import Polarization
from tests.support.nets import PlainNet, example, fill
from tests.support.sparse import digits_net, penalty_of, setting_for, train_sparse


def started(model: PlainNet, method: Polarization) -> SparseHook:
    hook = method.start(setting_for(trace(model, example(1, 3, 8, 8))))
    hook.on_start(model)
    return hook


def test_penalty_is_that_of_the_formula() -> None:
    model = fill(PlainNet())
    with torch.no_grad():
        model.bn1.weight.copy_(torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]))
        model.bn2.weight.copy_(torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]))

    penalty = penalty_of(started(model, Polarization(strength=0.1, balance=1.2)), model)

    # 7 of 14 scales are 1 and their mean is 1/2: the L1 norm is 7, each is 1/2 from the mean.
    assert float(penalty.detach()) == pytest.approx(0.1 * (1.2 * 7 - 14 * 0.5))


def test_gradient_passes_gradcheck() -> None:
    model = fill(PlainNet())
    hook = started(model, Polarization(strength=0.1))
    scales = (model.bn1.weight, model.bn2.weight)

    assert torch.autograd.gradcheck(lambda *_: penalty_of(hook, model), scales)


def test_scales_are_clipped_after_each_step() -> None:
    model = fill(PlainNet())
    with torch.no_grad():
        model.bn1.weight.copy_(torch.tensor([-1.0, 0.0, 0.3, 0.8, 2.0, 5.0]))
    bias = model.bn1.bias.detach().clone()
    hook = started(model, Polarization(upper=0.7))

    hook.after_step(model)

    assert model.bn1.weight.tolist() == pytest.approx([0, 0, 0.3, 0.7, 0.7, 0.7])
    assert torch.equal(model.bn1.bias, bias)


def test_descent_splits_the_scales_into_zeros_and_a_common_value() -> None:
    model = fill(PlainNet())
    with torch.no_grad():
        model.bn1.weight.copy_(torch.tensor([0.1, 0.9, 0.3, 0.8, 0.2, 0.05]))
        model.bn2.weight.copy_(torch.tensor([0.4, 0.7, 0.15, 0.95, 0.25, 0.35, 0.1, 0.6]))
    hook = started(model, Polarization(strength=1.0, balance=1.0, upper=1.0))
    scales = (model.bn1.weight, model.bn2.weight)

    for _ in range(200):
        gradients = torch.autograd.grad(penalty_of(hook, model), scales)
        with torch.no_grad():
            for scale, gradient in zip(scales, gradients, strict=True):
                scale.sub_(0.02 * gradient)
        hook.after_step(model)

    found = torch.cat(scales).detach()
    assert set(found.round(decimals=3).tolist()) == {0.0, 1.0}
    assert found[[1, 3, 7, 9]].tolist() == pytest.approx([1.0] * 4)


def test_a_strong_penalty_empties_channels_of_digits() -> None:
    trained = train_sparse(Polarization(strength=1.0), digits_net())

    scores = trained.hook.scores(trained.model)

    assert scores is not None
    assert (scores == 0).any()
    assert (scores > 0.1).any()


def test_fields_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="balance=0; expected a finite number > 0"):
        Polarization(balance=0)
    with pytest.raises(ValueError, match="upper=-1; expected a finite number > 0"):
        Polarization(upper=-1)
