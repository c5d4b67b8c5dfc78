"""OICSR: value by hand, gradient, energies."""

import pytest
import torch

from sentei.graph import trace
from sentei.sparsify.base import SparseHook
from sentei.sparsify.oicsr import OICSR
from tests.support.nets import PlainNet, example, fill
from tests.support.sparse import digits_net, penalty_of, setting_for, train_sparse


def started(model: PlainNet, method: OICSR) -> SparseHook:
    hook = method.start(setting_for(trace(model, example(1, 3, 8, 8))))
    hook.on_start(model)
    return hook


def test_penalty_joins_filters_and_columns_and_leaves_norms_out() -> None:
    model = fill(PlainNet())

    penalty = penalty_of(started(model, OICSR(strength=0.1)), model)

    first = [
        (model.conv1.weight[c].square().sum() + model.conv2.weight[:, c].square().sum()).sqrt()
        for c in range(6)
    ]
    second = [
        (model.conv2.weight[c].square().sum() + model.linear.weight[:, c].square().sum()).sqrt()
        for c in range(8)
    ]
    expected = 0.1 * torch.stack(first + second).sum()
    torch.testing.assert_close(penalty, expected, rtol=1e-10, atol=0)


def test_gradient_passes_gradcheck() -> None:
    model = fill(PlainNet())
    hook = started(model, OICSR(strength=0.1))
    weights = (model.conv1.weight, model.linear.weight)

    assert torch.autograd.gradcheck(lambda *_: penalty_of(hook, model), weights)


def test_scores_are_shares_of_the_energy_of_the_group() -> None:
    model = fill(PlainNet())
    with torch.no_grad():
        model.conv1.weight.zero_()
        model.conv2.weight.zero_()
        model.conv1.weight[:, 0, 0, 0] = torch.tensor([1.0, 2.0, 0.0, 0.0, 0.0, 0.0])
        model.conv2.weight[0, :, 0, 0] = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, 0.0])

    scores = started(model, OICSR()).scores(model)

    assert scores is not None
    assert scores[:6] == pytest.approx([1.0, 4.0, 1.0, 0, 0, 0])
    assert scores[6:].mean() == pytest.approx(1.0)


def test_a_group_of_zeros_scores_zero() -> None:
    model = fill(PlainNet())
    with torch.no_grad():
        model.conv1.weight.zero_()
        model.conv2.weight.zero_()

    scores = started(model, OICSR()).scores(model)

    assert scores is not None
    assert scores[:6].tolist() == [0.0] * 6


def test_norms_of_digits_shrink_with_the_strength() -> None:
    def size(strength: float) -> float:
        model = digits_net()
        train_sparse(OICSR(strength=strength), model)
        return float(model.conv3.weight.detach().norm())

    assert size(0.2) < 0.8 * size(0.0)
